"""What one node does in one go: steps of the shipped machine, and its effects carried out in their order.

The shell around the machine is modelled as it is: a fast inbox and slow operations one after the other, a journal with
a fsynced part, the shipped commit rule. A deed is a function of what the node holds, so the search does each only once.
"""

from __future__ import annotations

from typing import NamedTuple

from replication.core import effects, events, guards
from replication.core.commit import CommitRule
from replication.core.effects import Effect
from replication.core.events import Event, Facts
from replication.core.messages import ClaimOffice, Grant, Message, Refuse, Taken, Token
from replication.core.types import IN_OFFICE, Epoch, NodeId, Position, State
from tests.search.chains import Chains, Entry
from tests.search.held import CALM, NODES, NOW, Held, Rules, Said, Term, Watched, machine_of, volatile_of


class Broken(AssertionError):
    """A promise was broken."""


class Answered(NamedTuple):
    """Clients were answered up to the end of `chain`, by an office without a standby, by an operator's word or not."""

    epoch: Epoch
    chain: int
    is_alone: bool
    by_leave: bool


class Outcome(NamedTuple):
    """What became of the node, and what others notice of it.

    `opened` is the epoch of an office that began, with `lossy` of Held. `commits` are what clients were answered.
    `ended`: "served" the stream to its standby, "followed" its own.
    """

    held: Held
    rows: tuple[int, ...] = ()
    sent: tuple[Event, ...] = ()
    asked: tuple[Effect, ...] = ()
    opened: tuple[Epoch, int] | None = None
    commits: tuple[Answered, ...] = ()
    ended: frozenset[str] = frozenset()
    answers: tuple[effects.Answer, ...] = ()
    effects: int = 0


def event_of(sender: NodeId, message: Message) -> Event:
    """What a message becomes where it arrives; a refusal without its words."""
    match message:
        case ClaimOffice():
            return events.ClaimReceived(sender, message.epoch, message.office, message.last)
        case Grant():
            return events.GrantReceived(sender, message.epoch, message.last)
        case Refuse():
            return events.ClaimRefused(sender, message.highest, message.superseded, "")
        case Token():
            return events.TokenReceived(sender, message.epoch, message.last)
        case Taken():
            return events.TokenTaken(sender, message.epoch)
    raise AssertionError(message)


class Died(Exception):
    """The process ended between two effects."""


