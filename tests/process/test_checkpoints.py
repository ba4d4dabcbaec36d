"""Jobs with checkpoints on real agents: suspended, crashed, drained; `./scripts/soak checkpoints` asks for more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.process.checkpoints import run_kinds


@pytest.mark.timeout(180)
def test_a_run_goes_on_behind_its_latest_checkpoint_whatever_ended_it(tmp_path: Path) -> None:
    """SMA-1 to SMA-4: a drain, a crash of its machine, and a suspension in the middle of which the agent dies."""
    kinds = ["drain", "machine", "at a suspension, before the stop"]
    verdict = asyncio.run(run_kinds(tmp_path, kinds, print, 1))
    assert verdict.faults == ()
    assert verdict.counts["went on"] >= 3
    assert verdict.counts["kills at points"] == 1
