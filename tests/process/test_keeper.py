"""The keeper with real processes: exit codes, signals, output and leftovers, over deaths of agent and keeper."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from server.agent import runner as runner_module
from server.agent.ends import RUNS
from server.agent.job_environment import job_environment
from server.agent.keeper import SOCKET_FILE
from server.agent.platform import boot_clock_us, boot_id, created_at, is_same_process
from server.agent.process_tree import processes_of
from server.agent.runner import Runner, start_keeper
from server.core.agent_memory import RunRecord
from server.core.agent_wire import Ended, StopRun
from server.core.model import Specification
from tests.process.programs import until_there

ROOT = Path(__file__).resolve().parents[2]


def record(name: str, command: str, **values: object) -> RunRecord:
    specification = Specification(job_id=1, job_name="job", command=command, **values)  # type: ignore[arg-type]  # values of a test
    return RunRecord(f"j1.r{name}.a1", specification, "intent", 1, 0, boot_id())


class Watched:
    """A runner whose ends can be awaited."""

    def __init__(self, data: Path) -> None:
        data.mkdir(exist_ok=True)
        self.data = data
        self.ends: dict[str, list[Ended]] = {}
        self.began: set[str] = set()
        self.changed = asyncio.Condition()
        self.runner = Runner(data, self._on_began, self._on_ended)

    def _on_began(self, key: str) -> None:
        self.began.add(key)

    def _on_ended(self, key: str, end: Ended) -> None:
        self.ends.setdefault(key, []).append(end)

    async def end(self, run: RunRecord) -> Ended:
        async with asyncio.timeout(20):
            while run.key not in self.ends:
                await asyncio.sleep(0.01)
        return self.ends[run.key][0]

    def output(self, run: RunRecord) -> bytes:
        return (self.data / RUNS / run.key / "output").read_bytes()

    def keeper(self) -> int:
        for process in psutil.process_iter(["cmdline"]):
            line = process.info["cmdline"] or []
            if line[-1:] == [str(self.data)] and "server.agent.keeper" in line:
                return int(process.pid)
        raise AssertionError("no keeper runs")


@contextlib.asynccontextmanager
async def watched(data: Path, *intents: RunRecord) -> AsyncIterator[Watched]:
    found = Watched(data)
    await found.runner.open(list(intents), boot_id())
    try:
        yield found
    finally:
        await found.runner.close()


async def wait_for(path: Path) -> None:
    async with asyncio.timeout(20):
        while not os.path.exists(path):  # noqa: ASYNC240 - a test may block for a stat
            await asyncio.sleep(0.01)


async def test_exit_codes_signals_and_bytes_are_what_they_were(tmp_path: Path) -> None:
    """Exit 0, exit 250, death by signal, a command that is not there, bytes that are no UTF-8."""
    cases = {
        "zero": ("true", (0, None)),
        "high": ("exit 250", (250, None)),
        "term": ("kill -TERM $$", (None, signal.SIGTERM)),
        "kill": ("kill -KILL $$", (None, signal.SIGKILL)),
        "none": ("/no/such/command", (127, None)),
        "bytes": (r"printf '\377\376\0x'", (0, None)),
    }
    async with watched(tmp_path / "a") as agent:
        runs = {name: record(name, command) for name, (command, _) in cases.items()}
        for run in runs.values():
            agent.runner.start(run)
        for name, (_, expected) in cases.items():
            end = await agent.end(runs[name])
            assert (end.exit_code, end.signal) == expected, name
        assert agent.output(runs["bytes"]) == b"\xff\xfe\0x"
        assert all(len(ends) == 1 for ends in agent.ends.values())


async def test_what_cannot_be_started_says_why(tmp_path: Path) -> None:
    """A working directory that is missing: exit 127, the cause, and a sentence in the output."""
    async with watched(tmp_path / "a") as agent:
        run = record("cwd", "true", working_directory=str(tmp_path / "missing"))
        agent.runner.start(run)
        end = await agent.end(run)
        assert (end.exit_code, end.cause) == (127, "not startable")
        assert b"missing" in agent.output(run)


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: another user needs root")
async def test_a_job_that_runs_as_a_user_has_nothing_of_the_agents_groups(tmp_path: Path) -> None:
    """The user alone is not enough: it had the groups of root, and its home."""
    async with watched(tmp_path / "a") as agent:
        run = record("as", 'id -u; id -G; echo "$HOME $USER"', run_as="nobody", working_directory="/")
        unknown = record("unknown", "true", run_as="nobody-of-that-name")
        for one in (run, unknown):
            agent.runner.start(one)
        assert (await agent.end(run)).exit_code == 0
        account = pwd.getpwnam("nobody")
        groups = " ".join(str(group) for group in os.getgrouplist("nobody", account.pw_gid))
        said = f"{account.pw_uid}\n{groups}\n{account.pw_dir} nobody\n"
        assert agent.output(run).decode() == said
        assert (await agent.end(unknown)).cause == "not startable"
        assert b"nobody-of-that-name" in agent.output(unknown)


async def test_the_same_key_starts_once_whoever_asks(tmp_path: Path) -> None:
    """The pid file is created exclusively before the process: asked three times, by two agents, it ran once."""
    proof = tmp_path / "ran"
    run = record("once", f"echo ran >> {proof}")
    async with watched(tmp_path / "a") as first:
        first.runner.start(run)
        first.runner.start(run)
        await first.end(run)
    async with watched(tmp_path / "a", run) as second:
        second.runner.start(run)
        await second.end(run)
    assert proof.read_text() == "ran\n"


async def test_an_abandoned_key_never_starts(tmp_path: Path) -> None:
    """The returning agent takes the pid file itself: a late request of a dead one finds it and does nothing."""
    proof = tmp_path / "ran"
    run = record("late", f"echo ran >> {proof}")
    async with watched(tmp_path / "a") as agent:
        agent.runner.abandon(run.key)
        end = await agent.end(run)
        assert end.cause == "never started"
        assert end.ended_at_us > 1_600_000_000_000_000, "a time of which people can read something"
        agent.runner.start(run)
        marker = record("marker", "true")
        agent.runner.start(marker)
        await agent.end(marker)
        assert not proof.exists()


async def test_a_double_fork_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """A daemon left behind keeps the pipe: the run ends with its own exit code, the daemon lives on."""
    note = tmp_path / "pid"
    command = (
        f"echo out; (setsid sh -c 'echo $$ > {note}; exec sleep 60' &) ; while [ ! -s {note} ]; do :; done; exit 3"
    )
    async with watched(tmp_path / "a") as agent:
        run = record("fork", command)
        agent.runner.start(run)
        end = await agent.end(run)
        assert end.exit_code == 3
        assert agent.output(run) == b"out\n"
        daemon = int(note.read_text())
        assert processes_of(run.key) == [daemon]
        os.kill(daemon, signal.SIGKILL)


async def test_a_timeout_ends_the_tree_and_is_the_cause(tmp_path: Path) -> None:
    """The keeper keeps the time: no agent is needed for it."""
    async with watched(tmp_path / "a") as agent:
        run = record("slow", "sleep 60 & wait", timeout_s=1)
        agent.runner.start(run)
        await wait_for(tmp_path / "a" / RUNS / run.key / "pid")
    await wait_for(tmp_path / "a" / RUNS / run.key / "status")
    async with watched(tmp_path / "a", run) as agent:
        end = await agent.end(run)
        assert (end.cause, end.signal) == ("timeout", signal.SIGTERM)
        assert processes_of(run.key) == []


async def test_a_job_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    """SIGTERM first, SIGKILL when the grace is over."""
    ready = tmp_path / "ready"
    async with watched(tmp_path / "a") as agent:
        run = record("deaf", f"trap '' TERM; touch {ready}; while :; do sleep 0.05; done")
        agent.runner.start(run)
        await wait_for(ready)
        agent.runner.stop(StopRun(run.key, grace_s=1))
        assert (await agent.end(run)).signal == signal.SIGKILL


async def test_an_orphan_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    """A run whose keeper was killed is stopped by the agent, and as thoroughly."""
    ready = tmp_path / "ready"
    async with watched(tmp_path / "a") as agent:
        run = record("deaf", f"trap '' TERM; touch {ready}; while :; do sleep 0.05; done")
        agent.runner.start(run)
        await wait_for(ready)
        os.kill(agent.keeper(), signal.SIGKILL)
        marker = record("marker", "true")
        agent.runner.start(marker)
        await agent.end(marker)
        agent.runner.stop(StopRun(run.key, grace_s=1))
        assert (await agent.end(run)).cause == "interrupted"
        assert processes_of(run.key) == []


async def test_when_the_keeper_dies_the_exit_status_is_not_guessed(tmp_path: Path) -> None:
    """kill -9 of the keeper: the run stays running while its process lives, then it is interrupted."""
    gate, ready = tmp_path / "gate", tmp_path / "ready"
    async with watched(tmp_path / "a") as agent:
        run = record("orphan", f"touch {ready}; {until_there(gate)}; exit 0")
        agent.runner.start(run)
        await wait_for(ready)
        keeper = agent.keeper()
        os.kill(keeper, signal.SIGKILL)
        marker = record("marker", "true")
        agent.runner.start(marker)
        assert (await agent.end(marker)).exit_code == 0
        assert run.key not in agent.ends
        gate.touch()
        end = await agent.end(run)
        assert (end.exit_code, end.signal, end.cause) == (None, None, "interrupted")
        assert agent.keeper() != keeper


async def test_one_keeper_for_a_directory_and_none_when_idle(tmp_path: Path) -> None:
    """A second keeper finds the lock and leaves with exit 0; the socket is the first one's."""
    async with watched(tmp_path / "a") as agent:
        run = record("one", "true")
        agent.runner.start(run)
        await agent.end(run)
        second = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "server.agent.keeper", str(tmp_path / "a"), cwd=ROOT
        )
        assert await second.wait() == 0
        assert (tmp_path / "a" / SOCKET_FILE).exists()
        again = record("two", "true")
        agent.runner.start(again)
        assert (await agent.end(again)).exit_code == 0


