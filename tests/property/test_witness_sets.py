"""Changes of witnesses, in every order: whichever rows the two nodes read, their decisions meet in a witness.

The rows are the shipped ones in SQLite; what is simulated is how far the other node has applied them.
"""

from __future__ import annotations

import sqlite3
from functools import cache
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replication.core.witness import Seats, agree
from server.actions import nodes, witnesses
from server.core import witness_seats
from server.core.model import SYSTEM, NodeRow
from server.storage import agents
from server.storage import witnesses as rows
from tests.unit.ledger import START_US, Ledger

NAMES = "abcde"
SETS = [[name] for name in NAMES] + [list(three) for three in combinations(NAMES, 3)]
Step = tuple[str, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("choose"), st.integers(0, len(SETS) - 1)),
        st.tuples(st.sampled_from(["apply", "apply", "end", "end", "swap"]), st.just(0)),
        st.tuples(st.just("lose"), st.integers(0, len(NAMES) - 1)),
    ),
    max_size=40,
)


@cache
def founded() -> bytes:
    """The database of a pair with five agents, of which the first is the witness."""
    ledger = Ledger()
    for number, name in enumerate(("north", "south")):
        row = NodeRow(id=name * 6, name=name, address="h", web_port=1 + number, cluster_port=9, enrolled_at_us=START_US)
        ledger.do(nodes.put(row, SYSTEM, START_US))
    for name in NAMES:
        ledger.add_agent(name)
    return ledger.connection.serialize()


class Pair:
    """Two nodes that read the rows of one history: the master all of it, the standby up to `applied`.

    `careful` is the shipped rule of when the former set may be dropped.
    """

    def __init__(self, careful: bool = True) -> None:
        self.careful = careful
        self.ledger = object.__new__(Ledger)
        self.ledger.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.ledger.connection.deserialize(founded())
        self.history = [self.read()]
        self.applied = 0
        self.changed_at = 0
        self.dropped = 0

    def read(self) -> tuple[Seats, ...]:
        """The sets as the newest rows say."""
        return witness_seats.sets(rows.seated(self.ledger.connection))

    def step(self, kind: str, number: int) -> None:
        """One step; those that cannot be done now do nothing."""
        if kind == "apply":
            self.applied = min(self.applied + 1, len(self.history) - 1)
            return
        if kind == "swap":  # a planned one: the next master has applied everything, and so has the old one
            self.applied = len(self.history) - 1
            return
        if kind == "choose":
            self.ledger.do(witnesses.choose(SETS[number], SYSTEM, START_US))
        elif kind == "lose":
            agent = agents.by_name(self.ledger.connection, NAMES[number])
            assert agent is not None
            self.ledger.do(lambda t: witnesses.lose(t.connection, agent, "in doubt", START_US))
        elif kind == "end":
            self.end()
        if self.history[-1] != self.read():
            self.changed_at = len(self.history) if kind == "choose" else self.changed_at
            self.history.append(self.read())

    def end(self) -> None:
        """Drop the former set, as `server.office.witnesses` does once the standby has applied the change."""
        found = rows.pending(self.ledger.connection)
        if found is not None and (self.applied >= self.changed_at or not self.careful):
            self.dropped += self.ledger.do(witnesses.drop_former(found.number, START_US))

    def apart(self) -> tuple[str, ...] | None:
        """Witnesses by which the master could decide while the standby decides by none of them, or None."""
        mine, theirs = self.history[-1], self.history[self.applied]
        for count in range(len(NAMES) + 1):
            for chosen in combinations(sorted({(name * 32)[:32] for name in NAMES}), count):
                others = {(name * 32)[:32] for name in NAMES}.difference(chosen)
                if agree(mine, chosen) and agree(theirs, others):
                    return chosen
        return None


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_two_decisions_meet_in_a_witness(steps: list[Step]) -> None:
    """After every step: no majority by the rows of one node avoids every majority by the rows of the other."""
    pair = Pair()
    for kind, number in steps:
        pair.step(kind, number)
        assert pair.apart() is None, (pair.history, pair.applied)


@pytest.mark.parametrize("first", SETS, ids="".join)
def test_every_change_of_every_set(first: list[str]) -> None:
    """Exhaustive: from each set to each other one, lost or not, with the standby behind by every step."""
    for second in SETS:
        for lost in (None, 0, 2):
            pair = Pair()
            steps = [("choose", SETS.index(first)), ("apply", 0), ("end", 0), ("apply", 0)]
            steps += [("lose", lost)] if lost is not None else []
            steps += [("choose", SETS.index(second)), ("end", 0), ("apply", 0), ("end", 0), ("apply", 0), ("end", 0)]
            for kind, number in steps:
                pair.step(kind, number)
                assert pair.apart() is None, (first, second, lost, pair.history, pair.applied)
            while pair.applied < len(pair.history) - 1:
                pair.step("apply", 0)
            pair.step("end", 0)
            assert rows.pending(pair.ledger.connection) is None


def test_dropping_too_early_is_caught() -> None:
    """Without the rule that the standby has applied the change, one node decides by c and the other by a."""
    pair = Pair(careful=False)
    for step in (("choose", SETS.index(["c"])), ("end", 0)):
        pair.step(*step)
    assert pair.dropped == 1
    assert pair.apart() is not None


def test_a_smaller_set_instead_of_an_empty_seat_is_caught() -> None:
    """If a lost witness took its seat away, three less two would be one: a majority that the other node avoids."""
    names = frozenset("xyz")
    before, shrunk, empty = Seats(names), Seats(frozenset("z")), Seats(frozenset("z"), lost=2)
    assert agree([shrunk], {"z"})
    assert agree([before], {"x", "y"})
    assert not agree([empty], {"z"})
