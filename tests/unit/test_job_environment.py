"""What a job finds in its environment."""

from __future__ import annotations

from pathlib import Path

from server.agent.job_environment import path_with


def test_a_job_finds_the_command_last(tmp_path: Path) -> None:
    """The directory of `understudy` is behind all others, once, and only where it is."""
    (tmp_path / "understudy").touch()
    assert path_with("/usr/bin:/bin", tmp_path) == f"/usr/bin:/bin:{tmp_path}"
    assert path_with(f"{tmp_path}:/bin", tmp_path) == f"{tmp_path}:/bin"
    assert path_with("/bin", tmp_path / "nowhere") == "/bin"
