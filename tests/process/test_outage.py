"""Agents that go on without a master, on real processes; `./scripts/soak outage` asks for more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.outage import outage


@pytest.mark.timeout(300)
def test_every_occurrence_of_an_outage_is_recorded_once(tmp_path: Path) -> None:
    """A minute without a master: what was due ran at the agents, once, and is in Job History of both nodes, once."""
    verdict = outage(tmp_path, 1, print, minutely=60, quick=20)
    print(verdict)
    assert verdict.faults == ()
    assert verdict.counts["due while away"] >= 60 + 20 * 5
