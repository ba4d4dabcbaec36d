"""Why nobody was reached, in the words of people: for every link that is dialled."""

from __future__ import annotations

import asyncio
import os
import ssl

import aiohttp


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
