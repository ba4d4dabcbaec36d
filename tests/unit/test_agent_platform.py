"""What differs between systems, as far as Linux can show it: the way that macOS goes is gone here too."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from server.agent import platform, process_tree
from server.agent.platform import (
    RESERVE_BYTES,
    RUN_RESERVE_BYTES,
    Births,
    boot_clock_us,
    created_at,
    is_same_process,
    reserve_bytes,
    socket_address,
    why_not_here,
)
from server.agent.process_tree import RUN_VARIABLE, Tree


def test_windows_is_told_what_does_not_work_there() -> None:
    """A sentence with what to do instead; Linux and macOS have nothing to be told."""
    assert why_not_here("linux") == why_not_here("darwin") == ""
    said = why_not_here("win32")
    assert "signals and process groups" in said
    assert "WSL 2" in said


@pytest.mark.parametrize("is_linux", [True, False])
def test_a_tree_is_found_and_ended_with_and_without_proc(monkeypatch: pytest.MonkeyPatch, is_linux: bool) -> None:
    """By mark, session and descent; a child in a session of its own with an empty environment is in it."""
    if is_linux and not platform.IS_LINUX:
        pytest.skip("NOT TESTED: no /proc here")
    monkeypatch.setattr(platform, "IS_LINUX", is_linux)
    monkeypatch.setattr(process_tree, "IS_LINUX", is_linux)
    key = f"j1.r{os.getpid()}{is_linux}.a1"
    leader = subprocess.Popen(
        ["/bin/sh", "-c", "env -i PATH=$PATH setsid sleep 300 & sleep 300 & wait"],
        env={**os.environ, RUN_VARIABLE: key},
        start_new_session=True,
    )
    tree = Tree(key, leader.pid)
    try:
        deadline = time.monotonic() + 20
        while len(tree.pids()) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(tree.pids()) == 3
        assert tree.kill()
        assert tree.pids() == []
        assert leader.wait(20) == -signal.SIGKILL
    finally:
        tree.kill()
        leader.kill()
        leader.wait(20)


@pytest.mark.parametrize("is_linux", [True, False])
def test_a_process_is_known_again_and_another_is_not(monkeypatch: pytest.MonkeyPatch, is_linux: bool) -> None:
    """Since boot on Linux, since 1970 elsewhere: each its own, never compared with the other."""
    monkeypatch.setattr(platform, "IS_LINUX", is_linux)
    created = created_at(os.getpid())
    assert created is not None
    assert is_same_process(os.getpid(), created)
    assert not is_same_process(os.getpid(), created + 1)


@pytest.mark.parametrize("is_linux", [True, False])
def test_a_socket_in_a_directory_with_a_long_name_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_linux: bool
) -> None:
    """The same way from both sides, however long the path; where there is no /proc, a short name elsewhere."""
    monkeypatch.setattr(platform, "IS_LINUX", is_linux)
    data = tmp_path / ("d" * 90)
    data.mkdir()
    address = socket_address(data, "keeper.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as caller:
        listener.bind(address)
        listener.listen(1)
        caller.connect(socket_address(data, "keeper.sock"))
    os.unlink(address)


def test_the_reserve_grows_with_what_has_begun() -> None:
    """A tenth of a small disk, 64 MiB of a large one, and room for the end of each run."""
    assert reserve_bytes(100 * RESERVE_BYTES, 0) == RESERVE_BYTES
    assert reserve_bytes(1000, 0) == 100
    assert reserve_bytes(100 * RESERVE_BYTES, 1000) == RESERVE_BYTES + 1000 * RUN_RESERVE_BYTES


def test_the_time_of_a_birth_is_the_machines_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken by the clock for a process made quickly, it is that very process to whoever asks the machine later."""
    births, made = Births(), []
    for _ in range(5):
        before_us = boot_clock_us()
        process = subprocess.Popen(["sleep", "60"])
        made.append((process, births.of(process.pid, before_us, before_us + 1000)))
    try:
        assert all(is_same_process(process.pid, created) for process, created in made)
    finally:
        for process, _ in made:
            process.kill()
            process.wait()
    asked: list[int] = []

    def answer(pid: int) -> float:
        asked.append(pid)
        return 55.5

    monkeypatch.setattr(platform, "created_at", answer)
    assert births.of(1, 55_000_000, 55_008_001) == 55.5, "a slow one is asked for"
    elsewhere = Births()
    assert [elsewhere.of(number, 70_000_000, 70_000_001) for number in (2, 3)] == [55.5, 55.5]
    assert asked == [1, 2, 3], "and every one, where the machine tells another time"
