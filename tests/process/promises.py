"""What a scenario of a pair has to show at its end, whatever was done to the pair."""

from __future__ import annotations

from pathlib import Path

from tests.process.scenarios import SCENARIOS


def keep_promises(name: str, count: int, directory: Path) -> None:
    """Every acknowledged write is on both nodes, no run happened twice, none is missing: acceptance 3 to 6 and 8."""
    scenario, _ = SCENARIOS[name]
    verdict = scenario(directory, count, print)
    print(verdict)
    assert verdict.faults == ()
    assert verdict.counts["acknowledged"] > 0
    assert verdict.counts["runs"] > 0
