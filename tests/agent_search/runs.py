"""Runs searches, with all rules and with one less, on both cores, and says what they found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context

import pytest

from tests.agent_search.bounds import Bounds
from tests.agent_search.breadth import Breadth, Found
from tests.agent_search.rules import RULES, Rule

CORES = 2


def searched(bounds: Bounds, every: int) -> Found:
    """One search; each so manieth situation is brought to rest."""
    return Breadth(bounds, every).run()


def in_parallel(everything: Iterable[Bounds], every: int = 10) -> Iterator[Found]:
    """All of them, in their order."""
    with ProcessPoolExecutor(CORES, get_context("fork"), max_tasks_per_child=None) as pool:
        yield from pool.map(partial(searched, every=every), everything)


@dataclass(frozen=True)
class Caught:
    """What the search saw without the rule, and with it within the same bounds, up to a few more states."""

    name: str
    without: Found
    with_rule: str

    def __str__(self) -> str:
        trace = "\n".join(f"     {number}. {line}" for number, line in enumerate(self.without.trace[:-1], 1))
        said = self.without.broken or "NOT CAUGHT"
        return f"without the rule: {self.name}\n  {said}; {self.without.states:,} states, the shortest way:\n{trace}"


def without(number: int) -> Caught:
    """One rule less; then the same search with the rule."""
    rule: Rule = RULES[number]
    with pytest.MonkeyPatch.context() as patch:
        rule.remove(patch)
        less = Breadth(rule.bounds, rule.every).run()
    control = replace(rule.bounds, states_max=less.states + less.states // 10 + 10)
    return Caught(rule.name, less, Breadth(control, rule.every).run().broken)


def all_without(every: int = 1) -> list[Caught]:
    """Every rule, or every so-manieth, taken away."""
    with ProcessPoolExecutor(CORES, get_context("fork")) as pool:
        return list(pool.map(without, range(0, len(RULES), every)))


def summary(founds: list[Found]) -> str:
    """All searches together."""
    states, moves = sum(found.states for found in founds), sum(found.moves for found in founds)
    agents, masters = sum(found.agents for found in founds), sum(found.masters for found in founds)
    return (
        f"together: {states:,} states, {moves:,} moves, {agents:,} different steps of shipped sessions, {masters:,} "
        f"different shipped actions on rows, {sum(found.quieted for found in founds):,} brought to rest, "
        f"{sum(found.seconds for found in founds):.1f} s of CPU"
    )