async def test_a_start_that_the_machine_refuses_is_tried_again(tmp_path: Path) -> None:
    """Neither lost nor open for ever: what stands in the way of its files goes away, and the run begins."""
    async with watched(tmp_path / "a") as agent:
        run = record("again", "exit 7")
        in_the_way = tmp_path / "a" / RUNS / run.key
        in_the_way.touch()
        agent.runner.start(run)
        marker = record("marker", "sleep 0.5")
        agent.runner.start(marker)
        await agent.end(marker)
        assert run.key not in agent.ends
        in_the_way.unlink()
        assert (await agent.end(run)).exit_code == 7


async def test_a_start_that_the_keeper_cannot_do_is_asked_for_again(tmp_path: Path) -> None:
    """The keeper gives the key back and says why; the agent asks until it works."""
    async with watched(tmp_path / "a") as agent:
        run = record("again", "exit 7")
        agent.runner.start(run)
        (tmp_path / "a" / RUNS / run.key).rmdir()  # before this loop writes the request
        marker = record("marker", "sleep 0.5")
        agent.runner.start(marker)
        await agent.end(marker)
        assert run.key not in agent.ends
        (tmp_path / "a" / RUNS / run.key).mkdir()
        assert (await agent.end(run)).exit_code == 7


def test_a_clock_that_was_set_does_not_make_another_process_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Creation is told by the boot, on Linux: the day of the boot moves with the wall clock, the process does not."""
    created = created_at(os.getpid())
    assert created is not None
    assert is_same_process(os.getpid(), created)
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: 1_600_000_000.0)
    assert is_same_process(os.getpid(), created)
    assert is_same_process(os.getpid(), 1_600_000_000.0), "a pid file of a release before"
    assert not is_same_process(os.getpid(), 1_600_000_005.0)


def test_a_pid_of_another_process_is_not_the_run() -> None:
    """The pid alone proves nothing: the time of creation must fit, and a zombie is gone."""
    child = subprocess.Popen(["sleep", "60"])
    try:
        created = created_at(child.pid)
        assert created is not None
        assert is_same_process(child.pid, created)
        assert not is_same_process(child.pid, created - 5)
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not is_same_process(child.pid, created)
    finally:
        child.wait()


def test_the_agents_own_settings_do_not_reach_its_jobs() -> None:
    """UNDERSTUDY_* of the agent is removed; the job's own environment and the run's names are there."""
    run = record("env", "true", environment={"A": "1"})
    base = {"PATH": "/bin", "UNDERSTUDY_DATA": "/secret", "UNDERSTUDY_PASSWORD_FILE": "x"}
    environment = job_environment(run, base, {})
    assert (environment["A"], environment["PATH"].split(":")[0]) == ("1", "/bin")
    assert environment["UNDERSTUDY_RUN_ID"] == "j1.renv.a1"
    assert not {"UNDERSTUDY_DATA", "UNDERSTUDY_PASSWORD_FILE"} & set(environment)


async def test_a_keeper_that_dies_before_it_answers_is_started_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by killing keepers at random: the agent waited for the dead one until its deadline, and runs with it."""
    started = []

    def stillborn_first(data: Path) -> subprocess.Popen[bytes]:
        started.append(data)
        return subprocess.Popen(["false"]) if len(started) < 3 else start_keeper(data)

    monkeypatch.setattr(runner_module, "start_keeper", stillborn_first)
    monkeypatch.setattr(runner_module, "KEEPER_START_S", 3600.0)
    async with watched(tmp_path / "a") as agent:
        run = record("late", "exit 5")
        agent.runner.start(run)
        assert (await agent.end(run)).exit_code == 5


