"""Many ends at once: one that cannot be shown holds up no other, and none is written down twice."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from server.agent.child import Child, finish, write_status
from server.agent.ends import RUNS, Ends, read
from server.agent.output_file import OutputFile
from server.agent.process_tree import Tree
from server.agent.recorder import Recorder
from server.core.step_outputs import OUTPUTS_FILE


def ended(data: Path, key: str) -> Child:
    """A run whose process is gone."""
    directory = data / RUNS / key
    directory.mkdir(parents=True)
    return Child(key, None, -1, OutputFile(directory, 100), 1, directory, Tree(key), ended=(0, None))


def test_an_end_that_cannot_be_shown_holds_up_no_other(tmp_path: Path) -> None:
    """The others of its batch are there; tried again it is shown, and stands in `ends` once."""
    recorder = Recorder(tmp_path, lambda: None)
    stuck, fine = ended(tmp_path, "stuck"), ended(tmp_path, "fine")
    (stuck.directory / "status").mkdir()
    first, second = recorder.record(stuck), recorder.record(fine)
    assert isinstance(first.exception(20), OSError)
    assert second.result(20) is None
    (stuck.directory / "status").rmdir()
    assert recorder.record(stuck).result(20) is None
    assert sorted(key for key, _ in read(tmp_path)) == ["fine", "stuck"]
    assert json.loads((stuck.directory / "status").read_bytes())["exit_code"] == 0


def test_a_removed_folder_keeps_no_run_open(tmp_path: Path) -> None:
    """Somebody cleaned up: the end is said in a new folder, and what was printed is given up."""
    child = ended(tmp_path, "run")
    child.output.write(b"x" * 90)
    child.patterns = {"success": "x"}
    for path in child.directory.iterdir():
        path.unlink()
    child.directory.rmdir()
    status = finish(child)
    write_status(child.directory, status)
    assert json.loads((child.directory / "status").read_bytes()) == status
    assert (status["exit_code"], status["found"]) == (0, [])


def test_half_a_status_file_is_said_to_be_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes a part of it: it is tried again, since agents would read no end there."""
    child = ended(tmp_path, "run")
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda _, data: len(data) // 2)
        with pytest.raises(OSError, match="full"):
            write_status(child.directory, {"exit_code": 0})


def test_a_pipe_where_outputs_are_looked_for_stops_nobody(tmp_path: Path) -> None:
    """The keeper opens what a job left there: a pipe without a writer would hold up every run of the machine."""
    child = ended(tmp_path, "run")
    os.mkfifo(child.directory / OUTPUTS_FILE)
    said: list[dict[str, object]] = []
    thread = threading.Thread(target=lambda: said.append(finish(child)["outputs"]), daemon=True)
    thread.start()
    thread.join(10)
    assert said == [{}]


def test_no_end_is_shown_before_it_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush that fails leaves no status file, and the end is tried again."""
    recorder, child = Recorder(tmp_path, lambda: None), ended(tmp_path, "run")

    def fails(*_: object) -> None:
        raise OSError("input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Ends, "add", fails)
        assert isinstance(recorder.record(child).exception(20), OSError)
    assert not (child.directory / "status").exists()
    assert recorder.record(child).result(20) is None
    assert (child.directory / "status").exists()


@pytest.mark.parametrize("moved_s", [-3600, 365 * 86400])
def test_a_clock_that_is_set_makes_no_run_shorter_or_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved_s: int
) -> None:
    """An hour back or a year ahead while it runs: a monitor of how long runs take would believe it."""
    child = ended(tmp_path, "run")
    moved_ns = time.time_ns() + moved_s * 1_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: moved_ns)
    child.reaped(0)
    took_us = finish(child)["ended_at_us"] - child.started_at_us
    assert 0 <= took_us < 60_000_000
