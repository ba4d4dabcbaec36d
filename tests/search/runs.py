"""Runs searches and mutations on both cores and says what they found, for pytest, `python -m tests.search`, soak."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context

import pytest

from replication.core.roles import TABLE
from tests.search.bounds import Bounds
from tests.search.breadth import Breadth, Found
from tests.search.mutations import MUTATIONS, Mutation

CORES = 2
HEALED = 300
"""Situations of each search, evenly chosen, from which the pair has to heal."""

Say = Callable[[str], None]

OF_THREE_NODES = {149, 157, 180, 182, 184}
"""Rows of the seat: the search has two nodes; `tests/property/test_seat.py` takes these."""


def searched(bounds: Bounds, healed: int) -> Found:
    """One search, and the healing of a sample of what it reached."""
    search = Breadth(bounds)
    found = search.run()
    if not found.broken:
        search.heal_sample(found, healed)
    return found


def in_parallel(everything: Iterable[Bounds], healed: int = HEALED) -> Iterator[Found]:
    """All of them, in their order."""
    with ProcessPoolExecutor(CORES, get_context("fork")) as pool:
        yield from pool.map(partial(searched, healed=healed), everything)


@dataclass(frozen=True)
class Caught:
    """What the search saw without the rule, and with it within the same bounds, up to a few more states."""

    name: str
    without: Found
    with_rule: str

    def __str__(self) -> str:
        trace = "\n".join(f"     {line}" for line in self.without.trace)
        said = self.without.broken or "NOT CAUGHT"
        return f"{self.name}: {said}\n  {self.without.states:,} states, {len(self.without.trace)} moves:\n{trace}"


def mutated(number: int) -> Caught:
    """One rule less; then the same search with the rule."""
    mutation: Mutation = MUTATIONS[number]
    with pytest.MonkeyPatch.context() as patch:
        mutation.apply(patch)
        without = Breadth(mutation.bounds, strict=False, lively=mutation.lively).run()
    control = replace(mutation.bounds, states_max=without.states + without.states // 10 + 10)
    with_rule = Breadth(control, strict=False, lively=mutation.lively).run()
    return Caught(mutation.name, without, with_rule.broken)


def all_mutated(*, deep: bool = False) -> list[Caught]:
    """Every mutation that CI has time for, or with `deep` every one."""
    chosen = [number for number, mutation in enumerate(MUTATIONS) if deep or not mutation.deep]
    with ProcessPoolExecutor(CORES, get_context("fork")) as pool:
        return list(pool.map(mutated, chosen))


def rows_of(founds: Iterable[Found]) -> Counter[int]:
    """In how many different steps each row of the table was taken."""
    rows = Counter({row.number: 0 for row in TABLE})
    for found in founds:
        rows.update(found.rows)
    return rows


def summary(founds: list[Found]) -> str:
    """States of all searches together, and the rows."""
    rows = rows_of(founds)
    hits = " ".join(f"{number}:{count}" for number, count in rows.items())
    missed = [number for number, count in rows.items() if not count]
    states, moves = sum(found.states for found in founds), sum(found.moves for found in founds)
    return (
        f"together: {states:,} states, {moves:,} moves, {sum(rows.values()):,} steps with a row, "
        f"{sum(found.seconds for found in founds):.1f} s of CPU\n"
        f"rows (steps): {hits}\nrows never taken: {missed or 'none'}"
    )
