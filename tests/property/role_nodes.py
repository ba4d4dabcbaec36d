"""What the simulation of roles is made of: journals, streams, offices, questions to witnesses."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from replication.core import effects, events
from replication.core.commit import CommitRule
from replication.core.effects import Effect
from replication.core.events import Event
from replication.core.machine import Machine
from replication.core.memory import Memory
from replication.core.messages import ClaimOffice, Grant, Message, Refuse, Taken, Token
from replication.core.types import GENESIS_HASH, ORIGIN, Epoch, Mode, Position
from replication.core.witness import WitnessAnswer
from tests.unit.role_world import A, B

PEER = {A: B, B: A}
STEADY_S = 1.0
STANDBY_TIMEOUT_S = 1.5


class Entry(NamedTuple):
    """One request: `kind` is EPOCH, WRITE, HANDOFF, ABORT or CLOSED; `value` numbers a write."""

    position: Position
    kind: str
    value: int
    at: float


@dataclass(eq=False)
class Stream:
    """A bulk link; both directions in order. It belongs to one office of the master."""

    office: Office
    to_standby: deque[tuple[list[Entry], int]] = field(default_factory=deque)
    to_master: deque[tuple[int, int, int]] = field(default_factory=deque)
    next: int = 0
    announced: int = 0


@dataclass(eq=False)
class Office:
    """An open store: `ready` once EPOCH is committed."""

    epoch: Epoch
    opened_at: int
    is_frozen: bool = False
    acknowledged: int = 0
    forced: bool = False


@dataclass(eq=False)
class Question:
    """What was asked of the witnesses, and the answers so far."""

    effect: effects.AskWitnesses | effects.RecordAlone
    instance: int
    waiting: list[int]
    asker: str = ""
    answers: list[WitnessAnswer] = field(default_factory=list)
    done: int = 0


class Node:
    """One node: what survives a crash is `memory`, `journal` and `synced`."""

    def __init__(self, name: str, mode: Mode = Mode.STRICT, *, has_fence: bool = False) -> None:
        self.name = name
        self.mode = mode
        self.has_fence = has_fence
        self.progressed_at = 0.0
        self.is_fenced = False
        self.memory = Memory()
        self.journal: list[Entry] = []
        self.synced = 0
        self.recorded = 0
        self.is_up = False
        self.forced = False
        self.instance = 0

    def start(self) -> None:
        """A new process on what is durable."""
        self.instance += 1
        self.is_up = True
        self.machine = Machine(self.name, self.memory, STEADY_S, self.mode, STANDBY_TIMEOUT_S, self.has_fence)
        self.is_fenced = False
        self.rule = CommitRule()
        self.rule.required = frozenset(self.memory.in_sync)
        self.synced = len(self.journal)
        self.office: Office | None = None
        self.following = False
        self.stream: Stream | None = None
        self.commit = self.recorded
        self.operations: deque[Effect] = deque()

    @property
    def last(self) -> Position:
        """The end of the journal."""
        return self.journal[-1].position if self.journal else ORIGIN

    def append(self, kind: str, value: int, epoch: Epoch, now: float) -> None:
        """One more request, not yet fsynced."""
        before = self.last
        digest = hashlib.sha256(repr((before.hash, epoch, kind, value)).encode()).digest()
        self.journal.append(Entry(Position(epoch, before.sequence + 1, digest), kind, value, now))

    def checksum_at(self, sequence: int) -> int:
        """Stands for the rolling checksum."""
        return int.from_bytes(self.journal[sequence - 1].position.hash[:7], "big") if sequence else 0


def event_of(sender: str, message: Message) -> Event:
    """What a message becomes where it arrives."""
    match message:
        case ClaimOffice():
            return events.ClaimReceived(sender, message.epoch, message.office, message.last)
        case Grant():
            return events.GrantReceived(sender, message.epoch, message.last)
        case Refuse():
            return events.ClaimRefused(sender, message.highest, message.superseded, message.reason)
        case Token():
            return events.TokenReceived(sender, message.epoch, message.last)
        case Taken():
            return events.TokenTaken(sender, message.epoch)
    raise AssertionError(message)


def writes(entries: list[Entry]) -> set[int]:
    """The numbers of the writes among these requests."""
    return {entry.value for entry in entries if entry.kind == "WRITE"}


def places(node: Node) -> list[Position]:
    """Every place in the history of a node, the origin too."""
    return [Position(Epoch(0, ""), 0, GENESIS_HASH), *(entry.position for entry in node.journal)]


def common(node: Node, master: Node) -> int:
    """How many requests both journals begin with."""
    pairs = zip(node.journal, master.journal, strict=False)
    return next(
        (i for i, (a, b) in enumerate(pairs) if a.position != b.position), min(len(node.journal), len(master.journal))
    )
