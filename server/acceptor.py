"""How the cluster port lets thousands of agents in: few handshakes at once, small buffers, all descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import ssl
from collections.abc import Callable
from typing import Any

import structlog

log = structlog.get_logger()

HANDSHAKES_MAX = 32
"""A handshake takes about a millisecond of processor; whoever is not let in yet waits in the kernel's queue."""
HANDSHAKE_S = 10.0
RETRY_S = 0.5
TLS_BUFFER_BYTES = 16 * 1024
"""A TLS record has at most so much: with asyncio's 256 KiB for each connection, 10,000 agents took 3 GB."""


class Acceptor:
    """Accepts on `listener` and gives each connection that has finished its handshake to a protocol of `factory`.

    `context` is asked at each connection, so that renewed certificates and authorities are used; None is plain TCP.
    """

    def __init__(
        self,
        factory: Callable[[], asyncio.BaseProtocol],
        listener: socket.socket,
        context: Callable[[], ssl.SSLContext] | None,
    ) -> None:
        self._factory = factory
        self._listener = listener
        self._context = context
        self._room = asyncio.Semaphore(HANDSHAKES_MAX)
        self._handshakes: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Accept until cancelled; handshakes that are not over then are given up."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._room.acquire()
                try:
                    connection, _ = await loop.sock_accept(self._listener)
                except OSError as error:  # no descriptors: those who are connected stay
                    log.error("no connection can be accepted", why=str(error), then="raise LimitNOFILE of the service")
                    self._room.release()
                    await asyncio.sleep(RETRY_S)
                    continue
                task = loop.create_task(self._welcome(connection))
                self._handshakes.add(task)
                task.add_done_callback(self._handshakes.discard)
        finally:
            for task in self._handshakes:
                task.cancel()
            await asyncio.gather(*self._handshakes, return_exceptions=True)

    async def _welcome(self, connection: socket.socket) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                await asyncio.get_running_loop().connect_accepted_socket(
                    self._factory,
                    connection,
                    ssl=self._context() if self._context is not None else None,
                    ssl_handshake_timeout=self._patience(),
                )
        except (OSError, TimeoutError) as error:
            log.debug("a handshake failed", why=str(error) or "timed out")
            connection.close()
        finally:
            self._room.release()

    def _patience(self) -> float | None:
        return HANDSHAKE_S if self._context is not None else None


def shrink_tls_buffer(transport: asyncio.Transport | None) -> None:
    """Give an accepted TLS connection a receive buffer of one record instead of 256 KiB: for links with small messages.

    asyncio has no public way. Where its internals are others than in Python 3.11 to 3.14 nothing is changed.
    """
    protocol: Any = getattr(transport, "_ssl_protocol", None)
    if hasattr(protocol, "_ssl_buffer") and hasattr(protocol, "_ssl_buffer_view"):
        protocol.max_size = TLS_BUFFER_BYTES
        protocol._ssl_buffer = bytearray(TLS_BUFFER_BYTES)
        protocol._ssl_buffer_view = memoryview(protocol._ssl_buffer)


def allow_descriptors() -> int:
    """Raise this process's soft limit of open files to the hard one, which it returns: each agent needs one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
