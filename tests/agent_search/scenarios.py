"""The searches that CI runs, and deeper ones for `./scripts/soak agent-search`.

Each has another part of the world in its finest grain. Not searched together: copies beside a loss of rows (a number
that nobody remembers tells nobody apart).
"""

from __future__ import annotations

from dataclasses import replace

from tests.agent_search.bounds import Bounds

NOTHING: frozenset[str] = frozenset()
SAVE = frozenset({"save", "suspend", "resume", "give"})
CHAIN = frozenset({"chain"})
MASTER = frozenset({"move", "master"})
LOCK, MOVE, DEAD = frozenset({"lock"}), frozenset({"move"}), frozenset({"move", "dead"})

SCENARIOS: tuple[Bounds, ...] = (
    Bounds("kills at every point", {"crashes": 2}, NOTHING, 1, states_max=4_500),
    Bounds("a first connection", {"crashes": 1, "cuts": 1, "pauses": 1}, NOTHING, 1, False, states_max=2_500),
    Bounds("a lossy failover", {"lags": 1, "cuts": 1, "crashes": 1}, NOTHING, 1, False, states_max=2_500),
    Bounds("a lossless failover", {"failovers": 1, "cuts": 1, "pauses": 1}, NOTHING, 1, False, states_max=2_000),
    Bounds("both failovers", {"failovers": 1, "lags": 1}, LOCK, 2, states_max=2_000),
    Bounds("copies", {"copies": 1, "cuts": 1, "boots": 1}, NOTHING, 1, states_max=2_500),
    Bounds("locks", {"words": 2, "pauses": 1, "crashes": 1}, LOCK, 1, False, states_max=2_000),
    Bounds("locks and a lossy failover", {"words": 1, "lags": 1}, LOCK, 1, False, states_max=2_000),
    Bounds("a job that moves", {"words": 2, "cuts": 1, "crashes": 1}, MOVE, 2, states_max=2_000),
    Bounds("a move and a lossy failover", {"words": 1, "lags": 1}, MOVE, 2, states_max=3_000),
    Bounds("a move of the master's own and a lossy failover", {"words": 1, "lags": 1}, MASTER, 2, states_max=800),
    Bounds("a dead machine", {"words": 2, "boots": 1, "cuts": 1}, DEAD, 2, states_max=2_000),
    Bounds("wrong clocks", {"jumps": 1, "cuts": 1, "boots": 1}, NOTHING, 1, states_max=2_000),
    Bounds("checkpoints and kills", {"crashes": 1, "words": 2, "boots": 1}, SAVE, 1, False, states_max=1_700),
    Bounds("checkpoints and another agent", {"words": 3, "cuts": 1}, SAVE, 2, False, states_max=1_700),
    Bounds("checkpoints and a failover", {"words": 2, "failovers": 1, "pauses": 1}, SAVE, 1, False, states_max=1_700),
    Bounds("a chain, kills and a boot", {"crashes": 1, "cuts": 1, "boots": 1}, CHAIN, 1, False, states_max=800),
    Bounds("a chain and a lossy failover", {"lags": 1, "cuts": 1}, CHAIN, 1, False, states_max=800),
    Bounds("a full disk", {"disks": 1, "cuts": 1, "crashes": 1}, NOTHING, 1, False, states_max=2_000),
)


def deep(bounds: Bounds, states_max: int) -> Bounds:
    """The same with one more of all that may go wrong in it."""
    return replace(bounds, left={name: count + 1 for name, count in bounds.left.items()}, states_max=states_max)
