"""The environment variables of a run."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from server.agent.process_tree import RUN_VARIABLE
from server.core.agent_memory import RunRecord
from server.core.confidential import Opened
from server.core.model import Specification

CHECKPOINT_FILE = "checkpoint"
"""In the folder of a run that goes on from one: its bytes."""


COMMANDS = Path(sys.executable).parent
"""Where `understudy` is: a job calls it for checkpoints, progress and events."""


def path_with(path: str, directory: Path) -> str:
    """The search path with the directory as its last one: nothing that a job finds today is another program."""
    there = path.split(os.pathsep)
    is_there = str(directory) in there or not (directory / "understudy").exists()
    return path if is_there else os.pathsep.join([*there, str(directory)])


def no_secrets(specification: Specification) -> Opened:
    """For a runner without a key."""
    return Opened({}, ())


def job_environment(run: RunRecord, base: dict[str, str], secrets: dict[str, str]) -> dict[str, str]:
    """The agent's environment without its own settings, then the job's, then the names of the run.

    What an exception or an event says goes before a secret of the same name.
    """
    environment = {name: value for name, value in base.items() if not name.startswith("UNDERSTUDY_")}
    environment["PATH"] = path_with(base.get("PATH") or os.defpath, COMMANDS)
    environment.update(secrets)
    environment.update(run.specification.environment)
    environment[RUN_VARIABLE] = run.key
    environment["UNDERSTUDY_JOB"] = run.specification.job_name
    environment["UNDERSTUDY_ATTEMPT"] = str(run.attempt)
    environment["UNDERSTUDY_EPOCH"] = str(run.epoch_number)
    if run.scheduled_for_us is not None:
        moment = datetime.fromtimestamp(run.scheduled_for_us / 1e6, UTC)
        environment["UNDERSTUDY_SCHEDULED_FOR"] = moment.isoformat().replace("+00:00", "Z")
    return environment


def resume_environment(run: RunRecord, directory: Path) -> dict[str, str]:
    """Where a run that goes on from a checkpoint finds it; nothing for one that begins at the beginning."""
    if run.resume is None:
        return {}
    path = str(directory / CHECKPOINT_FILE)
    return {"UNDERSTUDY_CHECKPOINT": path, "UNDERSTUDY_CHECKPOINT_NUMBER": str(run.resume.number)}


def write_checkpoint(run: RunRecord, directory: Path) -> None:
    """Put what a run goes on from into its folder, for nobody else to read. Raises OSError: no room."""
    if run.resume is not None:
        anew = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with open(os.open(directory / CHECKPOINT_FILE, anew, 0o600), "wb") as file:
            file.write(run.resume.data)
