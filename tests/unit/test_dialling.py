"""When silence ends a link that was dialled."""

from __future__ import annotations

import socket

from server.ports.dialling import SILENT_S, end_when_silent


def test_a_silent_machine_is_noticed_within_the_time() -> None:
    """The kernel asks again and again from some seconds on, and ends the connection after SILENT_S in all."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as link:
        end_when_silent(link)
        assert link.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        probes = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        idle_s, every_s, count = (link.getsockopt(socket.IPPROTO_TCP, name) for name in probes)
        assert idle_s + every_s * count == SILENT_S
    end_when_silent(None)
