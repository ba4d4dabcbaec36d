"""A job in a control group: it is born in there, and its keeper goes home."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.agent import child, control_group
from server.agent.control_group import Visits, group_of, pids
from server.agent.platform import IS_LINUX

pytestmark = pytest.mark.skipif(not IS_LINUX, reason="only Linux has control groups")


def request(command: str) -> dict[str, Any]:
    return {"argv": ["/bin/sh", "-c", command], "user": "", "environment": {"MINE": "a b"}, "directory": ""}


def run_here(directory: Path, command: str) -> tuple[bytes, int]:
    """What it prints on both, and how it ends."""
    reading, writing = os.pipe()
    process = child.spawn(request(command), directory, writing)
    os.close(writing)
    with open(reading, "rb") as file:
        return file.read(), process.wait()


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Path]:
    """A group that can be entered; gone afterwards, whatever was left in it."""
    found = group_of(tmp_path, "run")
    if found is None:
        pytest.skip("needs a writable control group (cgroup v2)")
    yield found
    control_group.kill(found)
    for _ in range(500):
        control_group.sweep(tmp_path)
        if not found.exists():
            return
        time.sleep(0.01)


def own_group() -> str:
    return Path("/proc/self/cgroup").read_text().split("0::")[1].strip()


def test_it_is_born_in_its_group(tmp_path: Path, group: Path) -> None:
    """Its first word is said in there already, so nothing that it forks is outside; what made it is outside again."""
    home, visits = own_group(), Visits()
    assert visits.enter(group)
    said, code = run_here(tmp_path, "grep 0:: /proc/self/cgroup; echo error >&2; exit 3")
    visits.go_home()
    assert (said.decode().split(), code) == ([f"0::/{group.relative_to(_mounted())}", "error"], 3)
    assert own_group() == home


def test_a_group_made_ahead_is_entered_or_goes(tmp_path: Path, group: Path) -> None:
    """It is the run's own one; one that somebody has removed is made again, and what nobody enters does not stay."""
    removed, unused, visits = group.with_name("removed"), group.with_name("unused"), Visits()
    for number, one in enumerate((group, removed, unused)):
        visits.prepare(one, float(number))
    assert visits.prepared == 3
    removed.rmdir()
    for one in (group, removed):
        assert visits.enter(one)
        assert pids(one) == [os.getpid()]
    visits.go_home()
    visits.forget(2.0)
    assert unused.exists()
    visits.forget(2.5)
    assert not unused.exists()
    assert visits.prepared == 0


def _mounted() -> Path:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return Path(next(line.split()[4] for line in lines if " - cgroup2 " in line))


def test_a_job_has_no_descriptors_of_its_keeper(tmp_path: Path) -> None:
    """A file, a pipe and a socket that its keeper has open for other runs are not the job's."""
    reading, writing = os.pipe()
    with open(tmp_path / "other", "wb") as file, socket.socket() as listener:
        mine = [os.readlink(f"/proc/self/fd/{one}") for one in (file.fileno(), reading, listener.fileno())]
        said, _ = run_here(tmp_path, "ls -l /proc/$$/fd; true")
    os.close(reading)
    os.close(writing)
    assert b" 2 -> pipe:" in said
    assert not [name for name in mine if name in said.decode()]


def test_a_job_ignores_no_signal_that_python_ignores(tmp_path: Path) -> None:
    """A writer whose reader has gone ends by SIGPIPE, and a file beyond its limit by SIGXFSZ."""
    said, _ = run_here(tmp_path, "grep SigIgn /proc/$$/status")
    ignored = int(said.split()[1], 16)
    assert not ignored & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1))
    assert run_here(tmp_path, "kill -PIPE $$") == (b"", -signal.SIGPIPE)


def test_who_visits_several_is_in_the_last_and_then_at_home(tmp_path: Path, group: Path) -> None:
    """A burst of starts goes from group to group; a process of the first stays where it was born."""
    other, visits = group.with_name("other"), Visits()
    assert visits.enter(group)
    sleeper = child.spawn(request("exec sleep 60"), tmp_path, 1)
    assert visits.enter(other)
    assert (pids(group), pids(other)) == ([sleeper.pid], [os.getpid()])
    visits.go_home()
    assert (pids(group), pids(other)) == ([sleeper.pid], [])
    control_group.kill(group)
    assert sleeper.wait() == -9


def test_a_visitor_that_cannot_go_home_is_not_killed_with_the_run(tmp_path: Path, group: Path) -> None:
    """A keeper ends no run by ending itself: without it, all its runs would lose their ends."""
    visits = Visits()
    assert visits.enter(group)
    sleeper = child.spawn(request("exec sleep 60"), tmp_path, 1)
    control_group.kill(group)
    assert os.waitpid(sleeper.pid, os.WNOHANG) == (0, 0)
    visits.go_home()
    control_group.kill(group)
    assert sleeper.wait() == -9


def test_nothing_begins_in_the_group_of_another_run(
    tmp_path: Path, group: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its own group nor home can be entered: that is an error, since it would end with the other run."""
    visits = Visits()
    assert visits.enter(group)

    def closed(_: Path) -> None:
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr(control_group, "_move_to", closed)
        with pytest.raises(PermissionError):
            visits.enter(group.with_name("other"))
    visits.go_home()
    assert not Visits().enter(tmp_path / "no group")
