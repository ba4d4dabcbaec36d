"""Starts, watches and stops the processes of runs through the keeper; after any restart it reads the files again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import structlog

from server.agent.control_group import group_of
from server.agent.job_environment import no_secrets
from server.agent.keeper import SOCKET_FILE
from server.agent.keeper_release import former_pid
from server.agent.platform import boot_clock_us, is_same_process, socket_address
from server.agent.process_tree import Tree
from server.agent.run_files import NO_RULES, RunFiles
from server.agent.run_limits import RunLimits
from server.agent.start_request import start_request
from server.core.agent_memory import RunRecord
from server.core.agent_wire import Ended, StopRun
from server.core.confidential import Opened
from server.core.exit_rules import ExitRules
from server.core.model import Specification
from server.errors import Invalid

log = structlog.get_logger(__name__)

KEEPER_START_S = 10.0
KEEPER_AGAIN_S = 0.5
"""A keeper that ended before it answered is started again, at most this often."""
ORPHAN_POLL_S = 0.5
START_AGAIN_S = 1.0
READ_BYTES = 64 * 1024


class Runner:
    """`on_began(key)` and `on_ended(key, end)` are called in the event loop; both may be called more than once.

    `on_failed(error)` is told of a defect that ends the watching. `secrets` opens what of a specification is sealed.
    """

    def __init__(
        self,
        data: Path,
        on_began: Callable[[str], None],
        on_ended: Callable[[str, Ended], None],
        on_failed: Callable[[BaseException], None] = lambda error: None,
        secrets: Callable[[Specification], Opened] = no_secrets,
    ) -> None:
        self._data = data
        self._files = RunFiles(data)
        self._environment = dict(os.environ)
        self._on_began = on_began
        self._on_ended = on_ended
        self._on_failed = on_failed
        self._secrets = secrets
        self._writer: asyncio.StreamWriter | None = None
        self._requested: dict[str, bytes] = {}
        self._starting: set[str] = set()
        self._soon: set[str] = set()
        self._stopping: dict[str, StopRun] = {}
        self._kept: set[str] = set()
        self._former: int | None = None
        """The pid of the connected keeper when it is of another release."""
        self._open: set[str] = set()
        self._limits = RunLimits()
        self._rules: dict[str, ExitRules] = {}
        """What counts as success, of runs that have not ended."""
        self._answered_us: int | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, intents: list[RunRecord], boot_id: str) -> None:
        """Find the keeper or start one, and say of every intent what its files say.

        An intent of an earlier boot without a status is interrupted. One of this boot without a pid file stays an
        intent: `start` or `abandon` it once the master has answered.
        """
        self._files.open(intents)
        self._opened_us = boot_clock_us()
        for run in intents:
            self._note(run)
            if self._files.pid(run.key) is not None and run.boot_id == boot_id:
                self._open.add(run.key)
                self._on_began(run.key)
            elif run.boot_id != boot_id and self._files.status(run.key) is None:
                self._on_ended(run.key, self._files.gone(run.key, "interrupted"))
            elif self._files.status(run.key) is not None:
                self._open.add(run.key)
        self._spawn(self._keep_connected())
        self._spawn(self._watch_orphans())
        for key in list(self._open):
            self._look(key)

    async def close(self) -> None:
        """Leave: the jobs go on under the keeper."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()
        self._files.close()

    def start(self, run: RunRecord) -> None:
        """Begin the process of a durable intent. Twice is once: the pid file is created exclusively."""
        self._open.add(run.key)
        specification = run.specification
        try:
            opened = self._secrets(specification)
        except Invalid as error:
            log.error("a run cannot begin", key=run.key, why=str(error))
            self._refuse(run.key, "not startable")
            return
        try:
            directory = self._files.prepare(run)
        except OSError as error:
            self._again(run.key, error, lambda: self.start(run))
            return
        self._note(run)
        line = start_request(run, self._data, directory, self._environment, opened, self._answered_us or 0)
        self._requested[run.key] = line
        self._ask_to_start(run.key)

    @property
    def starts_wait(self) -> bool:
        """Whether the keeper was asked to start something and has not answered."""
        return bool(self._starting)

    def make_ahead(self, soon: list[str], runs: int) -> None:
        """Have ready what the keys that are due `soon` need, and folders for so many runs; call now and then."""
        if not self._starting:
            self._files.make_ahead(runs)
            for key in soon:
                if key not in self._soon:
                    self._ask(json.dumps({"op": "soon", "key": key}).encode() + b"\n")
            self._soon = set(soon)

    def answered(self, answered_us: int | None) -> None:
        """A master able to commit answered what was said at this time of the boot clock: the keeper counts from it."""
        self._answered_us = answered_us
        if answered_us is not None and self._limits.has_given_up:
            self._ask(json.dumps({"op": "answered", "at_us": answered_us}).encode() + b"\n")

    def _note(self, run: RunRecord) -> None:
        self._rules[run.key] = run.specification.exit_rules
        self._limits.note(run)

    def stop(self, message: StopRun) -> None:
        """Have the whole tree signalled, by the keeper, or here when no keeper holds the run."""
        self._stopping[message.key] = message
        if self._writer is not None:
            self._pass_on(message)

    def _pass_on(self, message: StopRun) -> None:
        if message.key in self._kept or message.key in self._requested:
            request = {"op": "stop", "key": message.key, "kill": message.kill, "grace_s": message.grace_s}
            self._ask(json.dumps(request).encode() + b"\n")
        else:
            if message.kill:
                self._kill_orphan(message.key)
            else:
                self._orphan(message.key).signal(signal.SIGTERM)
                asyncio.get_running_loop().call_later(message.grace_s, self._kill_orphan, message.key)

    def _kill_orphan(self, key: str) -> None:
        """No keeper keeps the time of this run: what ignores SIGTERM is killed from here."""
        if key in self._open and key not in self._kept:
            self._orphan(key).kill()

    def _orphan(self, key: str) -> Tree:
        """The processes of a run that no keeper holds; its first one may be gone, and its number another's."""
        note = self._files.pid(key) or {}
        lives = bool(note) and note["pid"] > 0 and is_same_process(note["pid"], note["created"])
        return Tree(key, note["pid"] if lives else None, group_of(self._data, key), self._data)

    def _again(self, key: str, error: object, attempt: Callable[[], None]) -> None:
        """What a full disk or a lack of descriptors stopped is tried again while the run is open."""
        log.error("a run waits for the machine: free disk space or descriptors", key=key, error=str(error))
        loop = asyncio.get_running_loop()
        loop.call_later(START_AGAIN_S, self._attempt, key, attempt)

    def _attempt(self, key: str, attempt: Callable[[], None]) -> None:
        """Once more, unless it was stopped meanwhile: then it never begins."""
        if key in self._open:
            if key in self._stopping:
                self._refuse(key, "never started")
            else:
                attempt()

    def abandon(self, key: str) -> None:
        """Make sure that an intent never begins: create its pid file here. If there is one, it has begun."""
        self._refuse(key, "never started")

    def _refuse(self, key: str, cause: str) -> None:
        try:
            self._files.claim(key)
        except FileExistsError:
            self._open.add(key)
            self._on_began(key)
            self._look(key)
        except OSError as error:
            self._open.add(key)
            self._again(key, error, lambda: self._refuse(key, cause))
        else:
            self._close(key)
            self._on_ended(key, self._files.gone(key, cause))

    def forget(self, keys: Collection[str]) -> None:
        """Remove the files of runs whose result and output are replicated, soon."""
        for key in keys:
            self._open.discard(key)
            self._rules.pop(key, None)
        self._files.remove(keys)

    def clear(self, is_forgotten: Callable[[str], bool]) -> None:
        """Remove the files of forgotten runs that a kill between forgetting and removing left. Call before `open`."""
        self._files.clear(is_forgotten)

    def output_size(self, key: str) -> int:
        """Bytes of output in the files of a run, 0 for none."""
        return self._files.output_size(key)

    def _ask_to_start(self, key: str) -> None:
        if self._writer is not None and key in self._requested:
            self._starting.add(key)
            self._ask(self._requested[key])

    def _ask(self, line: bytes) -> None:
        if self._writer is not None:
            self._writer.write(line)

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failed(error)

    async def _keep_connected(self) -> None:
        while True:
            try:
                reader = await self._connect()
            except OSError as error:
                log.warning("the keeper does not answer; it is started again", error=str(error))
                await asyncio.sleep(1.0)
                continue
            self._ask_again()
            with contextlib.suppress(OSError):
                await self._hear(reader)
            self._writer = None
            self._kept.clear()
            self._starting.clear()

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        """Until the keeper is gone: all that it says at a time in one go. Half a line is of one that was killed."""
        rest = b""
        while data := await reader.read(READ_BYTES):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._event(json.loads(line))

    def _ask_again(self) -> None:
        """A new keeper: what the last one was asked to start may have begun, or begins now unless it was stopped."""
        for key in list(self._requested):
            if key in self._stopping:
                self._refuse(key, "never started")
            self._ask_to_start(key)

    async def _connect(self) -> asyncio.StreamReader:
        address = socket_address(self._data, SOCKET_FILE)
        loop = asyncio.get_running_loop()
        deadline, again_at = loop.time() + KEEPER_START_S, 0.0
        keeper: subprocess.Popen[bytes] | None = None
        while True:
            try:
                reader, self._writer = await asyncio.open_unix_connection(address, limit=1 << 24)
                self._former = former_pid(self._data, self._writer.get_extra_info("socket"))
                return reader
            except OSError:
                if loop.time() > deadline:
                    raise
            if (keeper is None or keeper.poll() is not None) and loop.time() > again_at:
                keeper, again_at = start_keeper(self._data), loop.time() + KEEPER_AGAIN_S
            await asyncio.sleep(0.02)

    def _event(self, event: dict[str, Any]) -> None:
        match event:
            case {"event": "runs", "keys": keys}:
                self._kept = set(keys)
                for key in list(self._open):
                    self._look(key)
                for message in list(self._stopping.values()):
                    self._pass_on(message)
            case {"event": "began", "key": key}:
                self._starting.discard(key)
                self._kept.add(key)
                if self._requested.pop(key, None) is not None and key in self._stopping:
                    self._pass_on(self._stopping[key])
                self._on_began(key)
            case {"event": "failed", "key": key, "why": why} if key in self._requested:
                self._starting.discard(key)
                self._again(key, why, lambda: self._ask_to_start(key))
            case {"event": "exists" | "ended", "key": key}:
                self._requested.pop(key, None)
                self._starting.discard(key)
                if event["event"] == "ended":
                    self._kept.discard(key)
                self._look(key)
        self._let_former_go()

    def _let_former_go(self) -> None:
        """A keeper of another release that has nothing to keep ends; what is asked for next begins under this one's."""
        if self._former is not None and not self._kept and not self._requested:
            log.info("the keeper of another release ends: nothing runs under it", pid=self._former)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._former, signal.SIGTERM)
            self._former = None

    def _look(self, key: str) -> None:
        """Read what the files of an open run say, and report an end."""
        status = self._files.status(key, self._rules.get(key, NO_RULES))
        if status is not None and key in self._open:
            self._close(key)
            self._on_ended(key, status)
        elif status is None and key in self._open and self._files.pid(key) is not None:
            self._on_began(key)

    def _close(self, key: str) -> None:
        self._open.discard(key)
        self._limits.drop(key)
        self._rules.pop(key, None)
        self._requested.pop(key, None)
        self._starting.discard(key)
        self._stopping.pop(key, None)

    async def _watch_orphans(self) -> None:
        """Runs that no keeper holds: their exit status is lost; they are interrupted when they are gone."""
        while True:
            await asyncio.sleep(ORPHAN_POLL_S)
            if self._writer is None:
                continue
            gone = []
            for key in [k for k in self._open if k not in self._kept and k not in self._requested]:
                self._look(key)
                note = self._files.pid(key)
                if key not in self._open or note is None:
                    continue
                if not self._lives(key, note):
                    gone.append(key)
                elif self._limits.is_given_up(key, self._answered_us or self._opened_us):
                    self._kill_orphan(key)  # without an answer since this start of the agent, it counts from that
                elif self._limits.is_late(key, note) and key not in self._stopping:
                    self.stop(StopRun(key))
            if gone:
                self._conclude(gone)

    def _conclude(self, gone: list[str]) -> None:
        """These have no process and no status file: interrupted, unless their end is durable without one."""
        try:
            self._files.look_again()
        except OSError as error:
            log.error("it cannot be read how runs ended; it is tried again", keys=gone, error=str(error))
            return
        for key in gone:
            self._look(key)
            if key in self._open:
                self._close(key)
                self._on_ended(key, self._files.gone(key, "interrupted"))

    def _lives(self, key: str, note: dict[str, Any]) -> bool:
        """Whether the run has a process. The keeper may have been killed between starting it and noting its pid."""
        return is_same_process(note["pid"], note["created"]) if note else bool(self._orphan(key).pids())


def start_keeper(data: Path) -> subprocess.Popen[bytes]:
    """Start a keeper that outlives this process: its own session, no inherited descriptors, output to a file."""
    environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    with open(data / "keeper.log", "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "server.agent.keeper", str(data)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=environment,
            cwd=str(Path(__file__).resolve().parents[2]),
        )
    log.info("keeper started", pid=process.pid, socket=str(data / SOCKET_FILE))
    return process
