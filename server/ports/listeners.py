"""Bound sockets before anything else runs: a port in use is found at once, and port 0 becomes a number."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from server.config import ConfigError

BACKLOG = 512
SOCKET_PATH_MAX = 107
"""Bytes of a unix socket's path that the kernel takes."""


def bind_port(host: str, port: int, flag: str) -> socket.socket:
    """Listen on `host:port`; raises `ConfigError` naming the flag that chooses another port."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise ConfigError(f"--host {host}: no such address on this machine ({error}); leave it out for all") from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigError(f"{host}:{port} cannot be used: {error.strerror}; choose another port with {flag}") from error
    return listener


def port_of(listener: socket.socket) -> int:
    """The port that a socket listens on."""
    return int(listener.getsockname()[1])


def bind_local(path: Path) -> socket.socket:
    """Listen on the unix socket at `path`, mode 0600: whoever may open it owns the data directory.

    The caller holds the directory's lock, so a file that is there belongs to a process that is gone. A path
    that is too long for the kernel raises `ConfigError`.
    """
    if len(os.fsencode(path)) > SOCKET_PATH_MAX:
        raise ConfigError(f"{path}: longer than {SOCKET_PATH_MAX} bytes; name a shorter directory with --data")
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(os.fspath(path))
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def own_address(host: str) -> str:
    """How others reach this machine when nobody said:

    the host listened on, else the address of the default route.

    Nothing is sent: connecting a datagram socket only asks the kernel for a route.
    """
    if host not in ("0.0.0.0", "::", ""):
        return host
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return "127.0.0.1"
