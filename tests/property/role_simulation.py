"""Two role machines, their journals, witnesses and a network that loses, doubles and reorders: all in one thread.

Only the shells are modelled: a journal is a list with a fsynced prefix, a bulk link two queues. Machines, commit rule
and witness rule are the shipped ones. A crash forgets everything but the persisted memory and the journal.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from replication.core import effects, events
from replication.core.effects import Effect
from replication.core.events import Event, Facts
from replication.core.types import IN_OFFICE, NO_EPOCH, Epoch, Mode, State
from replication.core.witness import WitnessRecord, combine, decide_alone, decide_claim
from server.core.agent_trust import obeys
from tests.property import role_promises
from tests.property.role_nodes import PEER, Entry, Node, Office, Question, Stream, common, event_of, places, writes
from tests.unit.role_world import A, B, hello

PERSIST = True


class Broken(AssertionError):
    """A promise was broken."""


class Stage:
    """The pair. `random` chooses; `World` lets things happen to it."""

    def __init__(
        self, seed: random.Random, witnesses: int = 1, mode: Mode = Mode.STRICT, *, has_fence: bool = False
    ) -> None:
        self.random = seed
        self.now = 100.0
        self.nodes = {name: Node(name, mode, has_fence=has_fence) for name in (A, B)}
        self.obeyed = NO_EPOCH
        self.witnesses = [WitnessRecord() for _ in range(witnesses)]
        self.wire: list[tuple[str, int, Event]] = []
        self.questions: list[Question] = []
        self.acknowledged: dict[int, Epoch] = {}
        self.newest, self.newest_journal = NO_EPOCH, list[Entry]()
        self.losing = self.is_founded = False
        self.offices: dict[Epoch, tuple[str, int]] = {}
        self.values = 0
        self.requests = 0
        self.wished: dict[str, bool] = {}
        self.is_cut = False
        self.crash_at: int | None = None
        self.log: list[str] = []

    def states(self) -> tuple[State, State]:
        """Both states, A first."""
        return self.nodes[A].memory.state, self.nodes[B].memory.state

    # one event

    def give(self, name: str, event: Event) -> None:
        """Step one machine and carry out its effects; a crash may come between any two."""
        node = self.nodes[name]
        if not node.is_up:
            return
        closed = bool(node.journal) and node.journal[-1].kind == "CLOSED" and node.office is None
        facts = Facts(node.last, closed, node.synced, confirmed=node.rule.confirmed)
        if not node.machine.outstanding:
            node.progressed_at = self.now
        for index, effect in enumerate(node.machine.step(event, facts, self.now)):
            if self.crash_at == index:
                self.crash_at = None
                self.crash(name)
                return
            self._carry_out(node, effect)

    def _carry_out(self, node: Node, effect: Effect) -> None:
        match effect:
            case effects.Persist():
                if PERSIST or not self.is_founded:
                    grown = effect.memory.seen >= node.memory.seen and effect.memory.office >= node.memory.office
                    self.expect(grown and effect.memory.granted >= node.memory.granted, "an epoch fell")
                    node.memory = effect.memory
            case effects.Send():
                self.send(node, event_of(node.name, effect.message))
            case effects.RequireAcks():
                node.rule.require(effect.nodes)
                self._acknowledge(node)
            case effects.AskWitnesses() | effects.RecordAlone():
                self.hold(role_promises.broken_by_question(node, effect))
                self.questions.append(Question(effect, node.instance, list(range(len(self.witnesses))), node.name))
            case effects.Answer() | effects.Announce():
                if isinstance(effect, effects.Announce):
                    wished = self.wished.pop(node.name, False)
                    self.hold(role_promises.broken_by_move(node, effect.row, self.now, wished=wished))
                    self.log.append(f"{self.now:.1f} {node.name[0]} row {effect.row} {node.machine.state}")
            case _:
                node.operations.append(effect)

    # the slow effects

    def operate(self, node: Node) -> None:
        """Carry out the next slow effect."""
        if not node.is_up or not node.operations:
            return
        effect = node.operations.popleft()
        match effect:
            case effects.FollowPeer():
                node.following = node.office is None
            case effects.Unfollow():
                self._unfollow(node)
            case effects.OpenOffice():
                self._open(node, effect)
            case effects.CloseOffice():
                self._close(node)
                self.give(node.name, events.OfficeClosed())
            case effects.HandOff() if node.office is not None:
                node.office.is_frozen = True
                node.append("HANDOFF", 0, node.office.epoch, self.now)
                checksum = node.checksum_at(len(node.journal))
                self.give(node.name, events.HandoffAppended(effect.epoch, node.last, checksum))
            case effects.AbortHandOff() if node.office is not None:
                node.append("ABORT", 0, node.office.epoch, self.now)
                node.office.is_frozen = False
            case effects.FetchTail():
                self._fetch(node)
            case effects.Fence():
                node.is_fenced = self.random.random() < 0.8
                self.give(node.name, events.FenceEnded(effect.request, node.is_fenced, "It said so."))

    def _unfollow(self, node: Node) -> None:
        node.following, node.stream = False, None

    def _open(self, node: Node, effect: effects.OpenOffice) -> None:
        self._unfollow(node)
        self._close(node)
        known = self.offices.setdefault(effect.epoch, (node.name, node.instance))
        self.expect(known == (node.name, node.instance), f"epoch {effect.epoch} is held twice")
        self.expect(effect.epoch > node.last.epoch, "an office begins in an epoch that its journal has passed")
        node.synced = node.recorded = len(node.journal)
        node.rule.restart(node.recorded, node.synced)
        node.append("EPOCH", 0, effect.epoch, self.now)
        node.office = Office(effect.epoch, len(node.journal), forced=node.forced)
        self.give(node.name, events.OfficeOpened())

    def _close(self, node: Node) -> None:
        node.office = None
        other = self.nodes[PEER[node.name]]
        if other.is_up:
            other.stream = None

    def _fetch(self, node: Node) -> None:
        other = self.nodes[PEER[node.name]]
        if other.is_up and not self.is_cut and node.last in places(other):
            node.journal += other.journal[len(node.journal) :]
            node.synced = len(node.journal)
            self.give(node.name, events.TailFetched())

    # the stream

    def fsync(self, node: Node) -> None:
        """The journal of this node becomes durable; a master's commit may move."""
        if not node.is_up:
            return
        node.synced = len(node.journal)
        if node.office is not None:
            node.rule.local(node.synced)
            self._acknowledge(node)
        elif node.stream is not None:
            node.recorded = max(node.recorded, min(node.commit, node.synced))
            report = (node.synced, node.recorded, node.checksum_at(node.recorded))
            if len(node.stream.to_master) < 2 or node.stream.to_master[-1] != report:
                node.stream.to_master.append(report)

    def _acknowledge(self, node: Node) -> None:
        office = node.office
        if office is None or node.rule.sequence < office.opened_at:
            return
        new = node.journal[office.acknowledged : node.rule.sequence]
        if not new:
            return
        if self.is_founded and not self.losing:
            self.hold(role_promises.broken_by_acknowledging(node, office.epoch, self.witnesses))
        if office.forced:
            office.forced = False
            held = writes(node.journal)
            self.acknowledged = {value: by for value, by in self.acknowledged.items() if value in held}
            self.newest = max(self.newest, office.epoch)
        for value in writes(new):
            self.acknowledged.setdefault(value, office.epoch)
        office.acknowledged = node.rule.sequence
        if office.epoch >= self.newest:
            self.newest, self.newest_journal = office.epoch, node.journal
        lost = {v for v, by in self.acknowledged.items() if by <= self.newest} - writes(self.newest_journal)
        if self.losing:  # an old master that an operator gave up may go on until it hears of it
            self.acknowledged = {v: by for v, by in self.acknowledged.items() if v not in lost}
        else:
            self.expect(not lost, f"acknowledged writes {sorted(lost)} are not in office {self.newest}")

    def visit_agent(self, node: Node) -> None:
        """An agent meets this office: it obeys it, for good, or says whom it obeys."""
        office = node.office
        if not node.is_up or office is None or node.rule.sequence < office.opened_at:
            return
        if obeys(self.obeyed, office.epoch):
            self.obeyed = office.epoch
        else:
            self.give(node.name, events.EpochHeard(self.obeyed))

    def follow(self, node: Node) -> None:
        """FOLLOW and what the master decides: stream, or keep the fork, cut or copy, then stream."""
        other = self.nodes[PEER[node.name]]
        if not (node.is_up and node.following and other.is_up and other.office) or self.is_cut or node.stream:
            return
        shared = common(node, other)
        copying = node.memory.state is State.COPYING
        if shared < len(node.journal) or copying or not node.journal:
            self.give(node.name, events.ForkFound())
            if shared < node.recorded or copying or not node.journal:
                self.give(node.name, events.CopyStarted())
                if not node.is_up or self.random.random() < 0.1:
                    return
                node.journal = list(other.journal[: other.synced])
            else:
                del node.journal[shared:]
            node.synced = len(node.journal)
            node.recorded = min(node.recorded, node.synced)
        self.give(node.name, events.StreamStarted())
        if node.is_up and other.office is not None:
            node.stream = Stream(other.office, next=len(node.journal))
            node.stream.to_master.append((node.synced, node.recorded, node.checksum_at(node.recorded)))

    def pump(self, node: Node) -> None:
        """Move one frame each way between this standby and its master, and queue what is new."""
        master, stream = self.nodes[PEER[node.name]], node.stream
        if stream is None or not node.is_up or not master.is_up or master.office is not stream.office or self.is_cut:
            node.stream = None
            return
        if stream.next < len(master.journal) or stream.announced < master.rule.sequence:
            stream.to_standby.append((master.journal[stream.next :], master.rule.sequence))
            stream.next, stream.announced = len(master.journal), master.rule.sequence
        if stream.to_standby and self.random.random() < 0.7:
            entries, commit = stream.to_standby.popleft()
            node.journal += entries
            node.commit = commit
        if stream.to_master and self.random.random() < 0.7:
            fsynced, applied, checksum = stream.to_master.popleft()
            if fsynced > master.rule.confirmed:
                master.progressed_at = self.now
            master.rule.peer(node.name, fsynced)
            self._acknowledge(master)
            behind = master.journal[fsynced].at if fsynced < len(master.journal) else self.now
            self.give(master.name, events.StandbyProgressed(node.name, fsynced, applied, checksum, self.now - behind))

    # messages

    def send(self, node: Node, event: Event) -> None:
        """Onto the wire: lost while cut, sometimes twice."""
        if not self.is_cut:
            self.wire.append((PEER[node.name], node.instance, event))

    def say_hello(self, node: Node) -> None:
        """As `picture.hello`: what is durable, and whose fsync the commit needs."""
        if not node.is_up:
            return
        memory, machine = node.memory, node.machine
        in_office = memory.state in IN_OFFICE
        if node.office is not None:
            commit = node.rule.sequence
        else:
            commit = len(node.journal) if machine.state in IN_OFFICE else max(node.recorded, node.commit)
        said = hello(
            node.name, state=memory.state, epoch=memory.office if in_office else max(node.last.epoch, memory.office),
            seen=max(memory.seen, memory.granted), last=node.last, commit=commit,
            in_sync=sorted(node.rule.required if in_office else memory.in_sync),
        )  # fmt: skip
        self.send(node, events.PeerHeard(node.name, said))

    def deliver(self) -> None:
        """One message, mostly the oldest; it may be lost, or stay to come again."""
        if not self.wire:
            return
        at = 0 if self.random.random() < 0.8 else self.random.randrange(len(self.wire))
        target, instance, event = self.wire[at]
        if self.random.random() < 0.9:
            del self.wire[at]
        if self.random.random() < 0.1 or self.nodes[PEER[target]].instance != instance:
            return
        self.give(target, event)

    def answer(self) -> None:
        """One witness hears one question, or the asker stops waiting."""
        if not self.questions:
            return
        question = self.random.choice(self.questions)
        if question.waiting and self.random.random() < 0.8:
            self._ask(question, question.waiting.pop(self.random.randrange(len(question.waiting))))
        else:
            self._conclude(question)

    def _ask(self, question: Question, index: int) -> None:
        effect = question.effect
        if isinstance(effect, effects.AskWitnesses):
            self.witnesses[index], answer = decide_claim(self.witnesses[index], effect.claim)
            question.answers.append(answer)
        else:
            told = decide_alone(self.witnesses[index], effect.epoch, effect.alone, effect.counter)
            self.witnesses[index] = told[0]
            question.done += told[1]

    def _conclude(self, question: Question) -> None:
        self.questions.remove(question)
        asker = question.asker
        if self.nodes[asker].instance != question.instance:
            return
        effect = question.effect
        if isinstance(effect, effects.AskWitnesses):
            verdict = combine(question.answers, len(self.witnesses))
            self.give(asker, events.WitnessesAnswered(effect.claim, verdict))
        else:
            done = question.done * 2 > len(self.witnesses)
            self.give(asker, events.AloneRecorded(effect.epoch, effect.alone, effect.counter, done))

    # what happens to it

    def crash(self, name: str, *, power: bool = False) -> None:
        """The process is gone; with `power` also what was not fsynced."""
        node = self.nodes[name]
        if not node.is_up:
            return
        node.is_up = False
        if power:
            kept = self.random.randint(node.synced, len(node.journal))
            del node.journal[kept:]
            node.recorded = min(node.recorded, kept)
        self._close(node)
        self.give(PEER[name], events.PeerLost(name))

    def stop(self, name: str) -> None:
        """A clean stop: CLOSED, and as much of it to the standby as gets there in time."""
        node = self.nodes[name]
        if node.is_up and node.office is not None and node.machine.state in (State.MASTER, State.ALONE):
            node.append("CLOSED", 0, node.office.epoch, self.now)
            for _ in range(self.random.randrange(8)):
                self.fsync(node)
                self.pump(self.nodes[PEER[name]])
                self.fsync(self.nodes[PEER[name]])
        self.crash(name)

    def start(self, name: str) -> None:
        """A new process."""
        if not self.nodes[name].is_up:
            self.nodes[name].start()
            self.give(name, events.Started())

    def write(self, node: Node) -> None:
        """A client's change."""
        office = node.office
        if node.is_up and office is not None and not office.is_frozen and node.rule.sequence >= office.opened_at:
            self.values += 1
            node.append("WRITE", self.values, office.epoch, self.now)

    def ask(self, name: str, make: Callable[[int], Event]) -> None:
        """An operator's wish."""
        self.requests += 1
        event = make(self.requests)
        if isinstance(event, events.GoAloneRequested):
            self.wished[name] = True
        self.give(name, event)

    def promote(self, name: str, *, force: bool) -> None:
        """`standby-to-master`; the operator says that the other is stopped only when it is."""
        node = self.nodes[name]
        self.losing = self.losing or force
        node.forced = force
        stopped = not self.nodes[PEER[name]].is_up
        self.ask(name, lambda number: events.PromoteRequested(number, force, stopped, b""))

    def force_alone(self, name: str) -> None:
        """`go-alone --allow-data-loss`."""
        self.losing = self.nodes[name].forced = True
        self.ask(name, lambda number: events.GoAloneRequested(number, b"", True))

    def hold(self, broken: str) -> None:
        """Fail when a promise is broken."""
        self.expect(not broken, broken)

    def expect(self, holds: bool, text: str) -> None:
        """Fail with the last moves."""
        if not holds:
            raise Broken(f"{text}\n" + "\n".join(self.log[-25:]))
