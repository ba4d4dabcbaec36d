"""How often heartbeats go: seldom enough for thousands of agents, often enough for every limit that counts them."""

from __future__ import annotations

import pytest

from server.core.agent_beats import LONGEST_S, beat_s, silent_s
from server.core.giving_up import SHORTEST_S


@pytest.mark.parametrize(
    ("agents", "seconds"), [(0, 1), (1, 1), (1000, 1), (1001, 2), (2000, 2), (2001, 4), (4001, 8), (10_000, 8)]
)
def test_the_more_agents_the_longer(agents: int, seconds: float) -> None:
    """Up to 1,000 agents every second, then doubled with their number, at most 8 s."""
    assert beat_s(agents) == seconds


def test_a_node_gets_a_bounded_number() -> None:
    """With 10,000 agents it is no more than a quarter above what 1,000 send."""
    assert all(agents / beat_s(agents) <= 1250 for agents in range(1, 10_001))


def test_a_witness_keeps_its_second() -> None:
    """Whatever the number: what it heard last bounds what a promotion may lose."""
    assert beat_s(10_000, is_witness=True) == 1.0


def test_limits_leave_room_for_two_heartbeats() -> None:
    """An agent of the largest cluster gives nothing up between two answers of its master."""
    assert SHORTEST_S > 2 * LONGEST_S
    assert silent_s(LONGEST_S) > 2 * LONGEST_S
