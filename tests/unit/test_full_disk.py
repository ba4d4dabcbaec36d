"""What a disk without a byte left must not end: a program that starts, a log, an end that is to be written down."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from pathlib import Path

import pytest

from server.agent.child import Child
from server.agent.ends import read
from server.agent.keeper import WRITE_AGAIN_S, Keeper
from server.agent.output_file import OutputFile
from server.agent.process_tree import Tree
from server.config import ConfigError
from server.log_lines import LogStream
from server.trust.identity import LOCK_FILE, directory_lock


@contextmanager
def no_byte_left() -> Iterator[None]:
    """No file of this process may grow; what fails then raises OSError, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_directory_is_locked_on_a_full_disk(tmp_path: Path) -> None:
    """The lock needs no byte; only who holds it cannot be noted, and nobody else's pid is shown instead."""
    with directory_lock(tmp_path, "understudy serve"):
        pass
    with no_byte_left(), directory_lock(tmp_path, "understudy agent"):
        with pytest.raises(ConfigError, match="in use by a process with pid unknown"), directory_lock(tmp_path, "x"):
            pass
        assert os.stat(tmp_path / LOCK_FILE).st_size == 0


def test_a_log_that_takes_nothing_ends_nobody_and_says_later_what_is_missing(tmp_path: Path) -> None:
    """Lines are dropped and counted; the next one that fits says how many."""
    descriptor = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        log = LogStream(descriptor)
        log.write("first\n")
        with no_byte_left():
            log.write("second\n")
            log.write("third\n")
        log.write("fourth\n")
        log.write("fifth\n")
    finally:
        os.close(descriptor)
    assert (tmp_path / "log").read_text() == "first\n2 lines of this log could not be written\nfourth\nfifth\n"


def test_half_a_line_of_a_log_stays_a_line(tmp_path: Path) -> None:
    """Where the disk ended within a line, the next one begins a line of its own."""
    descriptor = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        log = LogStream(descriptor)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4, before[1]))
        log.write("first\n")
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        log.write("second\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        os.close(descriptor)
    assert (tmp_path / "log").read_text() == "firs\n1 lines of this log could not be written\nsecond\n"


def test_an_end_that_cannot_be_written_is_tried_again_and_not_at_every_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at every turn of the keeper's loop, so that a full disk costs no processor; with room the end is there."""
    reading, writing = os.pipe()
    keeper = Keeper(tmp_path, writing)
    now = time.monotonic()
    monkeypatch.setattr("server.agent.keeper.time.monotonic", lambda: now)
    child = Child("key", None, -1, OutputFile(tmp_path, 100), 1, tmp_path, Tree("key"), ended=(3, None))
    keeper._children["key"] = keeper._ending["key"] = child
    tries: list[float] = []

    def turn() -> None:
        keeper._conclude(child)
        if child.written is not None:
            tries.append(now)
            wait([child.written])
            keeper._conclude(child)

    with no_byte_left():
        for _ in range(5):
            turn()
    assert tries == [now]
    assert not (tmp_path / "status").exists()
    assert not list(read(tmp_path))
    now += WRITE_AGAIN_S
    turn()
    assert len(tries) == 2
    assert '"exit_code": 3' in (tmp_path / "status").read_text()
    assert [(key, status["exit_code"]) for key, status in read(tmp_path)] == [("key", 3)]
    assert not keeper._ending
    os.close(reading)
    os.close(writing)
