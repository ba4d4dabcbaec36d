"""Agents that go on without a master, on real processes; `./scripts/soak outage` and `outage-failover` ask for more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.namespaces import is_possible
from tests.process.outage import outage
from tests.process.outage_failover import outage_failover


@pytest.mark.timeout(300)
def test_every_occurrence_of_an_outage_is_recorded_once(tmp_path: Path) -> None:
    """A minute without a master: what was due ran at the agents, once, and is in Job History of both nodes, once."""
    verdict = outage(tmp_path, 1, print, minutely=60, quick=20)
    print(verdict)
    assert verdict.faults == ()
    assert verdict.counts["due while away"] >= 60 + 20 * 5


@pytest.mark.timeout(300)
def test_an_old_master_gives_out_nothing_in_an_outage(tmp_path: Path) -> None:
    """It lives and reaches an agent while the standby takes over: nothing it is asked for begins, and it is refused."""
    if not is_possible():
        pytest.skip("NOT TESTED: network namespaces need root and iproute2")
    verdict = outage_failover(tmp_path, 1, print)
    print(verdict)
    assert verdict.faults == ()
    assert verdict.counts["runs"] > 0
