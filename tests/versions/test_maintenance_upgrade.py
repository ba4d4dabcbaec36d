"""UIP-7 over an upgrade: a maintenance stays as it is while both nodes and the agent are replaced by another build."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.versions.builds import former, present
from tests.versions.upgrade_nights import by_swap, spend

pytestmark = pytest.mark.timeout(300)


def test_a_maintenance_lasts_from_the_build_before_to_this_one(tmp_path: Path) -> None:
    """Draining, then Suspended; standby, swaps, other node, agent: both nodes say the same of it after each step."""
    before = former("before", tmp_path)
    if before is None:
        pytest.skip("NOT TESTED: an upgrade under maintenance; no commit for `before` here: git fetch --unshallow")
    night = spend(tmp_path / "pair", before, present(), by_swap, "last", print)
    assert night.faults == []
    assert night.missed > 0
