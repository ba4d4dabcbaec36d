"""Power losses in small, for every run of the tests; the counts of the acceptance are run by `power_loss` itself."""

from __future__ import annotations

import random

from tests.simulation.power_loss import simulate
from tests.simulation.recording_disk import SECTOR, mixed


def test_every_power_loss_is_recovered_from() -> None:
    """Acknowledged writes are there, the chain is whole, file and model are equal, on both roles."""
    cases = list(simulate(80, seed=11))
    assert [case for case in cases if case.wrong] == []
    assert {case.role for case in cases} == {"master", "standby"}
    assert len({case.at for case in cases}) > 15


def test_without_invariant_3_it_fails() -> None:
    """The simulation sees what it is for: pages before journal loses or spoils something."""
    cases = list(simulate(60, seed=11, unsafe=True))
    assert sum(bool(case.wrong) for case in cases) >= 1


def test_a_power_loss_leaves_sectors_old_or_new() -> None:
    """The model of the disk: each sector is one of the two, the length too, and both kinds occur."""
    old, new = b"o" * SECTOR * 20, b"n" * SECTOR * 30
    seen = set()
    for seed in range(40):
        left = mixed(old, new, random.Random(seed))
        assert len(left) in (len(old), len(new))
        for at in range(0, len(left), SECTOR):
            sector = left[at : at + SECTOR]
            assert sector in (b"o" * SECTOR, b"n" * SECTOR, bytes(SECTOR))
            seen.add(sector[:1])
    assert seen == {b"o", b"n", b"\0"}
