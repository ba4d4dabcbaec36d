"""The processes of a run, real ones: what was seen once is ended, whatever happens to its parents meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest

from server.agent import process_tree
from server.agent.platform import IS_LINUX, is_same_process, process_stat
from server.agent.process_tree import RUN_VARIABLE, SOCKET_VARIABLE, Tree
from tests.process.programs import wait_for


@pytest.mark.skipif(not IS_LINUX, reason="reads /proc")
def test_what_is_known_by_its_parent_only_is_killed_also_when_that_ends_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another session, no mark, and its parent gone between the stop and the kill: it would stand still for ever."""
    command = "env -i setsid sleep 100 & echo $!; wait"
    leader = subprocess.Popen(["/bin/sh", "-c", command], stdout=subprocess.PIPE, start_new_session=True, text=True)
    assert leader.stdout is not None
    child = int(leader.stdout.readline())

    def is_on_its_own() -> bool:
        found = process_stat(child)
        return found is not None and found[3] == child

    wait_for("the child to be in a session of its own", is_on_its_own)
    send = process_tree._send

    def send_and_lose_the_parent(found: dict[int, int], number: signal.Signals) -> None:
        send(found, number)
        if number is signal.SIGSTOP:
            leader.kill()
            leader.wait()

    monkeypatch.setattr(process_tree, "_send", send_and_lose_the_parent)
    try:
        assert Tree("nobody", leader.pid).kill()
        wait_for("the child to end", lambda: not is_same_process(child, None), 20)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        leader.stdout.close()


def test_a_run_of_another_cluster_with_the_same_key_is_left_alone(tmp_path: Path) -> None:
    """Two agents on one machine: job 1 at the same minute has one key in both clusters; a kill ends the own one."""
    with contextlib.ExitStack() as stack:
        both = []
        for name in ("mine", "other", "moved"):
            if name != "moved":
                (tmp_path / name).mkdir()
            marks = {RUN_VARIABLE: "j1.rtwo-agents.a1", SOCKET_VARIABLE: str(tmp_path / name / "agent.sock")}
            process = stack.enter_context(subprocess.Popen(["sleep", "100"], env=marks, start_new_session=True))
            stack.callback(process.kill)
            both.append(process)
        mine, other, moved = both
        tree = Tree("j1.rtwo-agents.a1", data=tmp_path / "mine")
        assert tree.pids() == sorted([mine.pid, moved.pid])
        assert tree.kill()
        assert (mine.wait(20), moved.wait(20), other.poll()) == (-9, -9, None)
