"""A job in a control group: it is in there before it runs its first word, or it never runs."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from server.agent import child
from server.agent.platform import IS_LINUX, process_stat

pytestmark = pytest.mark.skipif(not IS_LINUX, reason="only Linux has control groups")


def request(command: str) -> dict[str, Any]:
    return {"argv": ["/bin/sh", "-c", command], "user": "", "environment": {"MINE": "a b"}, "directory": ""}


def run_in(directory: Path, command: str, group: Path | None) -> tuple[bytes, int]:
    """What it prints on both, and how it ends."""
    reading, writing = os.pipe()
    process = child.spawn(request(command), directory, writing, group)
    os.close(writing)
    with open(reading, "rb") as file:
        return file.read(), process.wait()


def test_it_begins_once_it_is_in_its_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However late the keeper comes to put it there: nothing that it forks is outside."""
    begun = tmp_path / "begun"

    def enter_late(group: Path, pid: int) -> None:
        while (found := process_stat(pid)) is None or found[0] != "S":  # a job would not wait: it would be gone
            assert found is None or found[0] != "Z", "it did not wait"
            time.sleep(0.001)
        assert not begun.exists()
        (group / "cgroup.procs").write_text(str(pid))

    monkeypatch.setattr(child, "enter", enter_late)
    said, code = run_in(tmp_path, f"echo > {begun}; echo $$; echo error >&2; exit 3", tmp_path)
    pid = (tmp_path / "cgroup.procs").read_text()
    assert (said, code) == (f"{pid}\nerror\n".encode(), 3)
    assert begun.exists()


def test_a_keeper_that_dies_before_lets_nothing_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end of the gate closes with it."""
    ended: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def keep(*words: Any, **values: Any) -> subprocess.Popen[bytes]:
        ended.append(popen(*words, **values))
        return ended[0]

    def die(group: Path, pid: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", keep)
    monkeypatch.setattr(child, "enter", die)
    with pytest.raises(KeyboardInterrupt):
        run_in(tmp_path, f"echo > {tmp_path / 'begun'}", tmp_path)
    assert ended[0].wait(20) == 125
    assert not (tmp_path / "begun").exists()


def test_it_is_the_same_job_with_and_without_a_group(tmp_path: Path) -> None:
    """Arguments, environment, descriptors and standard input are what they were."""
    look = "env | sort; ls /proc/self/fd; cat; exit 7"
    assert run_in(tmp_path, look, tmp_path) == run_in(tmp_path, look, None)
