"""The files of runs, one folder of `runs/` each: what is written before a start, and what they say of a process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from server.agent.ends import RUNS, Status, restore
from server.agent.job_environment import write_checkpoint
from server.agent.output_file import OUTPUT_FILE
from server.agent.spare_folders import SPARE_PID, SPARE_STATUS, SpareFolders
from server.core.agent_memory import RunRecord
from server.core.agent_wire import Ended
from server.core.exit_rules import ExitRules, judge

NO_RULES = ExitRules()
USUAL_FILES = ("pid", "status", OUTPUT_FILE, SPARE_PID, SPARE_STATUS)


class RunFiles:
    """Of one agent's data directory. Its keeper writes most of them; see there what each says."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._runs = data / RUNS
        self._spares = SpareFolders(data)
        self._remover = ThreadPoolExecutor(1)
        self._unwritten: dict[str, Status] = {}

    def open(self, intents: Iterable[RunRecord] = ()) -> None:
        """Make the directory, and find what was lost of ends that are durable, those of `intents` also by name."""
        self._runs.mkdir(mode=0o700, exist_ok=True)
        self._unwritten = restore(self._data, {run.key: run.at_us for run in intents})
        self._remover.submit(self._spares.open)

    def look_again(self) -> None:
        """Find ends that are durable and whose files are not there. Call before a run is called interrupted.

        Raises OSError: nobody can say now.
        """
        self._unwritten |= restore(self._data)

    def close(self) -> None:
        """Leave; what is not removed yet is removed at the next start (`clear`)."""
        self._remover.shutdown(wait=False, cancel_futures=True)

    def prepare(self, run: RunRecord) -> Path:
        """The folder of a run with what its process is given. Raises OSError."""
        directory = self._runs / run.key
        if not self._spares.take(str(directory)):
            try:
                os.mkdir(directory, 0o700)
            except FileExistsError:
                if not directory.is_dir():
                    raise
        if run.specification.standard_input:
            beside = directory / "input.new"  # whoever reads the former one, asked for twice, reads it to its end
            beside.write_text(run.specification.standard_input, encoding="utf-8")
            os.replace(beside, directory / "input")
        write_checkpoint(run, directory)
        return directory

    def make_ahead(self, runs: int) -> None:
        """Have folders ready for so many runs at once, soon; call now and then while nothing begins."""
        if self._spares.lacks(runs):
            self._remover.submit(self._spares.make, runs)

    def claim(self, key: str) -> None:
        """Make sure that a key never begins, by its pid file. Raises FileExistsError: it has begun; other OSErrors."""
        directory = self._runs / key
        directory.mkdir(mode=0o700, exist_ok=True)
        os.close(os.open(directory / "pid", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))

    def pid(self, key: str) -> dict[str, Any] | None:
        """The pid file; {} when it is empty, None when there is none."""
        try:
            text = (self._runs / key / "pid").read_bytes()
        except OSError:
            return None
        with contextlib.suppress(ValueError):
            note: dict[str, Any] = json.loads(text)
            return note
        return {}

    def status(self, key: str, rules: ExitRules = NO_RULES) -> Ended | None:
        """How the run ended, by its rules; None while nobody knows."""
        try:
            status = json.loads((self._runs / key / "status").read_bytes())
        except (OSError, ValueError):
            if key not in self._unwritten:
                return None
            status = self._unwritten[key]
        found = status.get("found", [])
        verdict, why = ("", "") if status["cause"] else judge(rules, status["exit_code"], status["signal"], found)
        return Ended(
            exit_code=status["exit_code"],
            signal=status["signal"],
            started_at_us=status["started_at_us"],
            ended_at_us=status["ended_at_us"],
            output_bytes=status["output_bytes"],
            output_cut=status["output_cut"],
            cause=status["cause"],
            verdict=verdict,
            why=why,
            outputs=status.get("outputs", {}),
        )

    def gone(self, key: str, cause: str) -> Ended:
        """The end of a run whose exit status nobody knows; its output so far is kept."""
        note = self.pid(key) or {}
        try:
            ended_at_us = os.stat(self._runs / key / OUTPUT_FILE).st_mtime_ns // 1000
        except OSError:
            ended_at_us = note.get("at_us") or time.time_ns() // 1000
        return Ended(None, None, note.get("at_us"), ended_at_us, self.output_size(key), False, cause)

    def output_size(self, key: str) -> int:
        """Bytes of output, 0 for none."""
        try:
            return os.stat(self._runs / key / OUTPUT_FILE).st_size
        except OSError:
            return 0

    def remove(self, keys: Collection[str]) -> None:
        """Remove the folders soon, in a thread: a disk takes its time for each, and nobody waits for it."""
        for key in keys:
            self._unwritten.pop(key, None)
        if keys:
            self._remover.submit(self._remove, tuple(keys))

    def clear(self, is_forgotten: Callable[[str], bool]) -> None:
        """Remove the files of forgotten runs that a kill between forgetting and removing left. Call before `open`."""
        with contextlib.suppress(FileNotFoundError):
            self._remove([name for name in os.listdir(self._runs) if is_forgotten(name)])

    def _remove(self, keys: Collection[str]) -> None:
        for key in keys:
            folder = f"{self._runs}/{key}"
            if self._spares.give_back(folder):
                continue
            try:
                for name in USUAL_FILES:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(f"{folder}/{name}")
                os.rmdir(folder)
            except OSError:  # it has other files too
                shutil.rmtree(folder, ignore_errors=True)
