"""What happens to the simulated pair: single moves, short dramas, and the quiet in which it has to heal."""

from __future__ import annotations

import random
from collections.abc import Callable

from replication.core import events
from replication.core.types import NO_EPOCH, Mode, State
from tests.property.role_nodes import PEER
from tests.property.role_simulation import Stage
from tests.unit.role_world import A, B


class World(Stage):
    """A pair in sync, to which things happen: `walk` and `drama` at random, `heal` for the better."""

    def __init__(
        self, seed: random.Random, witnesses: int = 1, mode: Mode = Mode.STRICT, *, has_fence: bool = False
    ) -> None:
        super().__init__(seed, witnesses, mode, has_fence=has_fence)
        self._found()

    def _found(self) -> None:
        for name, first in ((A, events.InitRequested()), (B, events.JoinRequested())):
            self.nodes[name].start()
            self.give(name, first)
            self.give(name, events.PeersChanged((PEER[name],)))
        self.quiet(40)
        assert self.states() == (State.MASTER, State.IN_SYNC), self.states()
        self.is_founded = True

    # walking

    def move(self, *, force: bool = False) -> None:
        """One random move."""
        name = self.random.choice((A, B))
        node = self.nodes[name]
        self.now += self.random.choice((0.0, 0.05, 0.3))
        often: list[Callable[[], None]] = [
            self.deliver, self.deliver, self.answer, self.answer, lambda: self.say_hello(node),
            lambda: self.operate(node), lambda: self.operate(node), lambda: self.fsync(node), lambda: self.fsync(node),
            lambda: self.pump(node), lambda: self.pump(node), lambda: self.pump(node), lambda: self.follow(node),
            lambda: self.write(node), lambda: self.write(node), lambda: self.give(name, events.Ticked()),
            lambda: self.visit_agent(node),
        ]  # fmt: skip
        seldom: list[Callable[[], None]] = [
            lambda: self.crash(name), lambda: self.crash(name, power=True), lambda: self.stop(name),
            lambda: self.start(name), lambda: self.start(name), lambda: self.start(name), self._toggle, self._toggle,
            self._crash_soon, lambda: self.promote(name, force=False), lambda: self.promote(name, force=False),
            lambda: self.ask(name, lambda number: events.GoAloneRequested(number, b"")),
            lambda: self.ask(name, lambda number: events.SwapRequested(number, PEER[name], 3.0, b"")),
            lambda: self.ask(name, events.SwapAbortRequested),
        ]  # fmt: skip
        if force:
            seldom += [lambda: self.promote(name, force=True), lambda: self.force_alone(name)]
        self.random.choice(often if self.random.random() < 0.97 else seldom)()

    def _toggle(self) -> None:
        self.is_cut = not self.is_cut
        if self.is_cut:
            for name in (A, B):
                if self.random.random() < 0.5:
                    self.give(name, events.PeerLost(PEER[name]))

    def _crash_soon(self) -> None:
        self.crash_at = self.random.randrange(4)

    def walk(self, moves: int, *, force: bool = False) -> None:
        """Many random moves."""
        for _ in range(moves):
            self.move(force=force)

    def drama(self) -> None:
        """A short story as it happens to pairs: trouble, an operator's word, more trouble; often from a whole pair."""
        choice = self.random.choice
        self.is_cut = False
        for name in (A, B):
            if self.random.random() < 0.8:
                self.start(name)
        if self.random.random() < 0.8:
            self.quiet(choice((1.0, 4.0)))
        masters = [name for name, node in self.nodes.items() if node.is_up and node.office is not None]
        master = choice(masters or [A, B])
        other = PEER[master]
        words: list[Callable[[], None]] = [
            lambda: self.ask(master, lambda number: events.GoAloneRequested(number, b"")),
            lambda: self.promote(other, force=False), lambda: self.promote(other, force=False),
            lambda: self.ask(master, lambda number: events.SwapRequested(number, other, 3.0, b"")),
            lambda: self.ask(master, events.SwapAbortRequested),
            lambda: self.crash(master), lambda: self.crash(master, power=True), lambda: self.stop(master),
            lambda: self.crash(other, power=True), lambda: self.start(master), lambda: self.start(other),
            self._toggle, self._toggle, self._crash_soon, lambda: self.crash(other),
        ]  # fmt: skip
        for _ in range(self.random.randint(2, 7)):
            choice(words)()
            self.walk(choice((0, 5, 20, 50, 100)))

    def quiet(self, seconds: float) -> None:
        """No faults: everything that is sent arrives, in order; witnesses answer."""
        self.is_cut, self.crash_at = False, None
        until = self.now + seconds
        while self.now < until:
            self.now += 0.2
            for name, node in self.nodes.items():
                self.say_hello(node)
                self.give(name, events.Ticked())
                self.visit_agent(node)
                while node.is_up and node.operations:
                    self.operate(node)
                self.follow(node)
                for _ in range(4):
                    self.pump(node)
                    self.fsync(node)
            while self.wire:
                target, instance, event = self.wire.pop(0)
                if self.nodes[PEER[target]].instance == instance:
                    self.give(target, event)
            for question in list(self.questions):
                for index in question.waiting:
                    self._ask(question, index)
                self._conclude(question)

    def is_whole(self) -> bool:
        """One master that acknowledges and that agents obey, the other counted on."""
        masters = [n for n in self.nodes.values() if n.office and n.rule.sequence >= n.office.opened_at]
        if len(masters) != 1 or set(self.states()) != {State.MASTER, State.IN_SYNC}:
            return False
        return masters[0].office is not None and self.obeyed == masters[0].office.epoch

    def settle(self) -> None:
        """A quiet time, until the pair is whole: longer when the standby relapsed often."""
        for _ in range(20):
            self.quiet(3.0)
            if self.is_whole():
                return

    def heal(self) -> None:
        """Both run, the network works: one master and a standby counted on, if need be by one word of an operator."""
        self.crash_at = None
        for name in (A, B):
            self.start(name)
        self.settle()
        if not self.is_whole():
            self.expect(not any(node.office for node in self.nodes.values()), f"stuck in {self.states()}")
            pending = [node.name[0] for node in self.nodes.values() if node.memory.token != NO_EPOCH]
            self.expect(not pending, f"a hand-off of {pending} is stuck: {self.states()}")
            self.expect(State.RESUMING not in self.states(), f"a master does not resume: {self.states()}")
            for name in (A, B):
                self.promote(name, force=True)
                self.settle()
                if self.is_whole():
                    break
        self.expect(self.is_whole(), f"does not heal: {self.states()}")
