"""The ends of runs: durable together, found again where their status files were lost, and dropped when nobody asks."""

from __future__ import annotations

import errno
import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.agent import ends as ends_module
from server.agent.ends import ENDS_FILE, RUNS, Ends, read, restore
from server.agent.run_files import RunFiles
from tests.unit.test_full_disk import no_byte_left


def end(began_us: int = 1, code: int = 0) -> dict[str, Any]:
    return {"exit_code": code, "started_at_us": began_us}


def folder(data: Path, key: str, began_us: int = 1) -> Path:
    """A run that began."""
    found = data / RUNS / key
    found.mkdir(parents=True)
    (found / "pid").write_text(json.dumps({"at_us": began_us}))
    return found


def test_lost_and_torn_status_files_are_written_again(tmp_path: Path) -> None:
    """None, an empty one and half a one come back; a whole one and one of another run stay; the rest is nobody's."""
    ends = Ends(tmp_path)
    ends.add((key, end(code=7)) for key in ("none", "empty", "half", "whole", "gone", "later"))
    ends.close()
    for key in ("none", "empty", "half", "whole", "open"):
        folder(tmp_path, key)
    folder(tmp_path, "later", began_us=2)
    for key, text in {"empty": "", "half": '{"exit_code"', "whole": '{"exit_code": 3}'}.items():
        (tmp_path / RUNS / key / "status").write_text(text)
    restore(tmp_path)
    found = {path.parent.name: json.loads(path.read_text())["exit_code"] for path in tmp_path.rglob("status")}
    assert found == {"none": 7, "empty": 7, "half": 7, "whole": 3}


def test_a_pid_file_lost_with_the_power_hides_no_end(tmp_path: Path) -> None:
    """Its name is there and nothing in it."""
    (folder(tmp_path, "run") / "pid").write_bytes(b"")
    Ends(tmp_path).add([("run", end())])
    restore(tmp_path)
    assert (tmp_path / RUNS / "run" / "status").exists()


def test_half_a_line_spoils_no_other(tmp_path: Path) -> None:
    """What a keeper was writing when it was killed is no end; the next keeper begins a line of its own."""
    (tmp_path / ENDS_FILE).write_bytes(b'["one", {"exit_code": 0}]\n["two", {"exit')
    Ends(tmp_path).add([("three", end())])
    assert [key for key, _ in read(tmp_path)] == ["one", "three"]


def test_without_room_none_of_them_is_there(tmp_path: Path) -> None:
    """An error leaves no part behind, and with room they are added."""
    ends = Ends(tmp_path)
    ends.add([("first", end())])
    size = (tmp_path / ENDS_FILE).stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 60, before[1]))
        with pytest.raises(OSError, match="large"):
            ends.add([("second", end()), ("third", end())])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / ENDS_FILE).stat().st_size == size
    ends.add([("second", end()), ("third", end())])
    assert [key for key, _ in read(tmp_path)] == ["first", "second", "third"]


def test_it_stays_short_and_keeps_what_is_asked_for(tmp_path: Path) -> None:
    """Ends of runs without files are dropped above the bound, and all others stay, also where there is no room."""
    ends = Ends(tmp_path, bytes_max=2000)
    folder(tmp_path, "kept")
    ends.add([("kept", end(code=5))])
    sizes = []
    for number in range(300):
        ends.add([(f"forgotten-{number}", end())])
        sizes.append((tmp_path / ENDS_FILE).stat().st_size)
    assert max(sizes) < 2200
    assert dict(read(tmp_path))["kept"] == end(code=5)
    with no_byte_left():
        ends._shorten()
    assert dict(read(tmp_path))["kept"] == end(code=5)
    ends.close()


def test_ends_that_are_all_asked_for_are_not_copied_for_each_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long time without a master leaves the files of every run: a new file is made at each doubling only."""
    copied: list[Path] = []

    def reads(data: Path) -> Iterator[tuple[str, Any]]:
        copied.append(data)
        return read(data)

    monkeypatch.setattr(ends_module, "read", reads)
    ends = Ends(tmp_path, bytes_max=1000)
    for number in range(300):
        folder(tmp_path, f"kept-{number}")
        ends.add([(f"kept-{number}", end())])
        ends.add([("kept-0", end())])
    assert len(dict(read(tmp_path))) == 300
    assert 0 < len(copied) < 10
    assert (tmp_path / ENDS_FILE).stat().st_size < 40_000
    ends.close()


def test_a_line_that_could_not_be_taken_back_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a line stays where a full disk refuses to cut it off; what comes next begins on a line of its own."""
    ends = Ends(tmp_path)
    ends.add([("first", end())])

    def no_room(_: int, data: bytes) -> None:
        os.write(ends._descriptor, bytes(data)[:10])
        raise OSError(errno.ENOSPC, "the disk is full")

    def refused(*_: object) -> None:
        raise OSError(errno.ENOSPC, "the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(ends_module, "_write", no_room)
        patched.setattr(os, "ftruncate", refused)
        with pytest.raises(OSError, match="full"):
            ends.add([("second", end())])
    ends.add([("second", end())])
    assert [key for key, _ in read(tmp_path)] == ["first", "second"]


def test_its_name_is_durable_whoever_made_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keeper that was killed between making the file and flushing the directory leaves that to the next."""
    (tmp_path / ENDS_FILE).touch()
    flushed: list[Path] = []
    monkeypatch.setattr(ends_module, "sync_directory", flushed.append)
    Ends(tmp_path).add([("run", end())])
    assert flushed == [tmp_path]


def test_a_folder_lost_with_the_power_hides_no_end(tmp_path: Path) -> None:
    """No file system has to keep the names of unflushed files; an end of before the intent is another run's."""
    (tmp_path / RUNS).mkdir()
    (tmp_path / RUNS / "empty").mkdir()
    Ends(tmp_path).add([("gone", end(20)), ("empty", end(20)), ("earlier", end(20)), ("nobodys", end(20))])
    assert restore(tmp_path, {"gone": 19, "empty": 20, "earlier": 21}) == {}
    assert sorted(path.parent.name for path in tmp_path.rglob("status")) == ["empty", "gone"]


def test_an_end_without_room_for_its_file_is_an_end(tmp_path: Path) -> None:
    """A full disk stops the file, not what it says; nobody says *interrupted* of a run whose end is durable."""
    files = RunFiles(tmp_path)
    files.open()
    folder(tmp_path, "run")
    status = {"signal": None, "ended_at_us": 2, "output_bytes": 0, "output_cut": False, "cause": ""}
    Ends(tmp_path).add([("run", end(code=7) | status)])
    with no_byte_left():
        files.look_again()
    assert not (tmp_path / RUNS / "run" / "status").exists() or not (tmp_path / RUNS / "run" / "status").read_bytes()
    found = files.status("run")
    assert found is not None
    assert found.exit_code == 7
    files.close()
