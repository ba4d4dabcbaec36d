"""Which release a keeper is of, and who it is: it outlives the agent that started it, and an upgrade of the agent.

The keeper writes its release into its lock, before it listens. One that wrote nothing there is of a former release.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from server import __version__
from server.agent.platform import peer_pid

LOCK_FILE = "keeper.lock"


def sign(lock: int) -> None:
    """Called by the keeper that holds the lock. On a full disk nothing is said: it counts as a former one."""
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, __version__.encode(), 0)
    except OSError:
        return


def former_pid(data: Path, connection: socket.socket) -> int | None:
    """The pid of the keeper at the other end when it is of another release; None too where the system cannot tell."""
    try:
        said = (data / LOCK_FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        said = ""
    return None if said == __version__ else peer_pid(connection)
