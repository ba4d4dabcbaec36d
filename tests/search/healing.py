"""The quiet in which a pair has to heal: nothing is lost, everybody answers, what was asked for is asked again."""

from __future__ import annotations

import re

from replication.core.types import State
from tests.search.deeds import Broken
from tests.search.held import CALM, DUE, LATE, NODES, PENDING, Held, machine_of
from tests.search.moves import FREE, Moves
from tests.search.world import NOBODY, Situation

NAMES_A_COMMAND = re.compile(r"type( here)?: \S")
ROUNDS = 40
FOUNDING = (("init", 0), ("roster", 0), ("join", 1), ("roster", 1))
PATIENCE = 12
"""Rounds after which the deadline of a hand-off passes."""


class Quiet:
    """Goes on from one situation in one certain way."""

    def __init__(self, world: Moves, s: Situation) -> None:
        self.world, self.s = world, s

    def go(self, *label: object) -> None:
        """One move, whatever it costs."""
        self.s = self.world.do(self.s, (label, FREE)) or self.s

    def found(self) -> None:
        """What is typed once, when both run."""
        for me in (0, 1):
            if not self.held(me).up:
                self.go("start", me)
        for label in FOUNDING:
            self.go(*label)

    def held(self, me: int) -> Held:
        """What a node holds now."""
        held: Held = self.world.nodes.things[self.s[me]]
        return held

    def until_whole(self) -> bool:
        """Rounds until the pair is whole."""
        for number in range(ROUNDS):
            if self.is_whole():
                return True
            self.round(number)
        return self.is_whole()

    def round(self, number: int) -> None:
        """Everything once."""
        for me in (0, 1):
            term = self.held(me).term
            if term is not None and term.closing:
                self.go("exit", me)
            if not self.held(me).up:
                self.go("start", me)
        for me in (0, 1):
            while self.s[2 + me]:
                self.go("deliver", me, 0, None)
            self.go("hello", me)
            self.go("tick", me, CALM)
            self._times(me, number)
            for _ in self.held(me).operations:
                if self.held(me).operations:
                    self.go("operate", me)
        self._witnesses()
        self._bulk()

    def _times(self, me: int, number: int) -> None:
        waits = dict(zip(PENDING, self.held(me).volatile[1], strict=True))
        if waits["ask_again_at"]:
            self.go("tick", me, DUE)
        if waits["deadline"] and number > PATIENCE:
            self.go("tick", me, LATE)

    def _witnesses(self) -> None:
        for _ in range(len(self.s.questions)):
            if self.s.questions and self.s.questions[0][0] == NOBODY:
                self.go("forget", 0)
            elif self.s.questions and self.world.is_fence(self.s, 0):
                self.go("fence", 0, True)
            elif self.s.questions:
                self.go("ask", 0, (1 << len(self.s.witnesses)) - 1)

    def _bulk(self) -> None:
        for me in (0, 1):
            if self.held(me).up:
                self.go("fsync", me)
            if self.held(me).up and self.held(me).following:
                self.go("follow", me)
            for _ in range(12):
                if self.s.stream is None or self.s.stream[:2] != (me, True):
                    break
                self.go("receive", me)
                self.go("fsync", me)
                self.go("report", 1 - me, False)
                self.go("fsync", 1 - me)
        for me in (0, 1):
            if self.world.is_acting(self.held(me)):
                self.go("obey", me)
                self.go("refuse", me)

    def is_whole(self) -> bool:
        """One master that acknowledges and that the agent obeys; the other counts itself in and streams from it."""
        for me in (0, 1):
            master, standby = self.held(me), self.held(1 - me)
            states = (master.ram.state, standby.ram.state) == (State.MASTER, State.IN_SYNC)
            if states and self.world.is_acting(master) and self.s.stream and self.s.stream[:2] == (1 - me, True):
                obeyed = self.world.histories.things[self.s.history].obeyed
                return bool(not self.world.bounds.agent or (master.term and obeyed == master.term.epoch))
        return False

    def waiting_for(self, me: int) -> str:
        """What people read there."""
        doer = self.world.doer(me, self.s[me])
        return machine_of(NODES[me], doer.held, self.world.rules, doer.facts()).waiting_for()

    def states(self) -> str:
        """Both states."""
        return f"{self.held(0).ram.state.value} and {self.held(1).ram.state.value}"


def pair_in_sync(world: Moves) -> Situation:
    """A founded the cluster, B joined, and both are what they should be."""
    strict, world.strict = world.strict, False
    quiet = Quiet(world, world.first())
    quiet.found()
    if not quiet.until_whole():
        raise Broken(f"a new pair does not become whole: {quiet.states()}")
    for number in range(4):
        quiet.round(number)
    world.strict = strict
    return quiet.s


def beginning(world: Moves) -> Situation:
    """Where a search begins: two empty nodes or a pair in sync, and then what the bounds tell of it."""
    quiet = Quiet(world, world.first() if world.bounds.founding else pair_in_sync(world))
    for label in world.bounds.story:
        before = quiet.s
        quiet.go(*label)
        assert quiet.s != before, f"the story of {world.bounds.name!r} does not go like this: {label}"
    return quiet.s


def heal(world: Moves, s: Situation) -> str:
    """Why a pair does not heal from here, or "". If need be an operator types what is named."""
    quiet = Quiet(world, s)
    if world.bounds.founding:
        quiet.found()
    if quiet.until_whole():
        return ""
    said = [quiet.waiting_for(me) for me in (0, 1)]
    if not any(NAMES_A_COMMAND.search(text) for text in said):
        return f"{quiet.states()}, and nobody says what to type: {said}"
    for word in ("promote", "force"):
        for me in (0, 1):
            quiet.go("say", me, word)
            if quiet.until_whole():
                return ""
    return f"{quiet.states()}, whatever the operator types"
