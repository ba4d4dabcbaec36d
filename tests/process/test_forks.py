"""BEY-3 on real processes: an old master returns with a thousand writes that nobody else has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.forks import WRITES, forks


@pytest.mark.timeout(300)
def test_an_old_masters_writes_are_listed_exported_adopted_and_deleted(tmp_path: Path) -> None:
    """A tail that was never applied, then work done alone: every run and edit is told, and none is in force."""
    verdict = forks(tmp_path, 2, print)
    assert verdict.counts["adopted"] == verdict.counts["deleted"] == 2
    assert verdict.counts["edits"] >= WRITES
