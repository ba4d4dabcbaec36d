"""Real processes for tests: started, signalled by pid, waited for with a deadline, and always ended."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TypeVar

import psutil

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
DEADLINE_S = 60.0
"""How long anything is waited for. A limit for what hangs, not a promise about speed."""

POLL_S = 0.05
PORTS = range(12_000, 32_000)
"""Below those that Linux gives to outgoing connections (ip_local_port_range begins at 32768)."""
COMMAND_DEADLINE_S = 90.0
VARYING = re.compile(r'"timestamp".*|0x[0-9a-f]+')
"""What differs between repetitions of one log line."""

T = TypeVar("T")


class TimedOut(AssertionError):
    """Something awaited did not come; the text has what was seen last and the ends of the logs."""


def wait_for(what: str, question: Callable[[], T | None], deadline_s: float = DEADLINE_S) -> T:
    """Ask until the answer is true and return it. `what` is a sentence for whoever reads the failure."""
    end = time.monotonic() + deadline_s
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > end:
            raise TimedOut(f"waited {deadline_s:g} s in vain: {what}; last answer {answer!r}")
        time.sleep(POLL_S)


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on now, nor gets for a connection while the program that owns it is down."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            return port


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This environment without settings of Understudy, so that a test means the same everywhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("UNDERSTUDY_")}
    return {**kept, "PYTHONUNBUFFERED": "1", **(extra or {})}


def command(*words: str, text: str = "", extra: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Type one command and wait for its end. The first word is one of the console scripts."""
    try:
        return subprocess.run(
            [str(BIN / words[0]), *words[1:]],
            cwd=ROOT,
            env=clean_environment(extra),
            input=text,
            capture_output=True,
            text=True,
            timeout=COMMAND_DEADLINE_S,
        )
    except subprocess.TimeoutExpired as late:
        shown = b"".join(part for part in (late.stdout, late.stderr) if isinstance(part, bytes)).decode()
        raise TimedOut(f"$ {' '.join(words)} did not end within {COMMAND_DEADLINE_S:g} s\n{shown}") from None


class Program:
    """One process that runs until it is stopped. Its output goes to `log`, appended over restarts."""

    def __init__(self, name: str, words: list[str], log: Path, extra: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.words = words
        self.log = log
        self.extra = dict(extra or {})
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Program:
        """Start it; it must not be running."""
        assert not self.running, f"{self.name} runs already"
        with self.log.open("ab") as output:
            self.process = self._spawn(output)
        return self

    def _spawn(self, output: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.words,
            cwd=ROOT,
            env=clean_environment(self.extra),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to this process alone, by its pid."""
        assert self.process is not None
        if self.running:
            os.kill(self.process.pid, number)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.send(signal.SIGKILL)
        self.wait()

    def stop(self, deadline_s: float = DEADLINE_S) -> int:
        """SIGTERM, and wait for the exit code."""
        self.send(signal.SIGTERM)
        return self.wait(deadline_s)

    def wait(self, deadline_s: float = DEADLINE_S) -> int:
        """Wait for the end; the exit code."""
        assert self.process is not None
        try:
            return self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise TimedOut(f"{self.name} did not end within {deadline_s:g} s\n{self.tail()}") from None

    def tail(self, lines: int = 12) -> str:
        """The last different lines it printed, each cut to what fits a screen; of a traceback, its end."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        last: dict[str, str] = {}
        for line in text.splitlines():
            last.pop(VARYING.sub("", line), None)
            last[VARYING.sub("", line)] = line
        return "\n".join([f"--- {self.name}", *(_cut(line) for line in list(last.values())[-lines:])])


def _cut(line: str) -> str:
    return line if len(line) < 300 else f"{line[:100]} ... {line[-200:]}"


def until_there(file: Path, within_s: int = 120) -> str:
    """Shell: wait until a file is there, but not for ever: the test that would have made it may have been killed."""
    return f"n=0; while [ ! -e {file} ] && [ $n -lt {within_s * 20} ]; do sleep 0.05; n=$((n + 1)); done"


def end_everything_in(directory: Path) -> None:
    """End, by pid, every process whose command line names this directory: keepers outlive their agents."""
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    for process in psutil.process_iter(["pid"]):
        with contextlib.suppress(psutil.Error):
            if process.pid not in spared and any(str(directory) in word for word in process.cmdline()):
                process.kill()
                process.wait(5)
