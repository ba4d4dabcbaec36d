"""A node ends once at each point around a durable change, by power loss or kill, in the deterministic simulation."""

from __future__ import annotations

from functools import cache

import pytest

from tests.failpoints.points import FILES
from tests.simulation.pair_simulation import simulate

SEEDS = range(1, 13)
PARTS = 6
ONLY_AT_THE_FIRST_START = frozenset({"create control", "create scheduler.db"})
"""Before there is a pair: a directory that died then is made anew by `init` or `master-to-standby`."""

OPERATIONS = ("create", "write", "sync", "rename", "unlink", "sync-directory", "sqlite-checkpoint")


@cache
def surveyed() -> dict[str, list[int]]:
    """Each point that twelve seeds come by, with those seeds."""
    found: dict[str, list[int]] = {}
    for seed in SEEDS:
        for point in simulate(seed).points:
            found.setdefault(point, []).append(seed)
    return found


@pytest.mark.parametrize("part", range(PARTS))
def test_at_every_point_nothing_promised_is_gone(part: int) -> None:
    """Each point is struck once, and the seed in which it was is printed. One that is never struck fails."""
    struck: dict[str, int] = {}
    wrong: list[str] = []
    for point, seeds in sorted(surveyed().items())[part::PARTS]:
        if point.split(" ", 1)[1] in ONLY_AT_THE_FIRST_START:
            continue
        for seed in seeds:
            outcome = simulate(seed, point=point)
            if outcome.wrong:
                wrong.append(f"{outcome.command}\n  " + "\n  ".join(outcome.wrong))
            if outcome.struck:
                struck[point] = seed
                break
        else:
            wrong.append(f"never struck: {point}")
    print(*(f"seed {seed:2}: {point}" for point, seed in struck.items()), sep="\n")
    assert not wrong, "\n".join(wrong)
    assert struck


def test_points_name_what_they_stand_for() -> None:
    """At least 60 points, each a moment, an operation and a kind of file, and not the name of one file."""
    assert len([point for point in surveyed() if point.split(" ", 1)[1] not in ONLY_AT_THE_FIRST_START]) >= 60
    kinds = {kind for _, kind in FILES} | {"scheduler.db", "page-sums", "control", "proof.db"}
    for point in surveyed():
        moment, operation, kind = point.split(" ", 2)
        assert moment in ("before", "after")
        assert operation in OPERATIONS
        assert kind in kinds, point
