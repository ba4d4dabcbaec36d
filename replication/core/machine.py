"""The role machine: `step(event, facts, now) -> effects`. Pure; the table of `roles` is the truth, this drives it.

The caller gives every event to `step` in order, carries out the effects in the order returned, and gives `Ticked` when
`next_deadline()` has passed. `now` is monotonic seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from replication.core import effects, events
from replication.core.effects import Effect
from replication.core.events import Event, Facts
from replication.core.memory import Memory
from replication.core.messages import Hello
from replication.core.roles import STANDING_BY, TABLE, Row
from replication.core.types import IN_OFFICE, NO_EPOCH, ORIGIN, Epoch, NodeId, Position, Role, State

PEER_SILENT_S = 5.0
TICK_S = 0.25
CAUGHT_UP_LAG_S = 1.0


@dataclass(slots=True)
class Peer:
    """What was last heard of another node, and when (monotonic)."""

    hello: Hello
    heard_at: float
    connected: bool = True
    skew_s: float = 0.0


def role_of(state: State) -> Role:
    """The role that goes with a state."""
    if state in (State.INIT, State.RESUMING):
        return Role.NONE
    return Role.MASTER if state in IN_OFFICE else Role.STANDBY


@dataclass(slots=True)
class Pending:
    """What is under way and forgotten by a restart: an operator's wish, a claim, a hand-off."""

    request: int = 0
    claim: Epoch = NO_EPOCH
    kind: str = ""
    note: bytes = b""
    allow_data_loss: bool = False
    stopped: bool = False
    before: State = State.SYNCING
    target: NodeId = ""
    deadline: float = 0.0
    handoff: Position = ORIGIN
    checksum: int = 0
    ask_again_at: float = 0.0
    alone_from: int = 0
    text: str = ""


@dataclass(slots=True)
class Machine:
    """One node's role. `steady_s` is how long a standby must have kept up before it is counted on."""

    node: NodeId
    memory: Memory
    steady_s: float = 30.0
    facts: Facts = field(default_factory=lambda: Facts(ORIGIN))
    peers: dict[NodeId, Peer] = field(default_factory=dict)
    pending: Pending = field(default_factory=Pending)
    office_open: bool = False
    caught_up_since: dict[NodeId, float] = field(default_factory=dict)
    clear_alone: bool = False
    now: float = 0.0
    ticked_at: float = 0.0

    def step(self, event: Event, facts: Facts, now: float) -> list[Effect]:
        """Take one event; return what to do, in order. An event without a row changes nothing."""
        self.facts, self.now = facts, now
        before = self.memory
        self._note(event, now)
        lost: list[Event] = []
        if isinstance(event, events.Ticked):
            self.ticked_at = now
            lost = self._silent(now)
        for occurred in [*lost, event]:
            for row in TABLE:
                if row.matches(self, occurred):
                    return self._take(row, occurred, before, now)
        return self._persisted(before, [])

    def next_deadline(self, now: float) -> float:
        """When `Ticked` is due next, however many other events there are; `now` only for the first."""
        self.ticked_at = self.ticked_at or now
        return self.ticked_at + TICK_S

    @property
    def state(self) -> State:
        """The persisted state."""
        return self.memory.state

    @property
    def role(self) -> Role:
        """The word people use. A node that was master and waits to be it again has none: it does not act."""
        return role_of(self.state)

    @property
    def journal_epoch(self) -> Epoch:
        """The latest epoch that this node knows to have been an office: its journal's, or its own last one."""
        return max(self.facts.last.epoch, self.memory.office)

    def master(self) -> NodeId:
        """The connected peer in the highest office, this node itself while in office, or ""."""
        if self.state in IN_OFFICE:
            return self.node
        found = [
            (peer.hello.epoch, node)
            for node, peer in self.peers.items()
            if peer.connected and peer.hello.state in IN_OFFICE and peer.hello.epoch >= self.facts.last.epoch
        ]
        return max(found)[1] if found else ""

    def remember(self, **changes: object) -> None:
        """Change the memory; `step` persists it before any effect."""
        self.memory = msgspec.structs.replace(self.memory, **changes)

    def connected(self, peer: NodeId) -> bool:
        """True while the peer was heard within PEER_SILENT_S on an open link."""
        return peer in self.peers and self.peers[peer].connected

    def highest_number(self, but: Epoch = NO_EPOCH) -> int:
        """The highest epoch number seen here or at any peer heard so far; our own claim `but` does not count."""
        epochs = [self.memory.seen, self.memory.granted, self.journal_epoch]
        epochs += [peer.hello.seen for peer in self.peers.values()]
        return max(epoch.number for epoch in epochs if epoch != but or epoch == NO_EPOCH)

    def waiting_for(self) -> str:
        """A sentence for people when this node cannot go on by itself, else ""."""
        if self.state is State.RESUMING:
            return _RESUMING_WAITS
        if self.state in STANDING_BY and not self.master():
            return "Waiting for a master to connect to."
        return ""

    def _note(self, event: Event, now: float) -> None:
        if isinstance(event, events.PeerHeard):
            self.peers[event.peer] = Peer(event.hello, now, True, event.skew_s)
            if event.hello.seen > self.memory.seen and self.state not in IN_OFFICE | {State.RESUMING}:
                self.remember(seen=event.hello.seen)
        elif isinstance(event, events.PeerLost) and event.peer in self.peers:
            self.peers[event.peer].connected = False
            self.caught_up_since.pop(event.peer, None)
        elif isinstance(event, events.StandbyProgressed):
            if event.lag_s >= CAUGHT_UP_LAG_S:
                self.caught_up_since.pop(event.peer, None)
            else:
                self.caught_up_since.setdefault(event.peer, now)
        elif isinstance(event, events.OfficeOpened):
            self.office_open = True
        elif isinstance(event, events.OfficeClosed):
            self.office_open = False

    def _silent(self, now: float) -> list[Event]:
        silent = [n for n, p in self.peers.items() if p.connected and now - p.heard_at > PEER_SILENT_S]
        lost = [events.PeerLost(node) for node in silent]
        for event in lost:
            self._note(event, now)
        return list(lost)

    def _take(self, row: Row, event: Event, before: Memory, now: float) -> list[Effect]:
        result = row.action(self, event, now)
        if row.next is not None and row.next is not self.state:
            self.remember(state=row.next)
        changed = self.state is not before.state
        announcement = [effects.Announce(row.number, row.sentence)] if changed else []
        return self._persisted(before, [*result, *announcement])

    def _persisted(self, before: Memory, result: list[Effect]) -> list[Effect]:
        return [effects.Persist(self.memory), *result] if self.memory != before else result


_RESUMING_WAITS = (
    "This node was master and waits for its standby to say that it may be master again. If the standby is gone for "
    "good, type: understudy go-alone"
)
