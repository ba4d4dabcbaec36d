"""One run as its keeper holds it: process, pipe, output, times; how it begins, and how its end is written down."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import subprocess
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from server.agent.output_file import OutputFile
from server.agent.platform import boot_clock_us
from server.agent.process_tree import Tree
from server.agent.spare_folders import put_status
from server.core.line_patterns import BadPattern, LinePattern
from server.core.step_outputs import OUTPUTS_BYTES_MAX, OUTPUTS_FILE, parse

JUDGED_BYTES = 1 << 19
"""Patterns are looked for in so much of the beginning of the kept output, and in so much of its end."""


@dataclass(slots=True)
class Child:
    """One run whose end is not yet on disk. `ended` is (exit code, signal) once the process was reaped.

    It ended as long after its beginning as the boot clock says: the wall clock may be set meanwhile.
    `created`: when its first process was, in the machine's own terms (`platform.created_at`).
    """

    key: str
    process: subprocess.Popen[bytes] | None
    pipe: int
    output: OutputFile
    started_at_us: int
    directory: Path
    tree: Tree
    created: float | None = None
    cause: str = ""
    ended: tuple[int | None, int | None] | None = None
    ended_at_us: int = 0
    deadline: float | None = None
    kill_at: float | None = None
    drain_until: float = 0.0
    look_at: float = 0.0
    stopped: bool = False
    give_up_after_us: int = 0
    answered_us: int = 0
    patterns: dict[str, str] = field(default_factory=dict)
    written: Future[None] | None = None
    is_durable: bool = False
    began_boot_us: int = field(default_factory=boot_clock_us)
    write_again_at: float = 0.0

    def reaped(self, code: int) -> None:
        """Its first process has ended: with a code, or -N by signal N."""
        self.ended = (code, None) if code >= 0 else (None, -code)
        self.ended_at_us = self.started_at_us + boot_clock_us() - self.began_boot_us


def spawn(request: dict[str, Any], directory: Path, writing: int) -> subprocess.Popen[bytes]:
    """Start the first process of a run, in a session of its own, in the control group that this process is in.

    Raises what `subprocess.Popen` does.
    """
    identity, environment = _identity(request["user"], request["environment"])
    with _given(directory) as reading:
        return subprocess.Popen(
            request["argv"],
            stdin=reading,
            stdout=writing,
            stderr=writing,
            cwd=request["directory"] or None,
            env=environment,
            start_new_session=True,
            close_fds=False,  # all of them close by themselves; one by one they would be as many as there are runs
            **identity,
        )


def _given(directory: Path) -> IO[bytes]:
    """The standard input of the run."""
    try:
        return open(directory / "input", "rb")
    except FileNotFoundError:
        return open(os.devnull, "rb")


def _identity(user: str, environment: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """What `Popen` needs to run as a user: with that user's groups and none of the agent's, and that user's home.

    Raises KeyError for an unknown one; that another needs an agent that runs as root, `Popen` says.
    """
    if not user:
        return {}, environment
    account = pwd.getpwnam(user)
    told = {"HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name, "SHELL": account.pw_shell}
    changed = {name: value for name, value in told.items() if environment.get(name) == os.environ.get(name)}
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        groups = os.getgrouplist(user, account.pw_gid)
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups}
    elif account.pw_uid != os.geteuid():
        identity = {"user": account.pw_uid}
    return identity, environment | changed


def _outputs(directory: Path) -> dict[str, str]:
    """What the run told those after it: durable with its exit status. A pipe in its place holds up nobody."""
    try:
        with open(os.open(directory / OUTPUTS_FILE, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            return parse(file.read(OUTPUTS_BYTES_MAX + 1))
    except OSError:
        return {}


def finish(child: Child) -> dict[str, Any]:
    """Make the output durable; returns how the run ended. Raises OSError, and then it may be called again."""
    size, cut = child.output.finish()
    exit_code, number = child.ended or (None, None)
    return {
        "exit_code": exit_code,
        "signal": number,
        "started_at_us": child.started_at_us,
        "ended_at_us": child.ended_at_us or child.started_at_us,
        "output_bytes": size,
        "output_cut": cut,
        "cause": child.cause,
        "found": _found(child.patterns, child.output.read_ends(JUDGED_BYTES)) if child.patterns else [],
        "outputs": _outputs(child.directory),
    }


def write_status(directory: Path, status: dict[str, Any]) -> None:
    """Say how the run ended, where everybody looks; durable is it in `ends` already. Raises OSError.

    In a folder of its own where somebody removed the run's: otherwise it would never end.
    """
    data = json.dumps(status).encode()
    with contextlib.suppress(FileNotFoundError):
        put_status(str(directory), data)
        return
    os.mkdir(directory, 0o700)
    put_status(str(directory), data)


def _found(patterns: dict[str, str], parts: list[bytes]) -> list[str]:
    """Names of the patterns that the output holds."""
    found = []
    for name, text in patterns.items():
        try:
            pattern = LinePattern(text)
        except BadPattern:  # of a master of a later release
            continue
        if any(pattern.seen_in(part) for part in parts):
            found.append(name)
    return found
