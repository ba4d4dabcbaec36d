"""A group whose members are replaced while its runs run, on a real pair with real agents (SMA-5, SMA-6)."""

from __future__ import annotations

from pathlib import Path

from tests.process.deployments import small


def test_every_run_of_a_group_runs_once_while_its_members_are_replaced(tmp_path: Path) -> None:
    """The soak `deployments` in little: the jobs' own file says what ran, the rows agree, agents are told."""
    small(tmp_path, print)
