"""Each safety rule taken away: the search alone sees the damage, and sees none with the rule in place."""

from __future__ import annotations

import pytest

from tests.search.mutations import MUTATIONS
from tests.search.runs import Caught, all_mutated

MUTATIONS_MIN = 12


@pytest.fixture(scope="module")
def caught() -> dict[str, Caught]:
    """What the search saw; printed with the shortest trace."""
    found = {one.name: one for one in all_mutated()}
    for one in found.values():
        print(one)
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [mutation.name for mutation in MUTATIONS if not mutation.deep])
def test_a_rule_less_is_seen(caught: dict[str, Caught], name: str) -> None:
    """Without it a promise to clients or operators breaks; with it, within the same bounds, none does."""
    assert caught[name].without.broken, f"{name}: nobody missed the rule in {caught[name].without.states:,} states"
    assert caught[name].without.trace, "what happened before the search began must not break"
    assert not caught[name].with_rule


def test_there_are_enough_of_them() -> None:
    """At least so many different rules."""
    assert len({mutation.name for mutation in MUTATIONS if not mutation.deep}) >= MUTATIONS_MIN
