"""Hostile frames through the shipped decoders, and what decodes through the shipped machines, in process.

A chunk of frames has a seed of its own and begins with fresh machines, so `python -m tests.hostile KIND SEED` replays
what a chunk found. Nothing but the documented errors may come out, whatever goes in.
"""

from __future__ import annotations

import contextlib
import gc
import random
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from replication.core import codec, effects, events
from replication.core import request as requests
from replication.core.codec import HEADER, FrameError
from replication.core.compression import ZSTD, compress
from replication.core.events import Facts
from replication.core.messages import Heartbeat, Hello, Requests
from replication.core.request import MalformedRequest
from replication.core.types import State
from replication.links import Link, Links
from server.actions import reconciliation, reports
from server.agent.link import check_keys
from server.core import agent_wire as wire
from server.core.agent_wire import ProtocolError
from tests.hostile import mutations, recorded
from tests.unit.agent_world import A as NODE
from tests.unit.agent_world import World, order
from tests.unit.ledger import START_US, Ledger
from tests.unit.role_world import A, B, epoch, hello, machine, place

CHUNK = 500


@dataclass
class Tally:
    """What became of the frames. `faults` name the seed that shows each again."""

    frames: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    decoded: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


Feed = Callable[[bytes], str]
"""Gives one frame to the product; "" when it was refused as documented, else its kind. Anything raised is a fault."""


class _Peer:
    """A node in some state with a link to a peer that sends hostile frames."""

    def __init__(self, choice: random.Random) -> None:
        self._choice = choice
        self._recorded = recorded.replication_frames()
        in_sync = (B,) if choice.random() < 0.5 else ()
        state, is_open = choice.choice(list(State)), choice.random() < 0.5
        self._machine = machine(state, is_open=is_open, seen=epoch(3), standby=B, in_sync=in_sync)
        self._now = 100.0
        self._connect()

    def _connect(self) -> None:
        self._links = Links(_Voice(), None, self._post, lambda text, peer: None)  # type: ignore[arg-type]  # nobody is dialled
        self._link = Link(_Connection())  # type: ignore[arg-type]  # nothing is sent
        self._links._links[B] = [self._link]

    def _post(self, event: events.Event) -> None:
        self._now += self._choice.choice((0.0, 0.1, 3.0))
        for effect in self._machine.step(event, _facts(self._choice), self._now):
            if isinstance(effect, effects.Persist):
                effect.memory.encode()
            elif isinstance(effect, effects.Send):
                codec.decode(codec.encode(effect.message))

    def make(self) -> bytes:
        """The next hostile frame, with the length and the sum that it says; a few are cut."""
        choice = self._choice
        frame = choice.choice(self._recorded)
        number, flags, reserved, _, _ = HEADER.unpack_from(frame)
        if choice.random() < 0.5:
            body = mutations.mutated(choice, frame[HEADER.size :])
        else:
            body = mutations.random_body(choice)
            number = choice.choice((number, number, number, choice.randrange(256)))
        if choice.random() < 0.1:
            flags = choice.randrange(256)
        if choice.random() < 0.05:
            body, flags = compress(body, ZSTD) or body, flags | codec.COMPRESSED
        made = HEADER.pack(number, flags, reserved, len(body), zlib.crc32(body)) + body
        return made if choice.random() > 0.02 else made[: choice.randrange(len(made) + 1)]

    def feed(self, frame: bytes) -> str:
        """Decode; what decodes goes through the link to the role machine. Now and then somebody does something."""
        if self._choice.random() < 0.03:
            self._post(_of_operators(self._choice))
        try:
            message = codec.decode(frame)
        except FrameError:
            return ""
        if isinstance(message, Requests):
            for one in message.requests:
                with contextlib.suppress(MalformedRequest):
                    requests.decode(one)
            return "Requests"
        try:
            self._take(message)
        except FrameError:
            self._connect()
        return type(message).__name__

    def _take(self, message: Any) -> None:
        links, link = self._links, self._link
        if isinstance(message, Hello):
            links._take_hello(link, msgspec.structs.replace(message, node=B, cluster="c" * 32, instance="i"))
        elif isinstance(message, Heartbeat):
            links._take_heartbeat(link, link.hello or hello(), message)
        else:
            links._take_other(B, message)


@contextlib.contextmanager
def _replication(choice: random.Random) -> Iterator[tuple[Callable[[], bytes], Feed]]:
    peer = _Peer(choice)
    yield peer.make, peer.feed


