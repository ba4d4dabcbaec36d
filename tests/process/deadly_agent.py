"""The shipped agent and keeper, each ending itself by SIGKILL at one point. Nothing of it is shipped.

A point is armed by the file `armed` in the agent's data directory, which holds its name; whoever is there next removes
the file and is gone. The hooks wrap what the client and the keeper call anyway.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from server.agent import client as client_module
from server.agent import keeper as keeper_module
from server.agent import runner as runner_module
from server.agent.child import spawn
from server.agent.client import Client
from server.agent.ends import RUNS
from server.agent.job_calls import JobCalls
from server.agent.link import Link
from server.agent.recorder import Recorder
from server.agent.runner import Runner
from server.agent.spool import Spool
from server.clock import SystemClock
from server.core import agent_wire as wire
from server.core.agent_memory import DropReports, RunRecord, Save, SaveReport, SaveRun
from server.core.checkpoint_messages import SUSPENDED_CAUSE

ROOT = Path(__file__).resolve().parents[2]
ARMED = "armed"
AGENT_POINTS = (
    "before the intent is durable",
    "after the intent is durable",
    "after the spawn",
    "after the pid",
    "running",
    "after the exit",
    "before the result is durable",
    "after the result is durable",
    "after the result is sent",
    "after the acknowledgement",
    "after it is forgotten",
)
CHECKPOINT_POINTS = (
    "before the checkpoint is durable",
    "after the checkpoint is durable",
    "after the checkpoint is answered",
    "after the checkpoint is sent",
    "at a suspension, before the stop",
    "on a resume, before the intent is durable",
    "on a resume, after the intent is durable",
)
KEEPER_POINTS = (
    "keeper before the spawn",
    "keeper after the spawn",
    "keeper after the pid",
    "keeper before the status",
    "keeper after the end is durable",
    "keeper after the status",
)


class Points:
    """Where this process is; SIGKILL for itself at the armed one."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def armed(self) -> str:
        """The point at which somebody is to die, or ""."""
        try:
            return (self.data / ARMED).read_text()
        except FileNotFoundError:
            return ""

    def __call__(self, point: str) -> None:
        if self.armed() == point:
            (self.data / ARMED).unlink()
            os.kill(os.getpid(), signal.SIGKILL)


def _is_end(message: object) -> bool:
    return isinstance(message, wire.Report) and isinstance(message.body, wire.Ended)


def _is_checkpoint(message: object) -> bool:
    return isinstance(message, wire.Report) and isinstance(message.body, wire.Checkpointed)


class Here:
    """The points of this process, set once it has begun."""

    points: Points


def points(point: str) -> None:
    """This process is there now."""
    Here.points(point)


class DeadlySpool(Spool):
    async def commit(self, saves: Iterable[Save]) -> None:
        batch = list(saves)
        begins = any(isinstance(save, SaveRun) and save.run.state == "intent" for save in batch)
        ends = any(isinstance(save, SaveReport) and _is_end(save.report) for save in batch)
        drops = any(isinstance(save, DropReports) for save in batch)
        saves_state = any(isinstance(save, SaveReport) and _is_checkpoint(save.report) for save in batch)
        resumes = begins and any(isinstance(save, SaveRun) and save.run.attempt > 1 for save in batch)
        if resumes:
            points("on a resume, before the intent is durable")
        if saves_state:
            points("before the checkpoint is durable")
        if begins:
            points("before the intent is durable")
        if ends:
            points("before the result is durable")
        await super().commit(batch)
        if resumes:
            points("on a resume, after the intent is durable")
        if saves_state:
            points("after the checkpoint is durable")
        if any(isinstance(save, SaveRun) and save.run.stop == SUSPENDED_CAUSE for save in batch):
            points("at a suspension, before the stop")
        if begins:
            points("after the intent is durable")
        if ends:
            points("after the result is durable")
        if drops:
            points("after it is forgotten")


class DeadlyRunner(Runner):
    def start(self, run: RunRecord) -> None:
        super().start(run)
        if Here.points.armed() in ("after the spawn", "after the pid"):
            pid_file = Here.points.data / RUNS / run.key / "pid"
            threading.Thread(target=watch_pid_file, args=(pid_file,), daemon=True).start()


