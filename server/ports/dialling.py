"""Every link that is dialled: why nobody was reached, in the words of people, and when silence ends it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl

import aiohttp

SILENT_S = 10
PROBES = 3
PROBE_EVERY_S = 2


def why_no_link(error: BaseException) -> str:
    """An error of a dial or of an open link in a few words, without the library's own."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        return "its certificate is not of this cluster"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return "it does not speak TLS, or refuses our certificate"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name is not known"
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return f"it refused the link ({error.status})"
    if isinstance(error, asyncio.TimeoutError | TimeoutError):
        return "timed out"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection"
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error) or "no connection"


def may_be_distrust(error: BaseException) -> bool:
    """Whether a dial may have ended because one side does not trust the other's certificate.

    In TLS 1.3 a client learns of its refusal after its handshake: to it the node just closes the connection.
    """
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError | aiohttp.ServerDisconnectedError):
        return True
    return isinstance(error, OSError) and error.errno == errno.ECONNRESET


def end_when_silent(connection: socket.socket | None) -> None:
    """Have the kernel end a connection on which the other machine answers nothing for `SILENT_S`.

    A cable that is out says nothing by itself, and who only receives would wait for ever. What a stopped process does
    not read is no silence: its kernel answers. None (a transport without a socket) is left as it is.
    """
    if connection is None:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)  # macOS has the second
    if idle is not None:
        connection.setsockopt(socket.IPPROTO_TCP, idle, SILENT_S - PROBES * PROBE_EVERY_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_EVERY_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
