"""What witnesses hold while they are changed: never is a master alone while a takeover is proven lossless.

The rows and the rule of each witness are the shipped ones. A master's question is in flight while rows change; loss of
messages is which witnesses hear a question.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replication.core.types import Epoch
from replication.core.witness import (
    Claim,
    Seats,
    WitnessAnswer,
    WitnessRecord,
    agree,
    combine_sets,
    decide_alone,
    decide_claim,
)
from server.ports.witness_links import _is_calm
from tests.property.test_witness_sets import NAMES, SETS, Pair

M, S = "m" * 32, "s" * 32
OFFICE, CLAIM = Epoch(1, M), Epoch(2, S)
Heard = frozenset[int]
Step = tuple[str, int, Heard]
HEARD = st.frozensets(st.integers(0, len(NAMES) - 1))
KINDS = st.sampled_from(["choose", "apply", "apply", "end", "end", "ask", "answer", "clear", "promote"])
STEPS = st.lists(st.tuples(KINDS, st.integers(0, len(SETS) - 1), HEARD), max_size=25)


@dataclass(frozen=True)
class Rules:
    """What may be left out, to see it caught."""

    holds: bool = True
    reads_again: bool = True
    applied: bool = True


class World(Pair):
    """A master in epoch 1 with its standby, and five agents that may be witnesses."""

    def __init__(self, rules: Rules) -> None:
        super().__init__(careful=rules.applied)
        self.rules = rules
        self.records = {(name * 32)[:32]: WitnessRecord() for name in NAMES}
        self.counter = 0
        self.is_alone = False
        self.is_lossless = False
        self.question: tuple[tuple[Seats, ...], set[str]] | None = None

    def do(self, kind: str, number: int, heard: Heard) -> None:
        """One step; `heard` are the witnesses that a question reaches."""
        who = {name for n, name in enumerate(sorted(self.records)) if n in heard}
        in_sync = not self.is_alone and not self.is_lossless
        if kind == "ask" and in_sync:
            self.counter += 1
            reached = who & _all(self.read())
            self.question = (self.read(), {name for name in reached if self.tell(name, M, self.counter)})
        elif kind == "answer" and self.question is not None:
            (sets, granted), self.question = self.question, None
            fits = sets == self.read() or not self.rules.reads_again
            self.is_alone = self.is_alone or (fits and agree(sets, granted))
        elif kind == "clear" and in_sync and self.question is None:
            self.counter += 1
            for name in who & _all(self.read()):
                self.tell(name, "", self.counter)
        elif kind == "promote" and not self.is_lossless:
            self.promote(who)
        elif kind == "end" and in_sync and (not self.rules.holds or self.hold(who)):
            self.step("end", 0)
        elif not self.is_lossless and (kind == "apply" or (kind == "choose" and in_sync)):
            self.step(kind, number)

    def tell(self, name: str, alone: str, counter: int) -> bool:
        """One witness hears who writes alone in the office."""
        self.records[name], granted = decide_alone(self.records[name], OFFICE, alone, counter)
        return granted

    def hold(self, who: set[str]) -> bool:
        """`WitnessLinks.hold_nobody_alone` by the same rules."""
        sets = [seats for n, seats in enumerate(self.read()) if n == 0 or seats.can_agree]
        for name in who:
            self.tell(name, "", 0)
        return agree(sets, {name for name in who if _is_calm(self.records[name], OFFICE)})

    def promote(self, who: set[str]) -> None:
        """The standby, which believes that it is counted on, asks by the rows that it has applied."""
        sets = self.history[self.applied]
        answers: dict[str, WitnessAnswer] = {}
        for name in who & _all(sets):
            self.records[name], answers[name] = decide_claim(self.records[name], Claim(CLAIM, OFFICE, 1))
        verdict = combine_sets(answers, sets)
        self.is_lossless = verdict.has_majority and verdict.alone in ("", S)


def _all(sets: tuple[Seats, ...]) -> frozenset[str]:
    return frozenset[str]().union(*(seats.witnesses for seats in sets))


def goes_wrong(steps: list[Step], rules: Rules) -> bool:
    """Whether the master is alone while a takeover without its writes was proven lossless."""
    world = World(rules)
    for kind, number, heard in steps:
        world.do(kind, number, heard)
        if world.is_alone and world.is_lossless:
            return True
    return False


@settings(max_examples=120, deadline=None)
@given(STEPS)
def test_alone_and_proven_lossless_exclude_each_other(steps: list[Step]) -> None:
    """In whatever order witnesses are changed, asked and told, and whoever hears it."""
    assert not goes_wrong(steps, Rules())


EVERYBODY = frozenset(range(len(NAMES)))
TO_B = ("choose", SETS.index(["b"]), EVERYBODY)


def step(kind: str) -> Step:
    return kind, 0, EVERYBODY


BROKEN = {
    "dropped before it is applied": (
        Rules(applied=False),
        [TO_B, step("end"), step("ask"), step("answer"), step("promote")],
    ),
    "an answer counts for rows of later": (
        Rules(reads_again=False, holds=False),
        [step("ask"), TO_B, step("apply"), step("end"), step("apply"), step("answer"), step("promote")],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_rule_left_out_is_caught(name: str) -> None:
    """The shortest way to lose acknowledged writes, and the same steps under the shipped rules do not go wrong."""
    rules, steps = BROKEN[name]
    assert goes_wrong(steps, rules)
    assert not goes_wrong(steps, Rules())
