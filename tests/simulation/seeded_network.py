"""A network in memory that a seed spoils: delays, broken links, cuts in one direction or both, a sloppy control link.

A link behaves as TCP does: in order, nothing lost before it breaks; in a cut, frames wait, and arrive when it is healed
or never. On the control link frames may also be dropped, doubled and overtake each other: nothing there has to arrive.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import random
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from tests.simulation.cooperative import Killed, Process
from tests.simulation.virtual_loop import VirtualLoop

LATENCY_S = (0.0002, 0.004)
DIAL_TIMEOUT_S = 3.0
IN_FLIGHT_MAX = 256 * 1024
NOBODY = contextvars.Context()


class Listener(Protocol):
    """A running node, as the network sees it."""

    process: Process

    def accept(self, connection: End, channel: str) -> Coroutine[Any, Any, None]:
        """Run an accepted link."""


class End:
    """One end of a link: a `replication.ports.Connection`."""

    def __init__(self, link: Link, peer: str, process: Process) -> None:
        self.link = link
        self.peer = peer
        self.process = process
        self.is_closed = False
        self.in_flight = 0
        self.held: list[bytes | None] = []
        self.arrives_at = 0.0
        self._inbox: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    def __hash__(self) -> int:
        return self.link.number * 2 + (self.link.ends[0] is self if len(self.link.ends) == 2 else 0)

    def __eq__(self, other: object) -> bool:
        return self is other

    @property
    def other(self) -> End:
        """The far end."""
        return self.link.ends[1] if self.link.ends[0] is self else self.link.ends[0]

    async def send(self, frame: bytes) -> None:
        """Hand one frame to the network; waits while much is under way."""
        self._check()
        self.in_flight += len(frame)
        self.link.network.carry(self, frame)
        while self.in_flight > IN_FLIGHT_MAX and not self.is_closed:
            self._room = asyncio.get_running_loop().create_future()
            await self._room
        await asyncio.sleep(0)
        self._check()

    def _check(self) -> None:
        if not self.process.alive:
            raise Killed
        if self.is_closed:
            raise ConnectionError("the link is closed")

    async def receive(self) -> bytes:
        """The next frame."""
        while not self._inbox:
            self._check()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._check()
        return self._inbox.popleft()

    async def close(self) -> None:
        """Close; the far end hears of it when the network lets it."""
        if not self.is_closed:
            self.shut()
            self.link.network.carry(self, None)

    def shut(self) -> None:
        """This end is closed from now on."""
        self.is_closed = True
        self._inbox.clear()
        self._wake()

    def take(self, frame: bytes) -> None:
        """A frame has arrived."""
        self._inbox.append(frame)
        self._wake()

    def drained(self, size: int) -> None:
        """The far end has taken so many bytes."""
        self.in_flight -= size
        self._wake_room()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._wake_room()

    def _wake_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)


class Link:
    """Two ends. `names` are the dialling and the accepting node."""

    def __init__(self, network: Network, number: int, channel: str, names: tuple[str, str]) -> None:
        self.network = network
        self.number = number
        self.channel = channel
        self.names = names
        self.ends: list[End] = []
        self.is_broken = False


class Network:
    """All links between nodes. `landed(what)` is told when a fault did something."""

    def __init__(
        self, loop: VirtualLoop, seed: int, landed: Callable[[str], None], note: Callable[[str], None]
    ) -> None:
        self._loop = loop
        self._rng = random.Random(f"network/{seed}")
        self._landed = landed
        self._note = note
        self._numbers = itertools.count(1)
        self.listeners: dict[str, Listener] = {}
        self.hosts_down: set[str] = set()
        self.cuts: dict[tuple[str, str], float] = {}
        self.sloppy_until = 0.0
        self.links: list[Link] = []
        self.frames = 0

    def dialler(self, source: str, process: Process) -> Callable[[str, str, str], Coroutine[Any, Any, End]]:
        """What a node gets as its `dial`."""

        async def dial(peer: str, address: str, channel: str) -> End:
            await asyncio.sleep(self._latency())
            if peer in self.hosts_down or (source, peer) in self.cuts or (peer, source) in self.cuts:
                if peer not in self.hosts_down:
                    self._landed(f"cut: {source[0]} cannot dial {peer[0]}")
                await asyncio.sleep(DIAL_TIMEOUT_S)
                raise ConnectionError("nobody answers there")
            listener = self.listeners.get(peer)
            if listener is None or not listener.process.alive:
                raise ConnectionError("nobody listens there")
            link = Link(self, next(self._numbers), channel, (source, peer))
            link.ends = [End(link, peer, process), End(link, source, listener.process)]
            self.links.append(link)
            self._loop.run_for(listener.process, listener.accept(link.ends[1], channel))
            return link.ends[0]

        return dial

    def _latency(self) -> float:
        low, high = LATENCY_S
        return low + (high - low) * self._rng.random() ** 3

    def direction(self, end: End) -> tuple[str, str]:
        """From whom to whom this end sends."""
        names = end.link.names
        return names if end.link.ends[0] is end else (names[1], names[0])

    def carry(self, end: End, frame: bytes | None) -> None:
        """Bring a frame, or the end of the link (None), to the far end in its time, or hold it back."""
        if end.link.is_broken:
            return
        if self.direction(end) in self.cuts or end.held:
            if not end.held:
                self._landed(f"cut: {end.link.channel} link {end.link.number} holds frames back")
            end.held.append(frame)
            return
        self._schedule(end, frame)

    def _schedule(self, end: End, frame: bytes | None) -> None:
        at = self._loop.time() + self._latency()
        if end.link.channel == "control" and frame is not None and self._loop.time() < self.sloppy_until:
            self._schedule_sloppily(end, frame, at)
            return
        at = end.arrives_at = max(at, end.arrives_at + 1e-6)  # timers of one instant come in any order
        self._loop.call_at(at, self._arrive, end, frame, context=NOBODY)

    def _schedule_sloppily(self, end: End, frame: bytes, at: float) -> None:
        drawn = self._rng.random()
        if drawn < 0.2:
            self._landed("control frame dropped")
            end.drained(len(frame))
            return
        if drawn < 0.4:
            self._landed("control frame doubled")
            end.in_flight += len(frame)
            self._loop.call_at(at + self._rng.random(), self._arrive, end, frame, context=NOBODY)
        elif drawn < 0.7:
            self._landed("control frame late, others overtake it")
            at += self._rng.random() * 2
        self._loop.call_at(at, self._arrive, end, frame, context=NOBODY)

    def _arrive(self, end: End, frame: bytes | None) -> None:
        far = end.other
        self.frames += 1
        if end.link.is_broken:
            return
        if frame is None:
            far.shut()
            return
        end.drained(len(frame))
        if far.process.alive and not far.is_closed:
            self._note(f"{end.link.channel} {end.link.number} {frame[0]} {len(frame)}")
            far.take(frame)

    def break_link(self, link: Link) -> None:
        """What is under way is lost; both ends hear of it, one a little later."""
        link.is_broken = True
        for end in link.ends:
            self._loop.call_later(self._rng.random() * 0.2, end.shut, context=NOBODY)

    def open_links(self) -> list[Link]:
        """Links with both ends open."""
        self.links = [link for link in self.links if not (link.is_broken or all(e.is_closed for e in link.ends))]
        return [link for link in self.links if not any(end.is_closed for end in link.ends)]

    def cut(self, source: str, target: str) -> None:
        """Nothing passes in this direction until `heal`."""
        self.cuts.setdefault((source, target), self._loop.time())

    def heal(self) -> None:
        """Frames that were held back arrive as late as TCP's retransmissions bring them."""
        now = self._loop.time()
        for link in self.links:
            for end in link.ends:
                began = self.cuts.get(self.direction(end))
                if began is not None and end.held:
                    delay = self._rng.random() * min(now - began, 15.0)
                    self._loop.call_later(delay, self._release, end, context=NOBODY)
        self.cuts.clear()

    def _release(self, end: End) -> None:
        if self.direction(end) in self.cuts:
            return
        held, end.held = end.held, []
        for frame in held:
            self._schedule(end, frame)

    def died(self, process: Process, power: bool) -> None:
        """A killed process's kernel closes its links; after a power loss nobody says anything."""
        if power:
            return
        for link in self.links:
            for end in link.ends:
                if end.process is process and not end.is_closed:
                    end.is_closed = True
                    self.carry(end, None)

    def back(self, name: str) -> None:
        """The host is up again: whoever still writes to its dead process is told that there is no such link."""
        self.hosts_down.discard(name)
        for link in self.links:
            if any(not end.process.alive for end in link.ends) and not link.is_broken:
                self.break_link(link)
