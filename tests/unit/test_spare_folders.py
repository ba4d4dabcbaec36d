"""Folders made ahead: a run begins once with them as without, and one that comes back holds nothing of its run."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from server.agent import spare_folders
from server.agent.spare_folders import LEAST, MOST, SPARE, SPARE_PID, SPARE_STATUS, SpareFolders, claim, put_status
from tests.unit.test_full_disk import no_byte_left


@pytest.fixture
def spares(tmp_path: Path) -> SpareFolders:
    found = SpareFolders(tmp_path)
    found.open()
    found.make(1)
    return found


def folder_of(data: Path, spares: SpareFolders) -> str:
    """The folder of a run, from the spare ones."""
    folder = str(data / "run")
    assert spares.take(folder)
    return folder


def plain_folder(data: Path, spares: SpareFolders) -> str:
    """As an agent of a release before makes it."""
    (data / "run").mkdir()
    return str(data / "run")


@pytest.mark.parametrize("make", [folder_of, plain_folder])
def test_a_run_is_claimed_once_and_its_files_are_as_ever(
    tmp_path: Path, spares: SpareFolders, make: Callable[[Path, SpareFolders], str]
) -> None:
    """The pid file is there, empty, before anything is in it; a second claim fails, whoever makes it."""
    folder = make(tmp_path, spares)
    descriptor = claim(folder)
    assert Path(folder, "pid").read_bytes() == b""
    with pytest.raises(FileExistsError):
        claim(folder)
    with pytest.raises(FileExistsError):
        os.open(f"{folder}/pid", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.write(descriptor, b"note")
    os.close(descriptor)
    assert Path(folder, "pid").read_bytes() == b"note"
    assert not Path(folder, "status").exists()
    put_status(folder, b"status")
    assert Path(folder, "status").read_bytes() == b"status"
    put_status(folder, b"again")
    assert Path(folder, "status").read_bytes() == b"again"


def test_what_the_agent_claimed_the_keeper_does_not_begin(tmp_path: Path, spares: SpareFolders) -> None:
    """The agent makes the pid file of a run that it gives up as it always did."""
    folder = folder_of(tmp_path, spares)
    os.close(os.open(f"{folder}/pid", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    with pytest.raises(FileExistsError):
        claim(folder)


def test_without_second_names_the_file_is_made(
    tmp_path: Path, spares: SpareFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that has none is no reason to begin nothing."""

    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    folder = folder_of(tmp_path, spares)
    monkeypatch.setattr(spare_folders.os, "link", refused)
    os.close(claim(folder))
    with pytest.raises(FileExistsError):
        claim(folder)


def test_a_folder_comes_back_with_nothing_of_its_run(tmp_path: Path, spares: SpareFolders) -> None:
    """No byte of what the run was given, printed or returned; the next run with it can be claimed."""
    folder = folder_of(tmp_path, spares)
    descriptor = claim(folder)
    os.write(descriptor, b"pid")
    put_status(folder, b"status")
    for name in ("input", "checkpoint", "output", "outputs", "tail.0"):
        Path(folder, name).write_text("secret")
    assert spares.give_back(folder)
    assert not os.path.exists(folder)
    files = [path for path in (tmp_path / SPARE).rglob("*") if path.is_file()]
    assert {path.name for path in files} == {SPARE_PID, SPARE_STATUS}
    assert not any(path.read_bytes() for path in files)
    for number in range(LEAST):
        assert spares.take(str(tmp_path / f"again-{number}"))
        os.close(claim(str(tmp_path / f"again-{number}")))
    os.close(descriptor)


def test_what_a_job_left_there_does_not_come_back(tmp_path: Path, spares: SpareFolders) -> None:
    """A folder in it, or a link in place of a file: all of it is removed, and what the link names is not touched."""
    secret = tmp_path / "secret"
    secret.write_text("kept")
    folder = folder_of(tmp_path, spares)
    os.unlink(f"{folder}/{SPARE_STATUS}")
    os.symlink(secret, f"{folder}/{SPARE_STATUS}")
    assert spares.give_back(folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "deep").mkdir()
    assert spares.give_back(str(tmp_path / "other"))
    assert secret.read_text() == "kept"
    assert all(len(os.listdir(place)) == 2 for place in (tmp_path / SPARE).iterdir())
    assert not os.path.exists(folder)
    assert not (tmp_path / "other").exists()


def test_a_start_finds_what_is_whole_and_removes_the_rest(tmp_path: Path, spares: SpareFolders) -> None:
    """The agent was killed while it emptied one: that one goes, since a pid file in it would be another run's."""
    folder = folder_of(tmp_path, spares)
    os.close(claim(folder))
    os.rename(folder, tmp_path / SPARE / "1000")
    (tmp_path / SPARE / "strange").mkdir()
    there = len(list((tmp_path / SPARE).iterdir())) - 2
    again = SpareFolders(tmp_path)
    again.open()
    assert len(list((tmp_path / SPARE).iterdir())) == there
    taken = 0
    while again.take(str(tmp_path / f"run-{taken}")):
        os.close(claim(str(tmp_path / f"run-{taken}")))
        taken += 1
    assert taken == there


def test_the_folder_of_a_run_that_is_there_stays(tmp_path: Path, spares: SpareFolders) -> None:
    """A second start of one run takes no second folder, and a file in the way is no folder."""
    folder = folder_of(tmp_path, spares)
    os.close(claim(folder))
    assert not spares.take(folder)
    (tmp_path / "file").touch()
    assert not spares.take(str(tmp_path / "file"))
    assert os.path.exists(f"{folder}/pid")
    assert spares.take(str(tmp_path / "another")), "what could not be used is used for the next"


def test_there_are_no_more_than_are_wanted_or_may_be(tmp_path: Path) -> None:
    """Some at least, as many as there are orders, and never more than the most."""
    spares = SpareFolders(tmp_path)
    spares.open()
    assert not spares.take(str(tmp_path / "none")), "none is ready"
    while spares.lacks(0):
        spares.make(0)
    assert len(os.listdir(tmp_path / SPARE)) == LEAST
    assert spares.lacks(LEAST + 1)
    assert not spares.lacks(LEAST)
    spares._ready.extend(str(number) for number in range(MOST))
    assert not spares.lacks(10 * MOST)
    (tmp_path / "run").mkdir()
    assert not spares.give_back(str(tmp_path / "run"))


def test_on_a_full_disk_an_end_is_not_half_said(tmp_path: Path, spares: SpareFolders) -> None:
    """The error comes out, nobody sees a status, and with room it is written."""
    folder = folder_of(tmp_path, spares)
    with no_byte_left(), pytest.raises(OSError, match=r"full|large"):
        put_status(folder, b"status")
    assert not os.path.exists(f"{folder}/status")
    put_status(folder, b"status")
    assert Path(folder, "status").read_bytes() == b"status"
