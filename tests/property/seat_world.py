"""A master, a standby and an observer under faults: what `test_seat` lets happen.

A is master, B and C follow it; machines, commit rule and witness rule are the shipped ones. A journal is a number of
requests, of which a prefix is fsynced. Moves come in any order; messages are late, lost or doubled, A crashes between
any two effects.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from replication.core import effects, events
from replication.core.commit import CommitRule
from replication.core.decide import judge_promotion
from replication.core.effects import Effect
from replication.core.events import Event, Facts
from replication.core.machine import Machine
from replication.core.memory import Memory
from replication.core.types import IN_OFFICE, Mode, Position, State
from replication.core.witness import Claim, WitnessAnswer, WitnessRecord, combine, decide_alone, decide_claim
from tests.property.role_nodes import event_of
from tests.unit.role_world import A, B, epoch, hello

C = "d" * 32


class Lost(AssertionError):
    """A takeover that was called lossless lacks an acknowledged write."""


@dataclass(eq=False)
class Follower:
    """What a node that follows A holds: `held` requests, of which `synced` are durable."""

    machine: Machine
    held: int = 1
    synced: int = 1
    is_up: bool = True


@dataclass(eq=False)
class Question:
    """An AskWitnesses or RecordAlone on its way to witnesses."""

    effect: effects.AskWitnesses | effects.RecordAlone
    instance: int
    waiting: list[int]
    answers: list[WitnessAnswer] = field(default_factory=list)
    done: int = 0


class World:
    """A counts on B; C is the observer."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 100.0
        self.witnesses = [WitnessRecord() for _ in range(self.random.choice((1, 3)))]
        self.mode = self.random.choice((Mode.STRICT, Mode.AVAILABLE))
        self.memory = Memory(
            state=State.MASTER, office=epoch(1), seen=epoch(1), in_sync=(B,), standby=B, many=True
        )  # fmt: skip
        self.epoch, self.length, self.synced, self.acknowledged = epoch(1), 1, 1, 0
        self.instance, self.is_open = 0, True
        self.followers = {
            B: Follower(Machine(B, Memory(state=State.IN_SYNC, seen=epoch(1), standby=A, enlisted=True, many=True))),
            C: Follower(Machine(C, Memory(state=State.SYNCING, seen=epoch(1), standby=B, observer=True, many=True))),
        }
        self.questions: list[Question] = []
        self.wire: list[tuple[str, int, Event]] = []
        self.takeover: tuple[str, int] | None = None
        self.changes = self.takeovers = self.requests = 0
        self.rule = CommitRule()
        self.boot()
        self.machine.office_open = True

    def boot(self) -> None:
        """A new process of A on what is durable."""
        self.machine = Machine(A, self.memory, 0.5, self.mode, 2.0)
        self.rule = CommitRule()
        self.rule.required = frozenset(self.memory.in_sync)
        self.rule.restart(self.acknowledged, self.synced)
        self.instance += 1

    def position(self, sequence: int) -> Position:
        """A place in the only history that there is."""
        return Position(self.epoch, sequence, sequence.to_bytes(32, "big"))

    # one event

    def give(self, event: Event) -> None:
        """Step A; it may crash between two effects."""
        before = self.memory.in_sync
        facts = Facts(self.position(self.length), synced=self.synced, confirmed=self.rule.confirmed)
        crash_at = self.random.randrange(4) if self.random.random() < 0.01 else None
        for index, effect in enumerate(self.machine.step(event, facts, self.now)):
            if index == crash_at:
                self.crash()
                break
            self.carry_out(effect)
        self.changes += len(before) == 2 and len(self.memory.in_sync) == 1

    def carry_out(self, effect: Effect) -> None:
        """Its shell."""
        match effect:
            case effects.Persist():
                self.memory = effect.memory
            case effects.RequireAcks():
                self.rule.require(effect.nodes)
                self.acknowledge()
            case effects.AskWitnesses() | effects.RecordAlone():
                self.questions.append(Question(effect, self.instance, list(range(len(self.witnesses)))))
            case effects.Send():
                self.wire.append((effect.peer, self.instance, event_of(A, effect.message)))
            case effects.OpenOffice():
                self.epoch, self.length, self.is_open = effect.epoch, self.length + 1, True
                self.rule.restart(self.acknowledged, self.synced)
                self.give(events.OfficeOpened())
            case effects.CloseOffice():
                self.is_open = False
                self.give(events.OfficeClosed())

    def acknowledge(self) -> None:
        """Clients hear of what is committed; nothing that a lossless takeover lacks may be among it."""
        if not self.is_open:
            return
        self.acknowledged = max(self.acknowledged, self.rule.sequence)
        if self.takeover is not None and self.acknowledged > self.takeover[1]:
            raise Lost(f"{self.takeover} and {self.acknowledged} is acknowledged")

    def crash(self) -> None:
        """The process of A ends and starts; what was journaled stays."""
        self.is_open = False
        self.synced = self.length
        self.boot()
        self.give(events.Started())

    # moves

    def move(self) -> None:
        """One random thing."""
        self.now += self.random.choice((0.0, 0.05, 0.3))
        name = self.random.choice((B, C))
        often: list[Callable[[], None]] = [
            self.write, self.fsync, lambda: self.stream(name), lambda: self.stream(name), lambda: self.report(name),
            lambda: self.report(name), lambda: self.report(name), lambda: self.say(name), lambda: self.say(name),
            self.deliver, self.deliver, self.answer, self.answer, lambda: self.give(events.Ticked()),
            lambda: self.tell(name),
        ]  # fmt: skip
        seldom: list[Callable[[], None]] = [
            lambda: self.ask(lambda n: events.SeatRequested(n, name)), lambda: self.toggle(name),
            lambda: self.ask(lambda n: events.SeatRequested(n, name)), lambda: self.toggle(name),
            lambda: self.ask(lambda n: events.SeatRequested(n, name)), self.crash, lambda: self.promote(name),
            self.go_alone,
        ]  # fmt: skip
        self.random.choice(often if self.random.random() < 0.93 else seldom)()

    def warm_up(self) -> None:
        """Both keep up for long enough, and mostly an operator gives the seat to C at once."""
        for _ in range(4):
            self.now += 0.3
            self.fsync()
            for name in (B, C):
                self.tell(name)
                self.stream(name)
                self.report(name)
        if self.random.random() < 0.8:
            self.ask(lambda number: events.SeatRequested(number, C))

    def write(self) -> None:
        """A client's change."""
        self.length += self.is_open

    def fsync(self) -> None:
        """A's journal becomes durable."""
        self.synced = self.length
        self.rule.local(self.synced)
        self.acknowledge()

    def stream(self, name: str) -> None:
        """Some of what is new arrives, and perhaps becomes durable."""
        node = self.followers[name]
        if node.is_up and self.is_open and (self.takeover is None or self.takeover[0] != name):
            node.held = min(self.length, node.held + self.random.randrange(3))
            node.synced = node.held if self.random.random() < 0.7 else node.synced

    def report(self, name: str) -> None:
        """An ACK."""
        node = self.followers[name]
        if node.is_up and self.is_open and (self.takeover is None or self.takeover[0] != name):
            self.rule.peer(name, node.synced)
            self.acknowledge()
            lag = 0.0 if node.synced >= self.length - 2 else 2.0
            self.give(events.StandbyProgressed(name, node.synced, node.synced, 0, lag))

    def say(self, name: str) -> None:
        """A HELLO of A on its way: what is durable, and whom the commit needs at this moment."""
        in_office = self.memory.state in IN_OFFICE
        said = hello(
            A, state=self.memory.state, epoch=self.epoch, seen=self.memory.seen, last=self.position(self.length),
            commit=self.rule.sequence, in_sync=sorted(self.rule.required if in_office else self.memory.in_sync),
            seat=self.memory.standby if in_office else "", many=self.memory.many,
        )  # fmt: skip
        self.wire.append((name, self.instance, events.PeerHeard(A, said)))

    def tell(self, name: str) -> None:
        """A HELLO of a follower reaches A."""
        node = self.followers[name]
        if node.is_up:
            memory = node.machine.memory
            said = hello(
                name, state=node.machine.state, epoch=epoch(1), seen=max(memory.seen, memory.granted), many=True
            )  # fmt: skip
            self.give(events.PeerHeard(name, said))

    def deliver(self) -> None:
        """One message, seldom out of order, lost or doubled."""
        if not self.wire:
            return
        at = 0 if self.random.random() < 0.8 else self.random.randrange(len(self.wire))
        name, instance, event = self.wire[at] if self.random.random() < 0.1 else self.wire.pop(at)
        node = self.followers[name]
        taken = self.takeover is not None and self.takeover[0] == name
        if not node.is_up or taken or instance != self.instance or self.random.random() < 0.1:
            return
        facts = Facts(self.position(node.held), synced=node.synced)
        for effect in node.machine.step(event, facts, self.now):
            if isinstance(effect, effects.Send):
                self.give(event_of(name, effect.message))

    def answer(self) -> None:
        """One witness hears one question, or the asker stops waiting."""
        if not self.questions:
            return
        question = self.random.choice(self.questions)
        effect = question.effect
        if question.waiting and self.random.random() < 0.8:
            at = question.waiting.pop(self.random.randrange(len(question.waiting)))
            if isinstance(effect, effects.AskWitnesses):
                self.witnesses[at], answered = decide_claim(self.witnesses[at], effect.claim)
                question.answers.append(answered)
            else:
                self.witnesses[at], done = decide_alone(self.witnesses[at], effect.epoch, effect.alone, effect.counter)
                question.done += done
            return
        self.questions.remove(question)
        if question.instance != self.instance:
            return
        if isinstance(effect, effects.AskWitnesses):
            self.give(events.WitnessesAnswered(effect.claim, combine(question.answers, len(self.witnesses))))
        else:
            done = question.done * 2 > len(self.witnesses)
            self.give(events.AloneRecorded(effect.epoch, effect.alone, effect.counter, done))

    def toggle(self, name: str) -> None:
        """A follower is cut off, or is back."""
        node = self.followers[name]
        if node.is_up and self.random.random() < 0.6:
            return
        node.is_up = not node.is_up
        if not node.is_up:
            self.give(events.PeerLost(name))
            node.held = node.synced if self.random.random() < 0.5 else node.held

    def ask(self, make: Callable[[int], Event]) -> None:
        """An operator's word at A."""
        self.requests += 1
        self.give(make(self.requests))

    def go_alone(self) -> None:
        """An operator's leave at A, seldom."""
        if self.random.random() < 0.3:
            self.ask(lambda number: events.GoAloneRequested(number, b""))

    def promote(self, name: str) -> None:
        """A takeover without the flag, if some majority of the witnesses grants and proves it."""
        node = self.followers[name]
        if self.takeover is not None or self.random.random() < 0.8:
            return
        order = self.random.sample(range(len(self.witnesses)), len(self.witnesses) // 2 + 1)
        memory, last = node.machine.memory, self.position(node.held)
        number = 1 + max(memory.seen.number, self.epoch.number, *(w.epoch.number for w in self.witnesses))
        claim = Claim(epoch(number, name), self.epoch, node.held)
        answers = []
        for at in order:
            self.witnesses[at], answered = decide_claim(self.witnesses[at], claim)
            answers.append(answered)
        verdict = combine(answers, len(self.witnesses))
        if judge_promotion(memory, Facts(last, synced=node.synced), name, verdict, False, True).lossless:
            self.takeover = (name, node.synced)
            self.takeovers += 1
            self.acknowledge()
            if self.acknowledged > node.synced:
                raise Lost(f"{name[0]} holds {node.synced}, {self.acknowledged} were acknowledged")
