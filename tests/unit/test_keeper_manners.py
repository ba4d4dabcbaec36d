"""A keeper among agents: stopped ones, ones of another build, and folders that somebody removed."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from server.agent import keeper_agents
from server.agent.control_group import without_run
from server.agent.ends import RUNS
from server.agent.keeper import SOCKET_FILE, Keeper

KEY = "j1.rx.a1"


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    _, writing = os.pipe()
    return Keeper(tmp_path, writing)


def test_an_agent_that_reads_nothing_stops_no_keeper(
    tmp_path: Path, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped agent program (SIGSTOP) is let go once its buffer is full: timeouts and outputs of jobs go on."""
    monkeypatch.setattr(keeper_agents, "SEND_S", 0.02)

    def tells() -> None:
        while keeper._agents:
            keeper._agents.note("ended", KEY)
            keeper._agents.tell()

    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as agent:
        listener.bind(str(tmp_path / SOCKET_FILE))
        listener.listen()
        agent.connect(str(tmp_path / SOCKET_FILE))
        keeper._agents.accept(listener.accept()[0], [])
        thread = threading.Thread(target=tells, daemon=True)
        thread.start()
        thread.join(20)
        assert not thread.is_alive()


def test_what_a_later_build_asks_ends_no_keeper(keeper: Keeper) -> None:
    """All exit codes would be lost with it."""
    keeper._take([{"op": "whatever", "more": 1}])
    keeper._turn()
    assert not keeper._is_idle()


def test_a_run_whose_folder_is_gone_begins_no_second_time(tmp_path: Path, keeper: Keeper) -> None:
    """The pid file keeps a key from beginning twice; while the run is held, so does its keeper."""
    said = tmp_path / "said"
    request: dict[str, Any] = {
        "key": KEY,
        "argv": ["/bin/sh", "-c", f"echo once >> {said}"],
        "environment": {},
        "directory": "",
        "user": "",
        "timeout_s": 0,
        "output_bytes_max": 100,
    }
    for _ in range(2):
        (tmp_path / RUNS / KEY).mkdir(parents=True)
        keeper._start(request)
        process = keeper._children[KEY].process
        assert process is not None
        process.wait()
        shutil.rmtree(tmp_path / RUNS)
    keeper._visits.go_home()
    assert said.read_text() == "once\n"
    assert b'"exists"' in keeper._agents._untold


@pytest.mark.parametrize(
    ("path", "home"),
    [
        ("/system.slice/understudy-agent.service", "/system.slice/understudy-agent.service"),
        ("/a.service/understudy-0123456789ab/j1.rx.a1", "/a.service"),
        ("/understudy-0123456789ab", ""),
        ("/a/understudy-0123456789abc", "/a/understudy-0123456789abc"),
    ],
)
def test_a_unit_may_be_called_as_the_product(path: str, home: str) -> None:
    """Groups of runs are made in the unit's own group, which was delegated, and never beside it."""
    assert without_run(path) == home
