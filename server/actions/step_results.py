"""What the items of a workflow's steps have come to, by their runs. For the engine of workflows."""

from __future__ import annotations

import sqlite3

from server.core.happenings import Happening, Kind
from server.core.model import Run
from server.core.run_keys import parse_key
from server.core.run_states import ENDED, RunState
from server.core.silence import why_not_again
from server.core.workflow_runs import ItemName, StepRow, WorkflowRun, parse_request_id
from server.core.workflow_states import WORKFLOW_ENDED, StepState, WorkflowState, phases
from server.core.workflows import WorkflowSpec
from server.errors import Conflict
from server.storage import agents, happenings, jobs, runs, workflow_runs, workflows

WATCHER = "workflows"


def name_of(run: Run) -> ItemName | None:
    """The item that a run is of by its key; None for a run of no workflow."""
    return parse_request_id(parse_key(run.key).request_id)


def spec_of(connection: sqlite3.Connection, run: WorkflowRun) -> WorkflowSpec:
    """What the version says that a run goes on with."""
    version = workflows.version(connection, run.workflow_id, run.version)
    assert version is not None, "versions stay as long as runs"
    return version.spec


def items_of(connection: sqlite3.Connection, run: WorkflowRun, spec: WorkflowSpec) -> dict[str, list[StepState]]:
    """The states of the items of each step, by its name."""
    found = workflow_runs.states(connection, run.id)
    return {step.name: found[index] for index, step in enumerate(spec.steps) if index in found}


def phases_of(connection: sqlite3.Connection, run: WorkflowRun, spec: WorkflowSpec) -> dict[str, StepState | None]:
    """The state of every step; None of one that has not begun, or is to run again."""
    return phases(spec, items_of(connection, run, spec))


def is_attempt_of(connection: sqlite3.Connection, run: Run, number: int) -> bool:
    known = runs.get(connection, number)
    return known is not None and known.key.rpartition(".a")[0] == run.key.rpartition(".a")[0]


def is_ahead(connection: sqlite3.Connection, run: Run, happening: Happening) -> bool:
    """Whether the latest attempt's end is told by a later happening, at which its job's rule is asked first."""
    newest = workflow_runs.newest_attempt(connection, run.key)
    if newest is None or newest.state not in ENDED:
        return False
    return (newest.number, newest.state) != (happening.subject, happening.status)


def refuse_settled(connection: sqlite3.Connection, run: Run) -> None:
    """Conflict when a run is of a step whose end counts already: what follows from it may have begun."""
    name = name_of(run)
    row = workflow_runs.item(connection, name) if name is not None and run.workflow_run is not None else None
    if row is not None and row.state not in (StepState.OPEN, StepState.LOST):
        raise Conflict(
            f"Run {run.number} is a step of a workflow, which goes by its end already. Let that go on: "
            f"understudy workflow resume {run.workflow_run}"
        )


def settle(connection: sqlite3.Connection, name: ItemName, now_us: int) -> bool:
    """Write what the latest attempt of an item has come to; False when nothing changed by that."""
    row = workflow_runs.item(connection, name)
    if row is None or row.state not in (StepState.OPEN, StepState.LOST):
        return False
    values: dict[str, object] = {}
    if row.sub_run is not None:
        state, reason, outputs = _of_workflow(connection, row.sub_run)
        values["outputs"] = outputs
    elif row.run is not None:
        run = runs.get(connection, row.run)
        newest = workflow_runs.newest_attempt(connection, run.key) if run is not None else None
        if newest is None:
            return False
        state, reason = _of_run(connection, newest)
        values = {"run": newest.number, "attempt": newest.attempt}
        if newest.state in ENDED:
            _unwatch(connection, newest.job_id, row, state)
    else:
        return False
    if (state, reason, values.get("run", row.run)) == (row.state, row.reason, row.run):
        return False
    ended_at_us = None if state in (StepState.OPEN, StepState.LOST) else now_us
    workflow_runs.update_item(connection, name, state=state, reason=reason, ended_at_us=ended_at_us, **values)
    return True


def _of_run(connection: sqlite3.Connection, run: Run) -> tuple[StepState, str]:
    """How a step stands by its run. An unknown one is lost once nobody can have it any more, and not before."""
    match run.state:
        case RunState.SUCCEEDED:
            return StepState.SUCCEEDED, ""
        case RunState.INTERRUPTED:
            return StepState.LOST, run.reason or "its process is gone"
        case RunState.UNKNOWN if not why_not_again(run, agents.get(connection, run.agent_id), ""):
            return StepState.LOST, run.reason
        case state if state in ENDED:
            return StepState.FAILED, run.reason or _exit(run)
        case _:
            return StepState.OPEN, run.reason


def _exit(run: Run) -> str:
    return f"signal {run.signal}" if run.signal is not None else f"exit code {run.exit_code}"


def _of_workflow(connection: sqlite3.Connection, number: int) -> tuple[StepState, str, dict[str, str]]:
    sub = workflow_runs.get(connection, number)
    if sub is None:
        return StepState.LOST, "its run is gone", {}
    said = f"workflow run {sub.id} is {sub.state}" + (f": {sub.reason}" if sub.reason else "")
    if sub.state == WorkflowState.SUCCEEDED:
        outputs: dict[str, str] = {}
        for row in workflow_runs.items(connection, sub.id):
            outputs |= row.outputs
        return StepState.SUCCEEDED, "", outputs
    return (StepState.FAILED if sub.state in WORKFLOW_ENDED else StepState.OPEN), said, {}


def _unwatch(connection: sqlite3.Connection, job_id: int, row: StepRow, state: StepState) -> None:
    """A job with a name of its own is watched only while a step waits for it."""
    job = jobs.get(connection, job_id)
    still_open = state in (StepState.OPEN, StepState.LOST) or row.state == StepState.LOST
    if still_open or job is None or job.workflow_id is not None:
        return
    if workflow_runs.count_awaiting(connection, job_id) <= 1:
        happenings.unwatch(connection, Kind.RUN, job_id, WATCHER)
