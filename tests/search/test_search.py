"""The search through the shipped role machine: no promise breaks, every row is taken, the pair heals."""

from __future__ import annotations

import pytest

from tests.search.breadth import Found
from tests.search.runs import OF_THREE_NODES, in_parallel, rows_of, summary
from tests.search.scenarios import SCENARIOS

STATES_MIN = 200_000


@pytest.fixture(scope="module")
def founds() -> list[Found]:
    """What every search of CI found; printed with its bounds."""
    found = []
    for one in in_parallel(SCENARIOS):
        print(one)
        found.append(one)
    print(summary(found))
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [bounds.name for bounds in SCENARIOS])
def test_no_promise_breaks_and_all_heals(founds: list[Found], name: str) -> None:
    """Whatever happens within the bounds: nothing acknowledged is lost, no epoch is held twice, and quiet heals it."""
    found = next(found for found in founds if found.bounds.name == name)
    assert not found.broken, "\n".join([found.broken, *found.trace])
    assert found.healed > 100


@pytest.mark.timeout(600)
def test_it_is_a_large_part_of_what_can_happen(founds: list[Found]) -> None:
    """States are counted without what is left of the budgets and without anything that cannot matter any more."""
    assert sum(found.states for found in founds) >= STATES_MIN, summary(founds)


@pytest.mark.timeout(600)
def test_every_row_is_taken(founds: list[Found]) -> None:
    """A row that no search ever takes is a row that nobody has proven."""
    missed = [number for number, count in rows_of(founds).items() if not count and number not in OF_THREE_NODES]
    assert missed == [], f"Add a scenario (tests/search/scenarios.py) that takes rows {missed}."
