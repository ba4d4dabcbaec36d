"""kill -9 of agent and keeper at every point, once each; `./scripts/soak agent-kills --count 10` asks for more."""

from __future__ import annotations

from pathlib import Path

from tests.process.agent_kills import agent_kills


def test_no_run_is_lost_doubled_or_left_open_wherever_agent_or_keeper_dies(tmp_path: Path) -> None:
    """JS7-3: exit code and output are right; with the keeper dead the run is interrupted, and nothing is guessed."""
    verdict = agent_kills(tmp_path, 1, print)
    assert verdict.faults == ()
    assert verdict.counts["kills"] == verdict.counts["points"]