class DeadlyLink(Link):
    async def _write(self, socket: Any) -> None:
        await super()._write(DeadlySocket(socket))


class DeadlySocket:
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def send_bytes(self, frame: bytes) -> None:
        await self._inner.send_bytes(frame)
        message = wire.decode_from_agent(frame)
        if _is_end(message):
            points("after the result is sent")
        if _is_checkpoint(message):
            points("after the checkpoint is sent")

    async def close(self) -> None:
        await self._inner.close()


class DeadlyClient(Client):
    def _began(self, key: str) -> None:
        super()._began(key)
        points("running")

    def _ended(self, key: str, end: wire.Ended) -> None:
        points("after the exit")
        super()._ended(key, end)

    async def _received(self, link: Link, message: wire.FromNode) -> None:
        if isinstance(message, wire.Kept) and any(
            _is_end(self._memory.reports.get(number)) for number in message.reports
        ):
            points("after the acknowledgement")
        await super()._received(link, message)


class DeadlyCalls(JobCalls):
    def answer(self, question: int, answer: Any) -> None:
        super().answer(question, answer)
        points("after the checkpoint is answered")


def watch_agent(data: Path) -> None:
    """All parts of an agent in this process tell where they are from now on."""
    Here.points = Points(data)
    client_module.Spool = DeadlySpool  # type: ignore[misc]  # this process is the experiment
    client_module.Runner = DeadlyRunner  # type: ignore[misc]  # this process is the experiment
    client_module.JobCalls = DeadlyCalls  # type: ignore[misc]  # this process is the experiment
    client_module.Link = DeadlyLink  # type: ignore[misc]  # this process is the experiment
    runner_module.start_keeper = start_deadly_keeper


def watch_pid_file(pid_file: Path) -> None:
    """The keeper makes it just before the process, and writes the pid into it just after."""
    while not pid_file.exists():
        time.sleep(0.0001)
    points("after the spawn")
    while not pid_file.read_bytes():
        time.sleep(0.0001)
    points("after the pid")


def start_deadly_keeper(data: Path) -> subprocess.Popen[bytes]:
    """As the agent starts a keeper, but of this module."""
    with open(data / "keeper.log", "ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.process.deadly_agent", "keeper", str(data)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd=ROOT,
        )


def run_agent(data: Path, agent_id: str, address: str) -> None:
    """Serve until killed; what it says goes to `agent.log`."""
    log = os.open(data / "agent.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(ROOT)
    watch_agent(data)
    client = DeadlyClient(data, agent_id, {"a" * 32: address}, SystemClock(), None, "1")
    asyncio.run(client.run())


def run_keeper(data: Path) -> int:
    """Serve as the shipped keeper does."""
    Here.points = Points(data)

    def deadly_spawn(request: dict[str, Any], directory: Path, *more: Any) -> subprocess.Popen[bytes]:
        points("keeper before the spawn")
        process = spawn(request, directory, *more)
        points("keeper after the spawn")
        return process

    class DeadlyRecorder(Recorder):
        def _make_durable(self, ends: Any) -> None:
            points("keeper before the status")
            super()._make_durable(ends)
            points("keeper after the end is durable")

        def _show(self, child: Any, status: Any) -> None:
            super()._show(child, status)
            points("keeper after the status")

    class DeadlyKeeper(keeper_module.Keeper):
        def _note_pid(self, pid_file: int, child: Any) -> None:
            super()._note_pid(pid_file, child)
            points("keeper after the pid")

    keeper_module.spawn = deadly_spawn
    keeper_module.Recorder = DeadlyRecorder  # type: ignore[misc]  # this process is the experiment
    keeper_module.Keeper = DeadlyKeeper  # type: ignore[misc]  # this process is the experiment
    sys.argv = ["keeper", str(data)]
    return keeper_module.main()


if __name__ == "__main__":
    raise SystemExit(run_keeper(Path(sys.argv[2])))
