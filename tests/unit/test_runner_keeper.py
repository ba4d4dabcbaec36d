"""The agent's runner beside a keeper that is killed, or out of room."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from server import __version__
from server.agent import run_limits
from server.agent import runner as runner_module
from server.agent.ends import RUNS
from server.agent.keeper import SOCKET_FILE
from server.agent.keeper_release import LOCK_FILE
from server.agent.platform import created_at
from server.agent.run_files import RunFiles
from server.agent.runner import Runner
from server.core.agent_memory import RunRecord
from server.core.agent_wire import Ended, StopRun
from server.core.model import Specification

Say = Callable[[dict[str, Any]], None]
RUN = RunRecord(
    "j1.rx.a1", Specification(job_id=1, job_name="job", command="true", standard_input="in"), "intent", 1, 0, "boot"
)


class Beside:
    """A runner and what stands for its keeper: `obey(number of the connection, request, say)` for each request."""

    def __init__(self, data: Path) -> None:
        self.data = data
        (data / LOCK_FILE).write_text(__version__)  # else the runner would end this process, as a former keeper
        self.asked: list[str] = []
        self.connections = 0
        self.ends: dict[str, Ended] = {}
        self.failures: list[BaseException] = []
        self.runner = Runner(data, lambda key: None, self._ended, self.failures.append)
        self.greets: list[bytes] = []
        self.obey: Callable[[dict[str, Any], Say], bool] = lambda request, say: True

    def _ended(self, key: str, end: Ended) -> None:
        self.ends[key] = end

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        whole = json.dumps({"event": "runs", "keys": []}).encode() + b"\n"
        greeting = self.greets.pop(0) if self.greets else whole
        writer.write(greeting)
        goes_on = greeting.endswith(b"\n")
        while goes_on and (line := await reader.readline()):
            request = json.loads(line)
            self.asked.append(request["op"])
            goes_on = self.obey(request, lambda event: writer.write(json.dumps(event).encode() + b"\n"))
        writer.close()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def beside(data: Path) -> AsyncIterator[Beside]:
    found = Beside(data)
    async with await asyncio.start_unix_server(found.serve, data / SOCKET_FILE):
        await found.runner.open([], "boot")
        try:
            await found.until(lambda: found.connections)
            yield found
        finally:
            await found.runner.close()


async def test_half_a_line_of_a_killed_keeper_is_nothing(tmp_path: Path) -> None:
    """A kill -9 in the middle of what it says costs the connection and not the agent."""
    found = Beside(tmp_path)
    found.greets = [b'{"event": "runs", "keys": ["j1']
    async with await asyncio.start_unix_server(found.serve, tmp_path / SOCKET_FILE):
        await found.runner.open([], "boot")
        await found.until(lambda: found.connections > 1 or found.failures)
        await found.runner.close()
    assert found.failures == []


async def test_what_was_stopped_while_it_could_not_begin_never_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keeper has no descriptor, somebody cancels: the run ends there and is not started first."""
    monkeypatch.setattr(runner_module, "START_AGAIN_S", 0.02)
    async with beside(tmp_path) as found:

        def refuses(request: dict[str, Any], say: Say) -> bool:
            if request["op"] == "start":
                found.runner.stop(StopRun(RUN.key))
                say({"event": "failed", "key": RUN.key, "why": "no descriptors"})
            return True

        found.obey = refuses
        found.runner.start(RUN)
        await found.until(lambda: found.ends)
        assert found.ends[RUN.key].cause == "never started"
        assert found.asked.count("start") == 1
        assert (tmp_path / RUNS / RUN.key / "pid").exists()


async def test_what_was_stopped_while_the_keeper_was_gone_never_begins(tmp_path: Path) -> None:
    """A keeper is killed before it starts a run, somebody cancels: the next keeper is not asked to start it."""
    async with beside(tmp_path) as found:

        def dies(request: dict[str, Any], say: Say) -> bool:
            found.runner.stop(StopRun(RUN.key))
            return False

        found.obey = dies
        found.runner.start(RUN)
        await found.until(lambda: found.ends)
        assert found.ends[RUN.key].cause == "never started"
        await found.until(lambda: found.connections > 1)
        assert found.asked[0] == "start"
        assert "start" not in found.asked[1:]


async def test_what_had_begun_when_the_keeper_was_gone_is_not_called_unstarted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same, but the killed keeper had made its pid file: the next one says so."""
    monkeypatch.setattr(runner_module, "ORPHAN_POLL_S", 0.02)
    async with beside(tmp_path) as found:

        def begins(request: dict[str, Any], say: Say) -> bool:
            is_first = found.connections == 1
            if is_first:
                (tmp_path / RUNS / RUN.key / "pid").touch()
                found.runner.stop(StopRun(RUN.key))
            elif request["op"] == "start":
                say({"event": "exists", "key": RUN.key})
            return not is_first

        found.obey = begins
        found.runner.start(RUN)
        await found.until(lambda: found.connections > 1 and found.ends)
        assert found.ends[RUN.key].cause == "interrupted"


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of RUN that nobody is the keeper of."""
    with subprocess.Popen(["sleep", "600"], env={"UNDERSTUDY_RUN_ID": RUN.key}, start_new_session=True) as process:
        note = {"pid": process.pid, "created": created_at(process.pid), "at_us": 1}
        (tmp_path / RUNS / RUN.key).mkdir(parents=True)
        (tmp_path / RUNS / RUN.key / "pid").write_text(json.dumps(note))
        try:
            yield process
        finally:
            process.kill()


async def test_a_run_whose_keeper_is_gone_has_its_timeout(
    tmp_path: Path, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else counts for it: it would run for ever, and hold up what waits for its end."""
    monkeypatch.setattr(runner_module, "ORPHAN_POLL_S", 0.02)
    found = Beside(tmp_path)
    limited = msgspec.structs.replace(RUN.specification, timeout_s=30)
    async with await asyncio.start_unix_server(found.serve, tmp_path / SOCKET_FILE):
        await found.runner.open([msgspec.structs.replace(RUN, specification=limited)], "boot")
        await asyncio.sleep(0.1)
        assert sleeper.poll() is None
        monkeypatch.setattr(run_limits, "age_s", lambda created: 31.0)
        await found.until(lambda: sleeper.poll() is not None and found.ends)
        await found.runner.close()
    assert sleeper.returncode == -signal.SIGTERM
    assert found.ends[RUN.key].cause == "interrupted"


def test_who_reads_its_input_reads_it_to_the_end(tmp_path: Path) -> None:
    """A start that is asked for twice leaves the first one's standard input alone."""
    files = RunFiles(tmp_path)
    files.open()
    with open(files.prepare(RUN) / "input") as first:
        files.prepare(RUN)
        (tmp_path / RUNS / RUN.key / "input").write_text("")
        assert first.read() == "in"
    files.close()
