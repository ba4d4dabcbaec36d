"""What a connection of a port may cost: how many there are, of one address, how long each may take to say something.

`Turnstile.gate` wraps the protocols that `server.ports.acceptor` gives to connections; the middleware `counting` says
when one is at work. Who says nothing gives way to who comes: half-open and idle connections cannot keep anybody out.
The local socket is not counted at all (docs/connections.md).
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog
from aiohttp import web

from server.trust.tls import peer_of

log = structlog.get_logger()

IDLE_S = 20.0
"""How long a connection may take for the head of a request, and be idle between two."""
IDLE_BEHIND_PROXY_S = 75.0
"""A proxy keeps idle connections for a minute, and must not find them closed when it sends."""
BODY_S = 20.0
BODY_BYTES_PER_S = 16 * 1024
"""A body may take `BODY_S`, and a second more for so many bytes of what it says it has."""
UNREAD_S = 60.0
CONNECTIONS_MAX = 4096
OF_ADDRESS_MAX = 512
STRANGERS_MAX = 512
"""On the cluster port, of those without a certificate: they can do nothing but enrol. Others are not counted."""
STRANGERS_OF_ADDRESS_MAX = 128
SAID_EVERY_S = 60.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Limits:
    """Connections at once, in all and of one address (0: any number, for the address of a proxy)."""

    most: int = CONNECTIONS_MAX
    of_address: int = OF_ADDRESS_MAX


@dataclass(slots=True)
class Counts:
    """What the turnstile did since the start."""

    accepted: int = 0
    gave_way: int = 0
    refused: int = 0
    slow_bodies: int = 0


@dataclass(eq=False)
class Turnstile:
    """One per port. `is_counted` looks at the transport of a new connection: what it does not count is not limited."""

    limits: Limits = field(default_factory=Limits)
    is_counted: Callable[[asyncio.BaseTransport], bool] = lambda transport: True
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self._idle: OrderedDict[Gate, None] = OrderedDict()
        self._busy: set[Gate] = set()
        self._of_address: Counter[str] = Counter()
        self._said_s = float("-inf")

    def gate(self, factory: Callable[[], asyncio.BaseProtocol]) -> Callable[[], Gate]:
        """A factory of the same protocols, each behind a gate of this turnstile."""

        def make() -> Gate:
            inner = factory()
            assert isinstance(inner, asyncio.Protocol)
            return Gate(self, inner)

        return make

    def __len__(self) -> int:
        return len(self._idle) + len(self._busy)

    def enter(self, gate: Gate) -> bool:
        """Count a new connection; False when it has to go. The one that was idle longest gives way."""
        limits, address = self.limits, gate.address
        if limits.of_address and self._of_address[address] >= limits.of_address and not self._make_room(address):
            return self._refuse(gate)
        if len(self) >= limits.most and not self._make_room(""):
            return self._refuse(gate)
        self._of_address[address] += 1
        self._idle[gate] = None
        self.counts.accepted += 1
        return True

    def leave(self, gate: Gate) -> None:
        """The connection is over."""
        if gate in self._busy:
            self._busy.discard(gate)
        elif gate in self._idle:
            del self._idle[gate]
        else:
            return
        self._of_address[gate.address] -= 1
        if not self._of_address[gate.address]:
            del self._of_address[gate.address]

    def work(self, gate: Gate) -> None:
        """A whole head of a request is there: it does not give way before it is answered."""
        if gate in self._idle:
            del self._idle[gate]
            self._busy.add(gate)

    def rest(self, gate: Gate) -> None:
        """The request is answered."""
        if gate in self._busy:
            self._busy.discard(gate)
            self._idle[gate] = None

    def _make_room(self, address: str) -> bool:
        found = next((gate for gate in self._idle if address in ("", gate.address)), None)
        if found is None:
            return False
        self.leave(found)
        self.counts.gave_way += 1
        self._say(found.address)
        found.abort()
        return True

    def _refuse(self, gate: Gate) -> bool:
        self.counts.refused += 1
        self._say(gate.address)
        return False

    def _say(self, address: str) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._said_s >= SAID_EVERY_S:
            self._said_s = now_s
            log.warning(
                "too many connections: those that say nothing give way", address=address, open=len(self),
                gave_way=self.counts.gave_way, refused=self.counts.refused,
            )  # fmt: skip


def web_turnstile(is_behind_proxy: bool, descriptors: int) -> Turnstile:
    """For the web port: at most a quarter of all descriptors, so that the journal and agents have theirs."""
    most = min(CONNECTIONS_MAX, max(descriptors // 4, 64))
    return Turnstile(Limits(most, 0 if is_behind_proxy else min(OF_ADDRESS_MAX, most // 2)))


def cluster_turnstile() -> Turnstile:
    """For the cluster port: who shows a certificate of the cluster is not counted."""
    return Turnstile(Limits(STRANGERS_MAX, STRANGERS_OF_ADDRESS_MAX), lambda transport: peer_of(transport) is None)


class Gate(asyncio.Protocol):
    """Between a transport and the protocol that serves it."""

    def __init__(self, turnstile: Turnstile, inner: asyncio.Protocol) -> None:
        self.turnstile = turnstile
        self.address = ""
        self._inner = inner
        self._transport: asyncio.Transport | None = None
        self._is_inside = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) else ""
        self._transport = transport
        if self.turnstile.is_counted(transport):
            if not self.turnstile.enter(self):
                transport.abort()
                return
            _end_when_unread(transport.get_extra_info("socket"))
        self._is_inside = True
        self._inner.connection_made(transport)

    def abort(self) -> None:
        """End the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._is_inside:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._is_inside else None

    def connection_lost(self, exc: Exception | None) -> None:
        self.turnstile.leave(self)
        if self._is_inside:
            self._is_inside = False
            self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()


def _end_when_unread(connection: socket.socket | None) -> None:
    """Have the kernel end a connection whose other side takes nothing of an answer for `UNREAD_S`."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux has it
    if connection is not None and option is not None and connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, option, int(UNREAD_S * 1000))


def body_s(declared_bytes: int | None, most_bytes: int) -> float:
    """How long the body of a request may take. A body that does not say how long it is may have `most_bytes`."""
    size = most_bytes if declared_bytes is None else min(declared_bytes, most_bytes)
    return BODY_S + size / BODY_BYTES_PER_S


@web.middleware
async def counting(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The outermost middleware: at work while a request is answered, and how long its body may take."""
    transport = request.transport
    gate = transport.get_protocol() if transport is not None else None
    if not isinstance(gate, Gate):
        return await handler(request)  # the local socket
    watch = None
    if not request.content.is_eof():
        within_s = body_s(request.content_length, request.client_max_size)
        watch = asyncio.get_running_loop().call_later(within_s, _give_up, request, gate.turnstile)
    gate.turnstile.work(gate)
    try:
        return await handler(request)
    finally:
        gate.turnstile.rest(gate)
        if watch is not None:
            watch.cancel()


def _give_up(request: web.Request, turnstile: Turnstile) -> None:
    if not request.content.is_eof():
        turnstile.counts.slow_bodies += 1
        request.content.set_exception(web.HTTPRequestTimeout(text="The body of the request did not come in time."))
