"""The search through the shipped agent session and the shipped actions: no promise breaks, a rule less is seen."""

from __future__ import annotations

import os

import pytest

from tests.agent_search.breadth import Found
from tests.agent_search.rules import RULES
from tests.agent_search.runs import Caught, all_without, in_parallel, summary
from tests.agent_search.scenarios import SCENARIOS

STATES_MIN = 20_000
RULES_MIN = 20
EVERY = 8 if "CI" in os.environ else 1
"""CI takes every eighth rule away, since its time is bounded; `./scripts/soak agent-search` takes all of them."""
QUIETED_MIN = 10
"""Every twentieth state of which all that can follow was looked at; the smallest searches look at 200."""


@pytest.fixture(scope="module")
def founds() -> list[Found]:
    """What every search of CI found; printed with its bounds."""
    found = list(in_parallel(SCENARIOS, every=20))
    for one in found:
        print(one)
    print(summary(found))
    return found


@pytest.fixture(scope="module")
def caught() -> dict[str, Caught]:
    """What the search saw with one rule less; printed with the shortest trace."""
    found = {one.name: one for one in all_without(EVERY)}
    for one in found.values():
        print(one)
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [bounds.name for bounds in SCENARIOS])
def test_no_promise_breaks(founds: list[Found], name: str) -> None:
    """Whatever happens within the bounds: nothing begins twice, nothing is lost, and quiet brings it to an account."""
    found = next(found for found in founds if found.bounds.name == name)
    assert not found.broken, "\n".join([found.broken, *found.trace])
    assert found.quieted >= QUIETED_MIN


@pytest.mark.timeout(600)
def test_it_is_a_large_part_of_what_can_happen(founds: list[Found]) -> None:
    """States are counted without what is left of the budgets."""
    assert sum(found.states for found in founds) >= STATES_MIN, summary(founds)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [rule.name for rule in RULES[::EVERY]])
def test_a_rule_less_is_seen(caught: dict[str, Caught], name: str) -> None:
    """Without it a promise breaks; with it, within the same bounds, none does."""
    assert caught[name].without.broken, f"{name}: nobody missed the rule in {caught[name].without.states:,} states"
    assert not caught[name].with_rule


def test_there_are_enough_of_them() -> None:
    """At least so many different rules."""
    assert len({rule.name for rule in RULES}) >= RULES_MIN
