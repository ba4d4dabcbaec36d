"""Steps that agents began by themselves, and those that they may have begun. By the program itself.

Each function writes inside the caller's change: that which records what an agent reports, or that which advances a
workflow's run. Whatever the master decided meanwhile, a run that began is its step's run: what was cancelled is
stopped, what was suspended is suspended, what the workflow went on without is stopped and stays on record. None of it
is begun a second time: the key says which attempt of which item it is, and the next attempt has another number.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from server.actions import runs as run_actions
from server.actions.step_results import WATCHER, name_of
from server.core.checkpoints import WATCHER as CHECKPOINTS
from server.core.happenings import Kind
from server.core.model import Run
from server.core.run_keys import parse_key
from server.core.run_states import ENDED
from server.core.silence import is_gone
from server.core.workflow_runs import ItemName, WorkflowRun
from server.core.workflow_states import WORKFLOW_ENDED, StepState
from server.storage import agents, happenings, jobs, runs, specifications, step_chains, workflow_runs

MAY_HAVE_RUN = "its machine was declared dead: it may have begun there by itself, behind the step before it"


def begun(
    connection: sqlite3.Connection, agent_id: str, ended: Run, keys: Sequence[str], epoch: int, at_us: int
) -> None:
    """The end of a step at its agent began these: their runs, in the change that records the end.

    So nobody who looks at that end finds them not begun.
    """
    for key in keys:
        known = runs.by_key(connection, key)
        if known is None:
            _insert(connection, agent_id, key, epoch, at_us)
        elif known.agent_id == agent_id and known.dispatched_epoch is None and known.state not in ENDED:
            runs.update(connection, known.number, dispatched_epoch=epoch)
    name = name_of(ended)
    if name is not None and not keys and not _has_more_there(connection, name, ended):
        step_chains.remove(connection, name.workflow_run, agent_id)


def _insert(connection: sqlite3.Connection, agent_id: str, key: str, epoch: int, at_us: int) -> None:
    named = parse_key(key)
    job = jobs.get(connection, named.job_id)
    if job is None or job.workflow_id is None:
        return  # a lost master's: the report of its begin goes to Server History
    command = specifications.command(connection, job)
    more = {"attempt": named.attempt, "dispatched_epoch": epoch}
    number = runs.insert(connection, key, job.id, agent_id, command, "starting", at_us, **more)
    claim(connection, run_actions.find(connection, number), at_us)


def _has_more_there(connection: sqlite3.Connection, name: ItemName, ended: Run) -> bool:
    """Whether another step of the same workflow's run is open at the agent: its chain may go on."""
    open_runs = [row.run for row in workflow_runs.open_items(connection, name.workflow_run) if row.run != ended.number]
    found = [runs.get(connection, number) for number in open_runs if number is not None]
    return any(run is not None and run.agent_id == ended.agent_id and run.state not in ENDED for run in found)


def claim(connection: sqlite3.Connection, run: Run, now_us: int) -> None:
    """A run that nobody here submitted is a step's, by its key: the item's latest attempt from now on."""
    name = name_of(run)
    found = workflow_runs.get(connection, name.workflow_run) if name is not None else None
    if name is None or found is None:
        return
    row = workflow_runs.item(connection, name)
    former = runs.get(connection, row.run) if row is not None and row.run is not None else None
    if former is not None and former.key.rpartition(".a")[0] != run.key.rpartition(".a")[0]:
        return  # another job does the step now
    is_open = row is None or row.state in (StepState.OPEN, StepState.LOST, StepState.AGAIN)
    if row is None:
        workflow_runs.insert_item(connection, name, StepState.OPEN, now_us)
    if row is None or (is_open and run.attempt > row.attempt):
        values = {"run": run.number, "attempt": run.attempt, "begun_at_us": now_us, "ended_at_us": None}
        workflow_runs.update_item(connection, name, state=StepState.OPEN, reason="", **values)
    asked_by = run.requested_by or f"workflow {found.id}"
    runs.update(connection, run.number, workflow_run=found.id, requested_by=asked_by)
    happenings.watch(connection, Kind.RUN, run.job_id, WATCHER)
    if run.state not in ENDED:
        _as_wished(connection, run, found, is_open, now_us)


def _as_wished(connection: sqlite3.Connection, run: Run, found: WorkflowRun, is_open: bool, now_us: int) -> None:
    """What the master decided before it knew of the run holds for it too."""
    if found.wish == "cancel" or found.state in WORKFLOW_ENDED or not is_open:
        run_actions.request_stop(connection, run, False, found.wish_by or WATCHER, now_us)
    elif found.wish == "suspend":
        happenings.watch(connection, Kind.RUN, run.job_id, CHECKPOINTS)
        runs.update(connection, run.number, suspend_requested_by=found.wish_by, suspend_requested_at_us=now_us)


def note_possible(connection: sqlite3.Connection, found: WorkflowRun, now_us: int) -> None:
    """A machine that is gone for certain had a step, and a chain behind it: what of that may have begun is lost too.

    It gets a run that is unknown, so its rule `restartable`, or a person, decides before anything of it runs elsewhere.
    """
    for told in step_chains.of_run(connection, found.id):
        agent = agents.get(connection, told.agent_id)
        if agent is not None and not is_gone(agent):
            continue
        if _has_lost_there(connection, found.id, told.agent_id):
            for step, key in told.keys:
                _note(connection, ItemName(found.id, step, 0), told.agent_id, key, now_us)
        step_chains.remove(connection, found.id, told.agent_id)


def _has_lost_there(connection: sqlite3.Connection, number: int, agent_id: str) -> bool:
    lost = [row.run for row in workflow_runs.items(connection, number) if row.state == StepState.LOST]
    found = [runs.get(connection, one) for one in lost if one is not None]
    return any(run is not None and run.agent_id == agent_id for run in found)


def _note(connection: sqlite3.Connection, name: ItemName, agent_id: str, key: str, now_us: int) -> None:
    named = parse_key(key)
    row, job = workflow_runs.item(connection, name), jobs.get(connection, named.job_id)
    is_new = row is None or (row.state == StepState.AGAIN and row.attempt < named.attempt)
    if job is None or not is_new or runs.by_key(connection, key) is not None:
        return
    more = {"attempt": named.attempt, "dispatched_epoch": 0, "reason": MAY_HAVE_RUN, "workflow_run": name.workflow_run}
    asked = {"requested_by": f"workflow {name.workflow_run}", **more}
    command = specifications.command(connection, job)
    number = runs.insert(connection, key, job.id, agent_id, command, "unknown", now_us, **asked)
    if row is None:
        workflow_runs.insert_item(connection, name, StepState.OPEN, now_us)
    values = {"run": number, "attempt": named.attempt, "reason": MAY_HAVE_RUN}
    workflow_runs.update_item(connection, name, state=StepState.LOST, **values)
