"""The jobs that stand for steps with a command. By the program itself: for the engine of workflows.

Such a job is a row of `jobs` that belongs to a step of a version: in no list of jobs, without schedules, named as no
person can name one. So agents, groups, gates, stops, output and history are those of every run.
"""

from __future__ import annotations

import contextlib
import sqlite3

import msgspec

from server.actions import agents as agent_actions
from server.actions import groups as group_actions
from server.actions.jobs import find as find_job
from server.actions.step_results import WATCHER
from server.core.happenings import Kind
from server.core.model import Job
from server.core.run_keys import request_key
from server.core.workflow_runs import ItemName, WorkflowRun, request_id
from server.core.workflows import WorkflowSpec, WorkflowStep
from server.errors import Conflict, UnderstudyError
from server.storage import agents, groups, happenings, jobs, tenancy, workflow_runs, workflows


def of_step(
    connection: sqlite3.Connection, run: WorkflowRun, spec: WorkflowSpec, step: WorkflowStep, now_us: int
) -> Job:
    """The job that a step submits, with the place where it runs now. Raises NotFound or Conflict, saying what to do."""
    whole, connection = connection, tenancy.within(connection, workflows.tenant(connection, run.workflow_id))
    place = run.places.get(step.name, "")
    if step.job:
        job = find_job(connection, step.job)
        agent_id = _named(connection, place) if place else job.agent_id
    else:
        agent_id = _named(connection, place) if place else _place(connection, spec, step)
        job = _own(connection, run, spec, step, agent_id, now_us)
    if agents.is_gone(connection, agent_id):
        raise Conflict(
            "its machine was declared dead or replaced. Let it run elsewhere: "
            f"understudy workflow resume {run.id} --step {step.name} --on OTHER"
        )
    return msgspec.structs.replace(jobs.get(whole, job.id) or job, agent_id=agent_id)


def next_key(connection: sqlite3.Connection, job: Job, name: ItemName, known: int) -> tuple[int, str]:
    """The number and key of the item's next attempt; `known` is the number of the last one that the item knows."""
    key = request_key(job.id, request_id(name), known + 1)
    newest = workflow_runs.newest_attempt(connection, key)
    attempt = max(known, newest.attempt if newest is not None else 0) + 1
    return attempt, request_key(job.id, request_id(name), attempt)


def prepare(connection: sqlite3.Connection, run: WorkflowRun, spec: WorkflowSpec, now_us: int) -> None:
    """Make the jobs of all steps with a command, watched, in the change that makes the workflow's run.

    So the keys of its steps' runs are known to whoever knows that run: an agent that begins one of them is understood
    by a later master too, whatever that has lost. What is wrong with a step is said when it begins.
    """
    for step in spec.steps:
        if step.command:
            with contextlib.suppress(UnderstudyError):
                happenings.watch(connection, Kind.RUN, of_step(connection, run, spec, step, now_us).id, WATCHER)


def _own(
    connection: sqlite3.Connection, run: WorkflowRun, spec: WorkflowSpec, step: WorkflowStep, agent_id: str, now_us: int
) -> Job:
    found = workflow_runs.job_of_step(connection, run.workflow_id, run.version, step.name)
    if found is not None:
        if found.agent_id != agent_id:
            jobs.update(connection, found.id, agent_id=agent_id)
        return found
    job_id = jobs.insert(
        connection,
        name=_free_name(connection, f"{spec.name}@{run.version}/{step.name}", run.workflow_id),
        command=step.command,
        agent_id=agent_id,
        working_directory=step.working_directory,
        run_as=step.run_as,
        timeout_s=step.timeout_s,
        retry=step.retry,
        description=f"Step {step.name} of the workflow {spec.name}, version {run.version}",
        version=1,
        planned_version=1,
        created_at_us=now_us,
        updated_at_us=now_us,
        workflow_id=run.workflow_id,
        workflow_version=run.version,
        workflow_step=step.name,
    )
    made = jobs.get(connection, job_id)
    assert made is not None, "it was inserted just now"
    return made


def _free_name(connection: sqlite3.Connection, name: str, workflow_id: int) -> str:
    """A workflow of that name may have been deleted: its steps' jobs keep their names."""
    return f"{name} ({workflow_id})" if jobs.has_name(connection, name) else name


def _place(connection: sqlite3.Connection, spec: WorkflowSpec, step: WorkflowStep) -> str:
    """The id of the agent or group that the step runs on; the workflow's when it does not say."""
    named = step if step.agent or step.group else spec
    if named.group:
        return group_actions.find(connection, named.group).id
    return agent_actions.find(connection, named.agent).id


def _named(connection: sqlite3.Connection, name: str) -> str:
    group = groups.by_name(connection, name)
    return group.id if group is not None else agent_actions.find(connection, name).id


def check_place(connection: sqlite3.Connection, name: str) -> None:
    """Raise NotFound or Conflict unless it is a group, or an agent that is there."""
    if agents.is_gone(connection, _named(connection, name)):
        raise Conflict(f"{name} was declared dead or replaced. Name another agent or a group.")
