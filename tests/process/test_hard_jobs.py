"""Jobs that fork, hide, ignore, flood: one round; `./scripts/soak hard-jobs --count N` asks as often as wanted."""

from __future__ import annotations

from pathlib import Path

from tests.process.hard_jobs import CASES, MIB, hard_jobs


def test_every_hard_job_ends_as_documented(tmp_path: Path) -> None:
    """JS7-3: docs/jobs.md, row by row, with 128 MiB of output (the soak: 1 GiB); memory and disk are bounded."""
    verdict = hard_jobs(tmp_path, 1, print, 128 * MIB)
    assert verdict.faults == ()
    assert verdict.counts["runs"] > len(CASES)