class Doer:
    """One node at work. `eager`: slow operations follow at once; `solid`: what is journaled is fsynced at once."""

    def __init__(self, chains: Chains, rules: Rules, me: int, held: Held, eager: bool, solid: bool) -> None:
        self.chains, self.rules, self.held = chains, rules, held
        self.name, self.peer = NODES[me], NODES[1 - me]
        self.eager, self.solid = eager, solid
        self.rows: list[int] = []
        self.sent: list[Event] = []
        self.asked: list[Effect] = []
        self.answers: list[effects.Answer] = []
        self.commits: list[Answered] = []
        self.opened: tuple[Epoch, int] | None = None
        self.ended: set[str] = set()
        self.effects = 0

    def outcome(self) -> Outcome:
        """Everything together."""
        return Outcome(
            self.held, tuple(self.rows), tuple(self.sent), tuple(self.asked), self.opened, tuple(self.commits),
            frozenset(self.ended), tuple(self.answers), self.effects,
        )  # fmt: skip

    # the process

    def start(self) -> None:
        """A new process on what is durable; what a kill left in the journal is fsynced now."""
        held = self.held
        length = self.chains.lengths[held.journal]
        fresh = volatile_of(Watched(self.name, held.disk))
        self.held = held._replace(
            up=True, ram=held.disk, volatile=fresh, synced=length, commit=held.recorded,
            required=frozenset(held.disk.in_sync),
        )  # fmt: skip
        self.give(events.Started())

    def crash(self, kept: int) -> None:
        """The process is gone, and the journal behind its first `kept` requests."""
        held = self.held
        self.ended |= {"served", "followed"}
        self.held = Held(
            disk=held.disk, ram=held.disk, journal=self.chains.prefix(held.journal, kept),
            synced=min(held.synced, kept), recorded=min(held.recorded, kept), forks=held.forks,
        )  # fmt: skip

    # one event

    def give(self, event: Event, passed: str = CALM, cut: int | None = None) -> None:
        """Step the machine and carry out its effects; with `cut` the process ends behind so many of them."""
        held = self.held
        machine = machine_of(self.name, held, self.rules, self.facts(), passed)
        lossy = self._lossy(machine, event)
        result = machine.step(event, machine.facts, NOW)
        self.rows += machine.taken
        self.effects = self.effects or len(result)
        self.held = held._replace(ram=machine.memory, volatile=volatile_of(machine), lossy=lossy)
        for index, effect in enumerate(result):
            if index == cut:
                raise Died
            self._carry_out(effect)
        if self.eager:
            self.settle()

    def facts(self) -> Facts:
        """As the shell knows them."""
        held = self.held
        closed = held.term is None and self.chains.entries[held.journal].kind == "CLOSED"
        return Facts(self.chains.lasts[held.journal], closed, held.synced, confirmed=self._rule().confirmed)

    def _lossy(self, machine: Watched, event: Event) -> int:
        """Whether the office that is aimed at may lose something: by an operator's flag, the words of the judge, and
        whether witnesses know."""
        promoting = machine.state is State.PROMOTING
        leave = machine.pending.allow_data_loss or (machine.memory.leave and machine.state is State.ALONE)
        if promoting and isinstance(event, events.WitnessesAnswered):
            return int(leave and not guards.judge(machine, event).lossless)
        if machine.state is State.RESUMING and isinstance(event, events.WitnessesAnswered) and leave:
            return max(self.held.lossy, int(not event.verdict.has_majority))
        if isinstance(event, events.AloneRecorded) and not event.done:
            return 2 if leave else 0
        return self.held.lossy

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case effects.Persist():
                before, after = self.held.disk, effect.memory
                grown = after.seen >= before.seen and after.office >= before.office and after.granted >= before.granted
                if not grown:
                    raise Broken(f"an epoch that {self.name[0]} remembered fell")
                self.held = self.held._replace(disk=after)
            case effects.Send():
                self.sent.append(event_of(self.name, effect.message))
            case effects.RequireAcks():
                self.held = self.held._replace(required=effect.nodes)
                self._commit()
            case effects.AskWitnesses() | effects.RecordAlone() | effects.Fence():
                self.asked.append(effect)
            case effects.Answer():
                self.answers.append(effect)
            case effects.Announce():
                pass
            case effects.FollowPeer() if not self.held.operations and self.held.following:
                pass
            case _ if effect != (self.held.operations or (None,))[-1]:
                self.held = self.held._replace(operations=(*self.held.operations, effect))

    # slow operations

    def settle(self) -> None:
        """Do the slow operations that this node can do by itself."""
        while self.held.operations and not isinstance(self.held.operations[0], effects.FetchTail):
            self.operate()

    def operate(self) -> None:
        """The next slow operation."""
        effect, *rest = self.held.operations
        self.held = self.held._replace(operations=tuple(rest))
        match effect:
            case effects.FollowPeer():
                self.held = self.held._replace(following=self.held.term is None)
            case effects.Unfollow():
                self._unfollow()
            case effects.OpenOffice():
                self._open(effect.epoch)
            case effects.CloseOffice():
                self._close()
                self.give(events.OfficeClosed())
            case effects.HandOff() if self.held.term is not None:
                self.held = self.held._replace(term=self.held.term._replace(frozen=True))
                self._append("HANDOFF")
                last = self.chains.lasts[self.held.journal]
                self.give(events.HandoffAppended(effect.epoch, last, self.held.journal))
            case effects.AbortHandOff() if self.held.term is not None:
                self._append("ABORT")
                self.held = self.held._replace(term=self.held.term._replace(frozen=self.held.term.closing))

    def _unfollow(self) -> None:
        self.ended.add("followed")
        self.held = self.held._replace(following=False, commit=0)

    def _close(self) -> None:
        if self.held.term is not None:
            self.ended.add("served")
            recorded = min(self.held.sequence, self.chains.lengths[self.held.journal])
            self.held = self.held._replace(term=None, sequence=0, fsynced=0, recorded=recorded)

    def _open(self, epoch: Epoch) -> None:
        self._unfollow()
        self._close()
        held = self.held
        last = self.chains.lasts[held.journal]
        if epoch <= last.epoch:
            raise Broken(f"office {epoch} of {self.name[0]} begins in an epoch that its journal has passed")
        length = last.sequence
        term = Term(epoch, length + 1)
        self.held = held._replace(term=term, synced=length, recorded=length, sequence=length, fsynced=0, commit=0)
        self.opened = (epoch, held.lossy)
        self.held = self.held._replace(lossy=0)
        self._append("EPOCH")
        self.give(events.OfficeOpened())

    def fetch_tail(self, theirs: int) -> None:
        """A peer out of office sends what it has behind our last request, if its journal goes on from there."""
        self.held = self.held._replace(operations=self.held.operations[1:])
        if self.held.term is None and self.chains.begins(theirs, self.held.journal):
            self.held = self.held._replace(journal=theirs, synced=self.chains.lengths[theirs])
            self.give(events.TailFetched())
        elif self.eager:
            self.settle()

    # in office

    def _append(self, kind: str, value: int = 0) -> None:
        assert self.held.term is not None
        journal = self.chains.append(self.held.journal, Entry(self.held.term.epoch, kind, value))
        self.held = self.held._replace(journal=journal)
        if self.solid:
            self.fsync()

    def write(self, value: int) -> None:
        """A client's change."""
        self._append("WRITE", value)

    def stop(self) -> None:
        """A clean stop begins: the application is closed, CLOSED is journaled."""
        assert self.held.term is not None
        self.held = self.held._replace(term=self.held.term._replace(frozen=True, closing=True))
        self._append("CLOSED")

    def fsync(self) -> None:
        """The journal becomes durable; a standby's record of the commit too."""
        length = self.chains.lengths[self.held.journal]
        self.held = self.held._replace(synced=length)
        if self.held.term is not None:
            self._commit()
        else:
            self.held = self.held._replace(recorded=max(self.held.recorded, min(self.held.commit, length)))

    def _commit(self, report: int = 0) -> None:
        """The shipped rule says what is durable wherever it must be; clients are answered up to there."""
        held, term = self.held, self.held.term
        if term is None:
            return
        rule = self._rule()
        rule.local(held.synced)
        sequence = rule.peer(self.peer, report) if report else rule.sequence
        self.held = held = held._replace(sequence=sequence, fsynced=rule._fsynced.get(self.peer, 0))
        if sequence >= term.opened_at and sequence > term.acted:
            self.held = held._replace(term=term._replace(acted=sequence))
            chain = self.chains.prefix(held.journal, sequence)
            self.commits.append(Answered(term.epoch, chain, not held.required, held.ram.leave))

    def _rule(self) -> CommitRule:
        held, rule = self.held, CommitRule()
        rule.restart(held.sequence, held.sequence)
        if held.fsynced:
            rule._fsynced[self.peer] = held.fsynced
        rule.require(held.required)
        return rule

    def report(self, fsynced: int, applied: int, checksum: int, late: bool, passed: str) -> None:
        """An ACK of the standby; `late`: what it has not fsynced is older than a standby in sync may be behind."""
        self._commit(fsynced)
        behind = fsynced < self.chains.lengths[self.held.journal]
        lag_s = (2.0 if late else 0.1) if behind else 0.0
        self.give(events.StandbyProgressed(self.peer, fsynced, applied, checksum, lag_s), passed)

    # standing by

    def receive(self, theirs: int, requests: int, commit: int) -> None:
        """So many more requests of the master's journal, and how far it is committed."""
        length = self.chains.lengths[self.held.journal]
        self.held = self.held._replace(journal=self.chains.prefix(theirs, length + requests), commit=commit)
        if self.solid:
            self.fsync()

    def stream(self) -> None:
        """The position is in the master's history; a new stream has said nothing of its commit yet."""
        self.held = self.held._replace(commit=0)
        self.give(events.StreamStarted())

    def fork(self, common: int, replace_by: int | None) -> None:
        """Keep what is behind `common`, durably; then cut it, or begin to copy when `replace_by` is given."""
        held, state = self.held, self.held.ram.state
        if state not in (State.FORKED, State.COPYING):
            self.give(events.ForkFound())
            return
        if state is State.FORKED:
            self._keep(common)
            if replace_by is not None:
                self.give(events.CopyStarted())
                return
        journal = self.chains.prefix(held.journal, common) if replace_by is None else replace_by
        length = self.chains.lengths[journal]
        recorded = min(held.recorded, length) if replace_by is None else length
        self.held = self.held._replace(journal=journal, synced=length, recorded=recorded, commit=recorded)
        if replace_by is not None:
            self.give(events.StreamStarted())

    def _keep(self, common: int) -> None:
        held = self.held
        kept = self.chains.writes[held.journal] & ~self.chains.writes[self.chains.prefix(held.journal, common)]
        self.held = held._replace(forks=held.forks | kept)

    def said(self) -> Said:
        """As `picture.hello`: what is durable, and whose fsync the commit needs."""
        held, memory = self.held, self.held.disk
        in_office = memory.state in IN_OFFICE
        last = self.chains.lasts[held.journal]
        if held.term is not None:
            commit = held.sequence
        else:
            commit = last.sequence if held.ram.state in IN_OFFICE else max(held.recorded, held.commit)
        return Said(
            memory.state,
            memory.office if in_office else max(last.epoch, memory.office),
            max(memory.seen, memory.granted),
            commit,
            tuple(sorted(held.required if in_office else memory.in_sync)),
        )

    def position(self) -> Position:
        """The end of the journal."""
        return self.chains.lasts[self.held.journal]
