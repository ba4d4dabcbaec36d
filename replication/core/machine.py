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
from replication.core.moves import NEXT_STEP
from replication.core.roles import TABLE, Row
from replication.core.types import IN_OFFICE, NO_EPOCH, ORIGIN, STANDING_BY, Epoch, Mode, NodeId, Position, Role, State

PEER_SILENT_S = 5.0
TICK_S = 0.25
CAUGHT_UP_LAG_S = 1.0
ASLEEP_S = 1.0
WAITING_SHOWN_S = 2.0
RELAPSE_STEADIES = 120
"""A standby that leaves the set within so many times `steady_s` relapsed; with the usual 30 s, within an hour."""
RELAPSES_MAX = 5


@dataclass(slots=True)
class Peer:
    """What was last heard of another node, and when (monotonic)."""

    hello: Hello
    heard_at: float
    connected: bool = True
    skew_s: float = 0.0
    behind_bytes: int = 0


def role_of(state: State) -> Role:
    """The role that goes with a state."""
    if state in (State.INIT, State.RESUMING):
        return Role.NONE
    return Role.MASTER if state in IN_OFFICE else Role.STANDBY


@dataclass(slots=True)
class Pending:
    """What is under way and forgotten by a restart: a wish, a claim, a hand-off.

    `request` numbers an operator's wish; `by_itself` is the machine's own wish to write alone, and `agreed` says that
    the witnesses know of no later office. `raising` asks for a higher number for an office held alone. `unproven`:
    office is taken by the operator's word only.
    """

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
    by_itself: bool = False
    agreed: bool = False
    raising: bool = False
    unproven: bool = False