def _facts(choice: random.Random) -> Facts:
    """What the shell may know at a step."""
    last = choice.randrange(50)
    synced = choice.randrange(last + 1)
    return Facts(place(choice.randrange(1, 5), last), choice.random() < 0.2, synced, START_US, synced)


def _of_operators(choice: random.Random) -> events.Event:
    """What people and clocks do meanwhile."""
    return choice.choice(
        (
            events.Ticked(),
            events.PeerLost(B),
            events.PromoteRequested(1, True, True, b""),
            events.PromoteRequested(2, False, False, b""),
            events.GoAloneRequested(3, b"", True),
            events.SwapRequested(4, B, 5.0, b""),
            events.SwapAbortRequested(5),
            events.SeatRequested(6, B),
            events.PeersChanged((B,)),
        )
    )


class _Voice:
    def hello(self) -> Any:
        return hello(A)

    def utc_us(self) -> int:
        return START_US


class _Connection:
    peer = B


@contextlib.contextmanager
def _to_agent(choice: random.Random) -> Iterator[tuple[Callable[[], bytes], Feed]]:
    world = World()
    world.connect(5)
    world.hear(order(60, 60, 5))
    world.hear(wire.Dispatch("j1.rone.a1", order(60, 60, 5).order.specification))

    def feed(frame: bytes) -> str:
        try:
            message = wire.decode_from_node(frame)
            check_keys(message)
        except ProtocolError:
            return ""
        world.hear(message, NODE)
        for _, said in world.sent:
            wire.encode(said)
        world.sent.clear()
        msgspec.msgpack.encode(world.disk.durable)
        if choice.random() < 0.05:
            world.pass_s(choice.choice((1, 60)))
        return type(message).__name__

    yield lambda: _agent_frame(choice, "to_agent"), feed


class _Rows(Ledger):
    """With objects that nobody keeps."""

    def write_object(self, name: str, offset: int, data: bytes) -> None:
        assert name.startswith("output-") or name.startswith("run-"), name

    def remove_object(self, name: str) -> None:
        assert "/" not in name


@contextlib.contextmanager
def _to_node(choice: random.Random) -> Iterator[tuple[Callable[[], bytes], Feed]]:
    ledger = _Rows()
    agent = ledger.add_agent("north")
    ledger.add_job()
    said = wire.Hello(agent.id, 2, "x", "boot", "i", START_US)

    def feed(frame: bytes) -> str:
        try:
            message = wire.decode_from_agent(frame)
        except ProtocolError:
            return ""
        if isinstance(message, wire.Present):
            ledger.do(reconciliation.present(agent.id, said, message, 1, START_US))
        elif isinstance(message, reports.Recordable):
            ledger.do(reports.record(agent.id, [message], 1, START_US))
        return type(message).__name__

    yield lambda: _agent_frame(choice, "to_node"), feed
    ledger.connection.close()


def _agent_frame(choice: random.Random, direction: str) -> bytes:
    if choice.random() < 0.5:
        return mutations.mutated(choice, choice.choice(recorded.agent_frames(direction)))
    return mutations.random_body(choice)


KINDS = {"replication": _replication, "to-agent": _to_agent, "to-node": _to_node}


def run_chunk(kind: str, seed: int, tally: Tally, count: int = CHUNK, show: bool = False) -> None:
    """One chunk; a frame that brings out anything but what is documented is a fault, and ends the chunk."""
    choice = random.Random(f"{kind}-{seed}")
    with KINDS[kind](choice) as (make, feed):
        for number in range(count):
            frame = make()
            tally.frames[kind] += 1
            try:
                found = feed(frame)
            except Exception as error:
                if show:
                    raise
                what = f"{type(error).__name__}: {error}"[:160]
                tally.faults.append(f"{kind} frame {number}: {what}; again: python -m tests.hostile {kind} {seed}")
                return
            if found:
                tally.decoded[f"{kind} {found}"] += 1
            else:
                tally.refused[kind] += 1


def prepare() -> None:
    """Record what is mutated, before anything is measured."""
    former, sys.unraisablehook = sys.unraisablehook, lambda _: None  # coroutines of simulated nodes that died
    try:
        recorded.replication_frames()
        gc.collect()
    finally:
        sys.unraisablehook = former
    for direction in ("to_agent", "to_node"):
        recorded.agent_frames(direction)


def run(count: int, first_seed: int = 0) -> Tally:
    """`count` frames, half of them for replication, a quarter each way of agents."""
    tally = Tally()
    chunks = max(count // CHUNK, 4)
    order_of_kinds = ("replication", "to-agent", "replication", "to-node")
    for number in range(chunks):
        run_chunk(order_of_kinds[number % 4], first_seed + number, tally)
    return tally
