"""A job that begins a workflow instead of running a command (docs/workflow-runs.md). For `actions.jobs`.

What its runs do is in `actions.workflow_begins`.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from server.actions.workflows import find
from server.core.exit_rules import ExitRules
from server.core.job_uses import Uses
from server.core.model import Job, Run
from server.core.special_instances import VARIABLE, applied
from server.core.workflow_runs import wrong_variables
from server.errors import Conflict
from server.storage import exceptions, specifications, workflows
from server.storage import job_workflows as rows

if TYPE_CHECKING:
    from server.actions.jobs import JobSpec

HELD = "its workflow is held"
"""Why a run waits."""
_OF_STEPS = ("command", "agent", "group", "working_directory", "run_as", "standard_input")


def wrong(spec: JobSpec) -> dict[str, str]:
    """What of a job has no meaning beside a workflow, by field: it belongs to the workflow's steps."""
    if not spec.workflow:
        return {}
    said = [field for field in _OF_STEPS if getattr(spec, field)]
    said += ["give_up_after_s"] if spec.give_up_after_s else []
    said += ["exit_rules"] if spec.exit_rules != ExitRules() else []
    said += ["uses"] if spec.uses != Uses() else []
    said += ["checkpoints"] if spec.checkpoints.restartable else []
    said += ["special_instances"] if any(one.command for one in spec.special_instances) else []
    found = {field: "belongs to the steps of the workflow: leave it out here" for field in said}
    given = {
        "environment": [spec.environment],
        "special_instances": [one.environment for one in spec.special_instances],
    }
    for field, environments in given.items():
        for environment in environments:
            if why := wrong_variables(environment):
                found[field] = why
    return found


def variables_of(connection: sqlite3.Connection, job: Job, run: Run) -> dict[str, str]:
    """What the run gives to its workflow, in the clear: variables of the job, its special instance, its occurrence."""
    given = applied(job, run.instance).environment
    if run.schedule_id is not None and run.scheduled_for_us is not None:
        special = exceptions.of_occurrence(connection, run.schedule_id, run.scheduled_for_us)
        given = {**given, **((special.environment if special is not None else None) or {})}
    found = specifications.environment(connection, job, given)
    return found | ({VARIABLE: run.instance} if run.instance else {})


def id_of(connection: sqlite3.Connection, spec: JobSpec, name: str) -> int | None:
    """The workflow that it names, None for none; `name`: what the job is called until now.

    Raises NotFound; Conflict for a job that is a step: a workflow would be inside itself, unseen.
    """
    if not spec.workflow:
        return None
    users = workflows.users(connection, "job", name)
    if users:
        raise Conflict(f"{name} is a step of {', '.join(users)}: it cannot begin a workflow. Name that as the step.")
    return find(connection, spec.workflow).id


def name_of(connection: sqlite3.Connection, job: Job) -> str:
    """The name of the workflow that it begins, "" for none."""
    found = workflows.get(connection, job.begins_workflow_id) if job.begins_workflow_id is not None else None
    return found.name if found is not None else ""


def why_waits(connection: sqlite3.Connection, job: Job | None) -> str | None:
    """Why a run of it may not begin its workflow now, or None."""
    if job is None or job.begins_workflow_id is None or not rows.is_held(connection, job.begins_workflow_id):
        return None
    return HELD
