"""An agent that stands still while it is locked, drained and asked to cancel, on a real pair (SKY-2, SMA-4, JS7-6)."""

from __future__ import annotations

from pathlib import Path

from tests.process.gates import requests


def test_what_was_asked_of_an_agent_that_is_away_is_listed_and_obeyed_at_its_return(tmp_path: Path) -> None:
    """Once as the soak does it: a swap is not safe because of it, a withdrawn cancel does not happen, the rest does."""
    assert not requests(tmp_path, 1, print).faults
