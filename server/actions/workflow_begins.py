"""Runs of jobs that begin a workflow. By the program itself: for the scheduler, and a follower of happenings.

Such a run belongs to no agent: its doing is a workflow's run with the same key. Both rows are written in one change, so
it begins once, whatever crashes or fails over. From then on the run stands as the workflow's run does.
"""

from __future__ import annotations

import sqlite3
from functools import partial

from server.actions import debts, job_workflows, workflow_engine
from server.actions.change import Change, Transaction
from server.actions.quarantine import guarded
from server.core.happenings import Happening, Kind
from server.core.model import Run
from server.core.run_states import ENDED, RunEvent, RunState, step
from server.core.workflow_runs import WorkflowRun
from server.core.workflow_states import WORKFLOW_ENDED, WorkflowState
from server.storage import debts as debt_rows
from server.storage import happenings, jobs, runs, workflow_runs, workflows
from server.storage import job_workflows as rows

WATCHER = "jobs"
_ENDS = {
    WorkflowState.SUCCEEDED: RunEvent.SUCCEEDED,
    WorkflowState.FAILED: RunEvent.FAILED,
    WorkflowState.CANCELLED: RunEvent.CANCELLED,
}


def has_work(connection: sqlite3.Connection) -> bool:
    """A query: would `begin_due` do something?"""
    return bool(rows.to_begin(connection, 1) or rows.to_stop(connection, 1))


def begin_due(now_us: int) -> Change[int]:
    """Begin the workflows of runs that nothing stops, and stop those of runs that somebody wants ended.

    Returns how many runs were looked at, 0 at the end.
    """

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        begin, stop = rows.to_begin(connection), rows.to_stop(connection)
        for run in begin:
            do = partial(_begin, connection, run, now_us)
            guarded(connection, "begin", run.number, run.job_id, now_us, do)
        for run in stop:
            _stop(connection, run, now_us)
        return len(begin) + len(stop)

    return change


def follow(connection: sqlite3.Connection, happening: Happening, now_us: int) -> None:
    """A workflow's run changed: the job's run that began it stands as that does."""
    if happening.kind != Kind.WORKFLOW:
        return
    found = workflow_runs.get(connection, happening.subject)
    run = runs.by_key(connection, found.key) if found is not None else None
    if found is not None and run is not None:
        _stand(connection, run, found, now_us)


def _begin(connection: sqlite3.Connection, run: Run, now_us: int) -> None:
    job = jobs.get(connection, run.job_id)
    is_there = job is not None and job.deleted_at_us is None
    workflow = workflows.get(connection, job.begins_workflow_id or 0) if job is not None and is_there else None
    if job is None or workflow is None or workflow.deleted_at_us is not None:
        why = "the job begins no workflow any more" if is_there else "job deleted"
        runs.set_state(connection, run.number, step(run.state, RunEvent.CANCELLED), now_us, why)
        return
    if debts.must_wait(connection, debt_rows.latest(connection), run):
        debts.withhold_run(connection, run, now_us)
        return
    why_not = job_workflows.why_waits(connection, job)
    if why_not is not None:
        runs.set_state(connection, run.number, step(run.state, RunEvent.GATED), now_us, why_not)
        return
    happenings.watch(connection, Kind.WORKFLOW, workflow.id, WATCHER)
    state = step(run.state, RunEvent.STARTED)
    runs.set_state(connection, run.number, state, now_us, started_at_us=now_us)
    asked, given = f"job {job.name}", job_workflows.variables_of(connection, job, run)
    workflow_engine.start(connection, workflow, run.key, given, asked, now_us, job.timeout_s)


def _stop(connection: sqlite3.Connection, run: Run, now_us: int) -> None:
    runs.update(connection, run.number, stop_sent_at_us=run.cancel_requested_at_us)
    found = workflow_runs.by_key(connection, run.key)
    if found is not None and found.state not in WORKFLOW_ENDED:
        workflow_engine.stop(connection, found, run.cancel_kill, run.cancel_requested_by, now_us)


def _stand(connection: sqlite3.Connection, run: Run, found: WorkflowRun, now_us: int) -> None:
    """What has ended stays so: a workflow's run that goes on afterwards is not the job's any more."""
    if run.state in ENDED:
        return
    event = _ENDS.get(WorkflowState(found.state))
    if event is not None:
        event = RunEvent.KILLED if event is RunEvent.CANCELLED and run.cancel_kill else event
        values = {"ended_at_us": found.ended_at_us or now_us}
        runs.set_state(connection, run.number, step(run.state, event), now_us, found.reason, **values)
        return
    is_plain = found.state == WorkflowState.RUNNING
    why = "" if is_plain else f"workflow run {found.id} is {found.state}{': ' if found.reason else ''}{found.reason}"
    if run.state == RunState.RUNNING and run.reason != why:
        runs.update(connection, run.number, reason=why)
