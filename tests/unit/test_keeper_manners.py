"""A keeper among agents: stopped ones, ones of another build, and folders that somebody removed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from server.agent import keeper_agents
from server.agent.control_group import without_run
from server.agent.ends import RUNS
from server.agent.keeper import SOCKET_FILE, Keeper

KEY = "j1.rx.a1"


def request_of(command: str) -> dict[str, Any]:
    """What an agent asks for a start."""
    return {
        "key": KEY,
        "argv": ["/bin/sh", "-c", command],
        "environment": {},
        "directory": "",
        "user": "",
        "timeout_s": 0,
        "output_bytes_max": 100,
    }


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
    request = request_of(f"echo once >> {said}")
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


def test_a_keeper_looks_for_the_runs_of_its_own_agent(tmp_path: Path, keeper: Keeper) -> None:
    """Another cluster's agent on this machine may have a run of the same key: it is no part of this one."""
    (tmp_path / RUNS / KEY).mkdir(parents=True)
    (tmp_path / "other").mkdir()
    marks = {"UNDERSTUDY_RUN_ID": KEY, "UNDERSTUDY_AGENT_SOCKET": str(tmp_path / "other" / "agent.sock")}
    with subprocess.Popen(["sleep", "100"], env=marks, start_new_session=True) as other:
        try:
            keeper._start(request_of("exec sleep 100"))
            keeper._visits.go_home()
            tree = keeper._children[KEY].tree
            assert other.pid not in tree.pids()
            assert tree.kill()
            assert other.poll() is None
        finally:
            other.kill()


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
