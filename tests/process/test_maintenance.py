"""Maintenance on a real pair with real runs (UIP-1 to UIP-7, CRY-1, CRY-2, BEY-5)."""

from __future__ import annotations

from pathlib import Path

from tests.process.maintenance import maintenance


def test_runs_run_dry_and_the_state_survives_whatever_happens_to_the_nodes(tmp_path: Path) -> None:
    """Once as the soak does it, with 12 runs and `--wait`; UiPath's calls over a restart, a failover and a swap."""
    assert not maintenance(tmp_path, 1, print, runs=12).faults
