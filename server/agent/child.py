"""One run as its keeper holds it: process, pipe, output, times; how it begins, and how its end is written down."""

from __future__ import annotations

import json
import os
import subprocess
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.agent.output_file import OutputFile
from server.agent.platform import sync_file
from server.agent.process_tree import Tree


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
    written: Future[None] | None = None


def spawn(request: dict[str, Any], directory: Path, writing: int) -> subprocess.Popen[bytes]:
    """Start the first process of a run, in a session of its own. Raises what `subprocess.Popen` does."""
    given = directory / "input"
    with open(given if given.exists() else os.devnull, "rb") as reading:
        return subprocess.Popen(
            request["argv"],
            stdin=reading,
            stdout=writing,
            stderr=writing,
            cwd=request["directory"] or None,
            env=request["environment"],
            start_new_session=True,
            user=request["user"] or None,
        )


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
    }
    beside = child.directory / "status.new"
    with open(beside, "wb") as file:
        file.write(json.dumps(status).encode())
        file.flush()
        sync_file(file.fileno())
    os.replace(beside, child.directory / "status")
