"""Short words for tests of the role machine: a HELLO, a machine in a state, one step."""

from __future__ import annotations

from typing import Any

import msgspec

from replication.core.effects import Effect
from replication.core.events import Event, Facts
from replication.core.machine import Machine
from replication.core.memory import Memory
from replication.core.messages import Hello
from replication.core.types import GENESIS_HASH, ORIGIN, Epoch, Position, State

A, B = "a" * 32, "b" * 32


def epoch(number: int, node: str = A) -> Epoch:
    """Office `number` of a node."""
    return Epoch(number, node)


def place(number: int, sequence: int, node: str = A, mark: bytes = b"") -> Position:
    """Request `sequence` of an epoch; `mark` makes another history of it."""
    return Position(epoch(number, node), sequence, (mark + GENESIS_HASH)[:32])


_HELLO = Hello(
    protocol_min=1, protocol_max=1, cluster="c" * 32, node=B, name="b", instance="i", state=State.IN_SYNC,
    epoch=epoch(1), seen=epoch(1), last=ORIGIN, commit=0, applied=0, checksum=0, closed=False, in_sync=[], address="",
    version="", utc_us=0,
)  # fmt: skip


def hello(node: str = B, **fields: Any) -> Hello:
    """What a peer says; IN_SYNC in epoch 1 unless told otherwise."""
    return msgspec.structs.replace(_HELLO, node=node, **fields)


def machine(state: State, node: str = A, *, is_open: bool = False, **memory: Any) -> Machine:
    """A machine that remembers this; `is_open`: its office runs."""
    made = Machine(node, Memory(state=state, **memory), steady_s=1.0)
    made.office_open = is_open
    return made


def step(it: Machine, event: Event, last: Position = ORIGIN, now: float = 100.0, **facts: Any) -> list[Effect]:
    """One event with the journal's end at `last`, all of it fsynced unless `facts` say otherwise."""
    return it.step(event, Facts(last, **{"synced": last.sequence, **facts}), now)


def found(effects: list[Effect], kind: type[Effect]) -> list[Any]:
    """The effects of one kind, in order."""
    return [effect for effect in effects if type(effect) is kind]