@dataclass(slots=True)
class Machine:
    """One node's role.

    `steady_s` is how long a standby must have kept up before it is counted on. A standby is lost after
    `standby_timeout_s` without progress while something is outstanding; what then happens is the `mode`. `has_fence`
    says that a hook has to end well before a promotion asks for office. `clear_alone`: the witnesses are being told
    that nobody writes alone; `clear_after`: they will be, once the standby has fsynced that request.
    """

    node: NodeId
    memory: Memory
    steady_s: float = 30.0
    mode: Mode = Mode.AVAILABLE
    standby_timeout_s: float = 10.0
    has_fence: bool = False
    facts: Facts = field(default_factory=lambda: Facts(ORIGIN))
    peers: dict[NodeId, Peer] = field(default_factory=dict)
    pending: Pending = field(default_factory=Pending)
    office_open: bool = False
    caught_up_since: dict[NodeId, float] = field(default_factory=dict)
    grants: frozenset[tuple[NodeId, Epoch]] = frozenset()
    clear_alone: bool = False
    clear_after: int = 0
    now: float = 0.0
    ticked_at: float = 0.0
    confirmed: int = 0
    progressed_at: float = 0.0
    answered_at: float = 0.0
    counted_since: float = 0.0

    def step(self, event: Event, facts: Facts, now: float) -> list[Effect]:
        """Take one event; return what to do, in order. An event without a row changes nothing."""
        self._watch_standby(facts, now)
        if self.clear_after == NEXT_STEP:
            self.clear_after = facts.last.sequence
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
            return _RESUMING_WAITS if self.mode is Mode.STRICT else _RESUMING_WAITS_AVAILABLE
        if self.state is State.MASTER and self.office_open and self.outstanding:
            return self._standby_waits()
        if self.state in STANDING_BY and not self.master():
            return "Waiting for a master to connect to."
        return ""

    def _standby_waits(self) -> str:
        silent_s = self.now - self.progressed_at
        if silent_s < WAITING_SHOWN_S:
            return ""
        waits = f"The standby has confirmed nothing for {silent_s:.0f} s: writes wait."
        if self.mode is Mode.STRICT:
            return f"{waits} Start it; if it is gone for good, type: understudy go-alone"
        left_s = self.standby_timeout_s - silent_s
        if left_s > 0:
            return f"{waits} In {left_s:.0f} s this node asks the witnesses whether it may go on alone."
        return f"{waits} The witnesses are asked whether this node may go on alone."

    @property
    def outstanding(self) -> bool:
        """True while something is journaled that a node counted on has not reported durable."""
        return bool(self.memory.in_sync) and self.facts.last.sequence > self.facts.confirmed

    def has_seat(self, peer: NodeId) -> bool:
        """True for the node that is counted on as soon as it is steady; for every node while the seat is free."""
        return self.memory.standby in ("", peer)

    def is_steady(self, peer: NodeId) -> bool:
        """While our office is open the peer has kept up for as long as is needed now."""
        since = self.caught_up_since.get(peer)
        return self.office_open and since is not None and self.now - since >= self.steady_needed_s

    @property
    def counted_name(self) -> NodeId:
        """What witnesses hear while nobody writes alone: "", or, of more than two nodes, who has the seat."""
        return self.memory.standby if self.memory.many else ""

    @property
    def steady_needed_s(self) -> float:
        """How long the standby must keep up now: doubled by every relapse (invariant 12)."""
        return float(self.steady_s * 2**self.memory.relapses)

    def relapses_after_loss(self, now: float) -> int:
        """The count when the standby leaves the set now: one more soon after it entered, else none."""
        if now - self.counted_since >= RELAPSE_STEADIES * self.steady_s:
            return 0
        return min(self.memory.relapses + 1, RELAPSES_MAX)

    def _watch_standby(self, facts: Facts, now: float) -> None:
        """Since when the standby makes no progress. Time in which this node itself slept says nothing of it."""
        if facts.confirmed != self.confirmed or not self.outstanding or not self.office_open:
            self.confirmed, self.progressed_at = facts.confirmed, now
        elif now - self.now > ASLEEP_S:
            grace = min(ASLEEP_S, self.standby_timeout_s)
            self.progressed_at = max(self.progressed_at, now - self.standby_timeout_s + grace)

    def _note(self, event: Event, now: float) -> None:
        if isinstance(event, events.PeerHeard):
            known = self.peers[event.peer].behind_bytes if event.peer in self.peers else 0
            behind = known if event.behind_bytes is None else event.behind_bytes
            self.peers[event.peer] = Peer(event.hello, now, True, event.skew_s, behind)
            if event.hello.seen > self.memory.seen and self.state not in IN_OFFICE | {State.RESUMING}:
                self.remember(seen=event.hello.seen)
            self._note_seat(event.peer, event.hello)
        elif isinstance(event, events.PeerLost) and event.peer in self.peers:
            self.peers[event.peer].connected = False
            self.caught_up_since.pop(event.peer, None)
        elif isinstance(event, events.StandbyProgressed):
            if event.lag_s >= CAUGHT_UP_LAG_S:
                self.caught_up_since.pop(event.peer, None)
            else:
                self.caught_up_since.setdefault(event.peer, now)
        elif isinstance(event, events.GrantReceived | events.ClaimRefused):
            members = self.memory.in_sync
            if isinstance(event, events.GrantReceived) and len(members) > 1:
                self.grants |= {(event.peer, event.epoch)}
            if members == (event.peer,) or (not members and self.has_seat(event.peer)):
                self.answered_at = now
        elif isinstance(event, events.TailFetched | events.Started):
            self.answered_at = now
        elif isinstance(event, events.OfficeOpened):
            self.office_open = True
        elif isinstance(event, events.OfficeClosed):
            self.office_open = False

    def _note_seat(self, peer: NodeId, hello: Hello) -> None:
        """The master says who has the seat; the node that has it would count on the master after a hand-off."""
        if hello.many:
            self.remember(many=True)
        if hello.seat and self.state in STANDING_BY and peer == self.master():
            is_ours = hello.seat == self.node
            self.remember(standby=peer if is_ours else hello.seat, observer=not is_ours)

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
            self.answered_at = now
        changed = self.state is not before.state
        announcement = [effects.Announce(row.number, row.sentence)] if changed else []
        return self._persisted(before, [*result, *announcement])

    def _persisted(self, before: Memory, result: list[Effect]) -> list[Effect]:
        return [effects.Persist(self.memory), *result] if self.memory != before else result


_RESUMING_NEXT = (
    "Until then it starts no jobs and takes no changes. Start the other machine; if that one says that it is master, "
    "leave this one as it is. Only if the other machine will not come back, type here: understudy go-alone"
)
_RESUMING_WAITS = f"This node was master and waits for its standby to say that it may be master again. {_RESUMING_NEXT}"
_RESUMING_WAITS_AVAILABLE = (
    "This node was master and waits for its standby, or for most of the agents that are witnesses, to say that it may "
    f"be master again. {_RESUMING_NEXT}"
)