async def test_a_run_whose_pid_was_not_noted_lives_while_its_process_does(tmp_path: Path) -> None:
    """The keeper was killed between starting a process and noting its pid: the run ends with the process."""
    data = tmp_path / "a"
    run = record("unnoted", "")
    (data / RUNS / run.key).mkdir(parents=True)
    (data / RUNS / run.key / "pid").touch()
    mark = {**os.environ, "UNDERSTUDY_RUN_ID": run.key}
    process = subprocess.Popen(["sleep", "60"], env=mark)  # noqa: ASYNC220 - a test may block to start it
    try:
        async with watched(data, run) as agent:
            marker = record("marker", "sleep 1.2")
            agent.runner.start(marker)
            await agent.end(marker)
            assert run.key not in agent.ends, "two looks at orphans have passed meanwhile"
            process.kill()
            process.wait()
            assert (await agent.end(run)).cause == "interrupted"
    finally:
        process.kill()
        process.wait()


async def test_a_run_is_given_up_by_the_keeper_when_its_agent_is_dead(tmp_path: Path) -> None:
    """Killed, children included, once no master has answered for as long as the job says; answers put it off."""
    runs = [record(name, "sleep 300 & sleep 300", give_up_after_s=1) for name in ("mine", "other")]
    plain = record("plain", "sleep 300")
    async with watched(tmp_path / "a") as agent:
        agent.runner.answered(boot_clock_us())
        for run in (*runs, plain):
            agent.runner.start(run)
        for _ in range(8):
            await asyncio.sleep(0.25)
            agent.runner.answered(boot_clock_us())
        assert not agent.ends, "an answered run goes on"
    async with watched(tmp_path / "a", *runs, plain) as again:
        for run in runs:
            end = await again.end(run)
            assert (end.cause, end.exit_code, end.signal) == ("given up", None, signal.SIGTERM)
            assert not processes_of(run.key)
        assert plain.key not in again.ends
        again.runner.stop(StopRun(plain.key, kill=True))
        await again.end(plain)


async def test_without_a_keeper_the_agent_gives_a_run_up(tmp_path: Path) -> None:
    """The keeper was killed: the agent counts for what it left, and the run is interrupted, its process gone."""
    run = record("left", "sleep 300", give_up_after_s=1)
    async with watched(tmp_path / "a") as agent:
        agent.runner.answered(boot_clock_us())
        agent.runner.start(run)
        await wait_for(tmp_path / "a" / RUNS / run.key / "pid")
        while not processes_of(run.key):
            await asyncio.sleep(0.01)
        os.kill(agent.keeper(), signal.SIGKILL)
        assert (await agent.end(run)).cause == "interrupted"
        assert not processes_of(run.key)
