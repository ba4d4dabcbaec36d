"""What of a job refers to others by name: variables, an environment, a command set, tags. For `actions.jobs`."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from server.actions import environments, resources, variables
from server.core.job_uses import Uses
from server.core.model import Job
from server.storage import environments as rows
from server.storage import limits, tags

if TYPE_CHECKING:
    from server.actions.jobs import JobSpec


def columns(connection: sqlite3.Connection, job_id: int | None, spec: JobSpec) -> dict[str, object]:
    """The columns that stand for names. Raises NotFound for one, Invalid for variables that are not there."""
    variables.check_texts(connection, job_id, _clear(spec), _environments(spec))
    resources.check(connection, spec.limits.resources)
    environment, commands = spec.uses.environment, spec.uses.command_set
    return {
        "environment_id": environments.find(connection, environment).id if environment else None,
        "command_set_id": environments.find_set(connection, commands).id if commands else None,
    }


def note(connection: sqlite3.Connection, job_id: int, spec: JobSpec) -> None:
    """Remember what the job names, inside the caller's change."""
    variables.note_uses(connection, "job", job_id, _clear(spec).values(), _environments(spec))
    tags.put(connection, "job", job_id, spec.tags)
    limits.mark(connection, job_id, spec.limits)


def of_job(connection: sqlite3.Connection, job: Job) -> Uses:
    """The names again."""
    environment = rows.get(connection, job.environment_id) if job.environment_id is not None else None
    commands = rows.get_set(connection, job.command_set_id) if job.command_set_id is not None else None
    return Uses(
        environment=environment.name if environment is not None else "",
        command_set=commands.name if commands is not None else "",
    )


def _clear(spec: JobSpec) -> dict[str, str]:
    """The texts of a job that people see, and where a variable may be named."""
    fields = ("command", "working_directory", "run_as", "standard_input")
    own = {f"special_instances.{one.name}.command": one.command for one in spec.special_instances}
    if spec.workflow:  # what a workflow's run is given is kept with it as it is
        own["environment"] = "\n".join(value for one in _given(spec) for value in one.values())
    return {field: getattr(spec, field) for field in fields} | own


def _given(spec: JobSpec) -> list[dict[str, str]]:
    return [spec.environment, *(one.environment for one in spec.special_instances)]


def _environments(spec: JobSpec) -> list[str]:
    """The values of its variables, those of special instances included."""
    return [value for environment in _given(spec) for value in environment.values()]
