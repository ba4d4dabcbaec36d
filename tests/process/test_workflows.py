"""A backup workflow on a real pair with three real agents, struck while it runs (SMA-1, JS7-4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.workflows import small


@pytest.mark.timeout(300)  # five struck workflows on one pair: two minutes on a busy machine
def test_a_struck_workflow_runs_each_step_as_often_as_promised(tmp_path: Path) -> None:
    """The soak `workflows` in little: the steps' own file says what ran, and with which outputs."""
    small(tmp_path, print)
