"""What one node holds, as a value that can be hashed: durable things, and those that a crash takes.

Times are gone from it: the machine's clock stands still at NOW, and what was set on it is only *set*; the search says
when it is due. Gone are also words for people, notes, the wall clock and what a HELLO says for display.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, NamedTuple

from replication.core.effects import Effect
from replication.core.events import Event, Facts
from replication.core.machine import Machine, Peer, Pending
from replication.core.memory import Memory
from replication.core.messages import Hello
from replication.core.types import IN_OFFICE, NO_EPOCH, ORIGIN, Epoch, Mode, NodeId, State
from tests.search.chains import EMPTY
from tests.unit.role_world import A, B

NODES = (A, B)
NOW = 1000.0
STEADY_S = 30.0
AGES_S = 1e6
SET = 1.0
CALM, DUE, LATE, SILENT, STALLED, UNANSWERED, STEADY = (
    "calm", "due", "late", "silent", "stalled", "unanswered", "steady",
)  # fmt: skip
"""What has passed when a step begins: nothing, the time to ask again, the hand-off's deadline, the time after which a
peer is silent, a standby without progress lost, a claim without answer a matter for the witnesses, the time that a
standby has to keep up before it is counted on."""


class Said(NamedTuple):
    """What of a HELLO has consequences."""

    state: State
    epoch: Epoch
    seen: Epoch
    commit: int
    in_sync: tuple[NodeId, ...]


class Term(NamedTuple):
    """An open office. `acted` is the commit sequence that was answered; `closing` says that CLOSED is journaled."""

    epoch: Epoch
    opened_at: int
    frozen: bool = False
    closing: bool = False
    acted: int = 0


Volatile = tuple[Any, ...]


class Held(NamedTuple):
    """One node. Durable: `disk`, the first `synced` requests of `journal`, `recorded`, `forks`; the rest is volatile.

    `recorded` is the commit that is durable here, up to which requests are applied. `forks` is the set of writes kept
    in forks. `lossy`: 0; 1 the office that it takes may lose writes by an operator's leave; 2 nor do witnesses know it.
    """

    up: bool = False
    ram: Memory = Memory()
    disk: Memory = Memory()
    volatile: Volatile = ()
    journal: int = EMPTY
    synced: int = 0
    recorded: int = 0
    commit: int = 0
    term: Term | None = None
    required: frozenset[NodeId] = frozenset()
    sequence: int = 0
    fsynced: int = 0
    following: bool = False
    operations: tuple[Effect, ...] = ()
    forks: int = 0
    lossy: int = 0


PENDING = tuple(field.name for field in fields(Pending))
_TIMES = ("deadline", "ask_again_at")
_WORDS = {"text": "", "note": b""}
_SETTINGS = {"node", "steady_s", "mode", "standby_timeout_s", "has_fence"}
_CLOCK = {"now", "ticked_at", "answered_at", "counted_since", "confirmed", "progressed_at"}
_HANDLED = {"memory", "facts", "peers", "pending", "caught_up_since"} | _SETTINGS | _CLOCK
_OTHERS = tuple(field.name for field in fields(Machine) if field.name not in _HANDLED)


class Watched(Machine):
    """The shipped machine; it notes which rows it takes."""

    taken: list[int]

    def _take(self, row: Any, event: Event, before: Memory, now: float) -> list[Effect]:
        self.taken.append(row.number)
        return super()._take(row, event, before, now)


def hello_of(node: NodeId, said: Said) -> Hello:
    """The HELLO; its `last` is only for words to people."""
    return Hello(
        protocol_min=1, protocol_max=1, cluster="c", node=node, name="", instance="", state=said.state,
        epoch=said.epoch, seen=said.seen, last=ORIGIN, commit=said.commit, applied=0, checksum=0,
        closed=False, in_sync=list(said.in_sync), address="", version="", utc_us=0,
    )  # fmt: skip


class Rules(NamedTuple):
    """How the nodes are set up."""

    mode: Mode = Mode.STRICT
    has_fence: bool = False


def machine_of(node: NodeId, held: Held, rules: Rules, facts: Facts, passed: str = CALM) -> Watched:
    """The shipped machine with what this node remembers; `passed` says which times are over.

    Office began long ago: how often a standby relapsed changes only how long it has to be steady.
    """
    machine = Watched(node, held.ram, STEADY_S, rules.mode, has_fence=rules.has_fence)
    machine.taken = []
    machine.facts, machine.now, machine.counted_since = facts, NOW, -AGES_S
    peers, pending, caught_up, stalled, others = held.volatile
    machine.answered_at = NOW - AGES_S if passed is UNANSWERED else NOW
    machine.progressed_at = NOW if stalled is None and passed is not STALLED else NOW - AGES_S
    machine.confirmed = facts.confirmed if stalled is None else stalled
    for peer, connected, said in peers:
        heard_at = NOW - AGES_S if passed is SILENT else NOW
        machine.peers[peer] = Peer(hello_of(peer, said), heard_at, connected)
    machine.pending = Pending(**dict(zip(PENDING, pending, strict=True)))
    if machine.pending.ask_again_at:
        machine.pending.ask_again_at = NOW if passed in (DUE, UNANSWERED) else NOW + 1
    if machine.pending.deadline:
        machine.pending.deadline = NOW if passed is LATE else NOW + 1
    machine.caught_up_since = dict.fromkeys(caught_up, NOW - STEADY_S if passed is STEADY else NOW)
    for name, value in zip(_OTHERS, others, strict=True):
        setattr(machine, name, value)
    return machine


def volatile_of(machine: Machine) -> Volatile:
    """What of the machine is lost in a crash, without what cannot matter any more."""
    peers = tuple((node, *_peer(peer)) for node, peer in machine.peers.items())
    pending = tuple(_settled(name, getattr(machine.pending, name)) for name in PENDING)
    caught_up = tuple(machine.caught_up_since) if machine.state in IN_OFFICE else ()
    lost = machine.office_open and machine.outstanding and machine.progressed_at < NOW
    stalled = machine.confirmed if lost else None
    return peers, pending, caught_up, stalled, tuple(getattr(machine, name) for name in _OTHERS)


def _peer(peer: Peer) -> tuple[bool, Said]:
    """Of a peer that is not connected only the highest epoch counts."""
    hello = peer.hello
    if not peer.connected:
        return False, Said(State.INIT, NO_EPOCH, hello.seen, 0, ())
    return True, Said(hello.state, hello.epoch, hello.seen, hello.commit, tuple(hello.in_sync))


def _settled(name: str, value: Any) -> Any:
    if name in _TIMES:
        return SET if value else 0.0
    if name == "request":
        return min(value, 1)
    return _WORDS.get(name, value)
