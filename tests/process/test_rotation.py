"""The cluster's authority is exchanged on a real pair under load."""

from __future__ import annotations

from pathlib import Path

from tests.process.promises import keep_promises


def test_nobody_notices_that_the_authority_is_exchanged(tmp_path: Path) -> None:
    """Under writes and running jobs; then an agent that was away is left behind, and comes back by its key."""
    keep_promises("rotations", 1, tmp_path)
