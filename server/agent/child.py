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
from typing import Any

from server.agent.control_group import enter
from server.agent.output_file import OutputFile
from server.agent.platform import sync_file
from server.agent.process_tree import Tree
from server.core.line_patterns import BadPattern, LinePattern
from server.core.step_outputs import OUTPUTS_BYTES_MAX, OUTPUTS_FILE, parse

JUDGED_BYTES = 1 << 19
"""Patterns are looked for in so much of the beginning of the kept output, and in so much of its end."""

GATE = 'read -r _ <&2 || exit 125; exec 2>&1; exec "$@"'
"""A shell that becomes the job once the keeper lets it: standard error is the gate until then, the job's afterwards.

What a process forks before it is in its control group is not in there, and a stop would not find it. A keeper that dies
in between closes the gate: the job never begins.
"""


@dataclass(slots=True)
class Child:
    """One run whose end is not yet on disk. `ended` is (exit code, signal) once the process was reaped."""

    key: str
    process: subprocess.Popen[bytes] | None
    pipe: int
    output: OutputFile
    started_at_us: int
    directory: Path
    tree: Tree
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
    write_again_at: float = 0.0


def spawn(request: dict[str, Any], directory: Path, writing: int, group: Path | None = None) -> subprocess.Popen[bytes]:
    """Start the first process of a run, in a session of its own and in the control group of the run, if it has one.

    Raises what `subprocess.Popen` does.
    """
    if group is None:
        return _popen(request, request["argv"], directory, writing, writing)
    gate, release = os.pipe()
    try:
        process = _popen(request, ["/bin/sh", "-c", GATE, "sh", *request["argv"]], directory, writing, gate)
        enter(group, process.pid)
        with contextlib.suppress(OSError):  # killed meanwhile
            os.write(release, b"\n")
    finally:
        os.close(gate)
        os.close(release)
    return process


def _popen(
    request: dict[str, Any], argv: list[str], directory: Path, writing: int, errors: int
) -> subprocess.Popen[bytes]:
    identity, environment = _identity(request["user"], request["environment"])
    given = directory / "input"
    with open(given if given.exists() else os.devnull, "rb") as reading:
        return subprocess.Popen(
            argv,
            stdin=reading,
            stdout=writing,
            stderr=errors,
            cwd=request["directory"] or None,
            env=environment,
            start_new_session=True,
            **identity,
        )


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
    """What the run told those after it: durable with its exit status."""
    try:
        with open(directory / OUTPUTS_FILE, "rb") as file:
            return parse(file.read(OUTPUTS_BYTES_MAX + 1))
    except OSError:
        return {}


def write_status(child: Child) -> None:
    """Make output and exit status durable. Raises OSError; nothing is there then, and it may be called again."""
    size, cut = child.output.finish()
    exit_code, number = child.ended or (None, None)
    status = {
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
    beside = child.directory / "status.new"
    with open(beside, "wb") as file:
        file.write(json.dumps(status).encode())
        file.flush()
        sync_file(file.fileno())
    os.replace(beside, child.directory / "status")


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
