"""Ten places of a pair, by lot, at which a node ends from inside: on real processes, nothing promised is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.failpoints.points import DeadlyDisk, Points, kind_of
from tests.failpoints.runs import Place, strike

PLACES = (
    Place("writes", "a", "after write segment", 4),
    Place("writes", "a", "after sqlite-checkpoint scheduler.db", 1),
    Place("writes", "b", "before sync segment", 3),
    Place("swap", "a", "after persist state HANDING_OFF", 1),
    Place("swap", "a", "after persist state DEMOTED", 1),
    Place("swap", "b", "before send Taken", 1),
    Place("restart", "b", "after persist state IN_SYNC", 1),
    Place("copy", "b", "on Block", 1),
    Place("cut", "a", "after sync note of a cut", 1),
    Place("compare", "a", "after sync blocks of a fork", 1),
)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place.course}-{place.node}-{place.point}")
def test_nothing_promised_is_gone(place: Place) -> None:
    """The node dies there, starts again, and the pair is whole: equal nodes, every acknowledged key, forks kept."""
    died, wrong = strike(place, 1)
    assert not wrong
    assert died, "the point was never reached"


def test_each_change_of_the_disk_is_a_point(tmp_path: Path) -> None:
    """A write and its sync are four places, named by the kind of file."""
    points = Points()
    disk = DeadlyDisk(tmp_path, points)
    file = disk.open("page-sums", create=True)
    file.write(0, b"x")
    file.sync()
    what = [
        f"{moment} {operation} page-sums" for operation in ("create", "write", "sync") for moment in ("before", "after")
    ]
    assert list(points.reached) == what
    assert kind_of("journal/00000000000000000001.journal") == "segment"
