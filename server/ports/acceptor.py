"""How a port lets in whoever comes, thousands of agents too: few handshakes at once, small buffers, all descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import ssl
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, cast

import structlog

from server.core.failed_handshakes import FailedHandshakes, Line

log = structlog.get_logger()

HANDSHAKES_MAX = 32
"""A handshake takes about a millisecond of processor; whoever is not let in yet waits."""
HANDSHAKE_S = 5.0
TURN_S = 0.25
"""A handshake whose other side does not go on keeps its turn no longer than this."""
QUEUE_MAX = 512
"""So many that have said hello wait for their handshake here; more wait in the kernel's queue."""
HELLO_S = 10.0
SILENT_MAX = 1024
"""So many may have said nothing yet; the one that has been silent longest gives way to the next."""
PIECES_S = 0.1
RECORD_BYTES_MAX = 16 * 1024
TLS_HANDSHAKE = b"\x16"
RETRY_S = 0.5
LOOK_S = 5.0
"""So often it is looked whose minute is over, of those whose handshakes failed."""
TLS_BUFFER_BYTES = 16 * 1024
"""A TLS record has at most so much: with asyncio's 256 KiB for each connection, 10,000 agents took 3 GB."""


class Acceptor:
    """Accepts on `listener` and gives each connection that has finished its handshake to a protocol of `factory`.

    `context` is asked at each connection, so that renewed certificates and authorities are used; None is plain TCP.
    Who has said nothing yet takes part in no handshake: any number of half-open connections keeps nobody out.
    Handshakes that fail are in the log, of each address once a minute; `port` says there which port this is.
    """

    def __init__(
        self,
        factory: Callable[[], asyncio.BaseProtocol],
        listener: socket.socket,
        context: Callable[[], ssl.SSLContext] | None,
        port: str = "",
    ) -> None:
        self._factory = factory
        self._listener = listener
        self._context = context
        self._room = asyncio.Semaphore(HANDSHAKES_MAX)
        self._queue = asyncio.Semaphore(QUEUE_MAX)
        self._silent: OrderedDict[asyncio.Task[None], None] = OrderedDict()
        self._welcomes: set[asyncio.Task[None]] = set()
        self._port = port
        self._failed = FailedHandshakes()
        self._look: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Accept until cancelled; handshakes that are not over then are given up."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                async with self._queue:  # not more than so many wait for their handshake here
                    pass
                try:
                    connection, place = await loop.sock_accept(self._listener)
                except OSError as error:  # no descriptors: those who are connected stay
                    log.error("no connection can be accepted", why=str(error), then="raise LimitNOFILE of the service")
                    await asyncio.sleep(RETRY_S)
                    continue
                task = loop.create_task(self._welcome(connection, place[0] if isinstance(place, tuple) else ""))
                self._welcomes.add(task)
                task.add_done_callback(self._ended)
                if self._context is not None:
                    self._silent[task] = None
                    if len(self._silent) > SILENT_MAX:
                        next(iter(self._silent)).cancel()
        finally:
            for task in self._welcomes:
                task.cancel()
            if self._look is not None:
                self._look.cancel()
            await asyncio.gather(*self._welcomes, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._welcomes.discard(task)
        self._silent.pop(task, None)

    async def _welcome(self, connection: socket.socket, address: str) -> None:
        try:
            if self._context is not None:
                async with asyncio.timeout(HELLO_S):
                    await _hello(connection)
                self._silent.pop(cast("asyncio.Task[None]", asyncio.current_task()), None)
            async with self._queue:
                await self._room.acquire()
            await self._shake_hands(connection)
        except NothingSaidError:
            connection.close()
        except (OSError, TimeoutError) as error:
            connection.close()
            if self._context is not None:
                self._list(self._failed.add(address, _why(error), asyncio.get_running_loop().time()))
        except asyncio.CancelledError:
            connection.close()
            raise

    def _list(self, *lines: Line | None) -> None:
        """Log these, and look again while there is somebody whose minute is not over."""
        for line in lines:
            if line is not None:
                text = "a TLS handshake failed" if line.times == 1 else "TLS handshakes failed"
                log.warning(text, port=self._port, address=line.address, why=line.why, count=line.times)
        if self._look is None and not self._failed.is_empty:
            self._look = asyncio.get_running_loop().call_later(LOOK_S, self._list_counted)

    def _list_counted(self) -> None:
        self._look = None
        self._list(*self._failed.take(asyncio.get_running_loop().time()))

    async def _shake_hands(self, connection: socket.socket) -> None:
        """The caller took a turn: it is given back when the handshake is over, or once this side's part must be."""
        loop = asyncio.get_running_loop()
        turns = [self._room]

        def give_back() -> None:
            if turns:
                turns.pop().release()

        timer = loop.call_later(TURN_S, give_back)
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                context = self._context() if self._context is not None else None
                await loop.connect_accepted_socket(
                    self._factory, connection, ssl=context, ssl_handshake_timeout=self._patience()
                )
        finally:
            timer.cancel()
            give_back()

    def _patience(self) -> float | None:
        return HANDSHAKE_S if self._context is not None else None


class NothingSaidError(ConnectionError):
    """The connection ended before a byte came: somebody only looked whether the port is open."""


def _why(error: BaseException) -> str:
    """Why a handshake failed, without places in libraries."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return str(error) or "it was not over in time"


async def _hello(connection: socket.socket) -> None:
    """Wait until the whole first TLS record is there to be read; raises ConnectionError for anything else.

    Only then is a handshake begun: it goes on at once, and does not wait for who dials.
    """
    loop = asyncio.get_running_loop()
    while True:
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(connection, _set, readable)
        try:
            await readable
        finally:
            loop.remove_reader(connection)
        first = connection.recv(RECORD_BYTES_MAX, socket.MSG_PEEK)
        if not first:
            raise NothingSaidError
        if first[:1] != TLS_HANDSHAKE:
            raise ConnectionError("it speaks no TLS")
        if len(first) >= 5 and len(first) >= min(5 + int.from_bytes(first[3:5], "big"), RECORD_BYTES_MAX):
            return
        await asyncio.sleep(PIECES_S)  # what was looked at is still there, so the socket stays readable


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


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
