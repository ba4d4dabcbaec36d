"""Workflows that run: begun, stopped, suspended, and what becomes of a step that was interrupted.

Permissions: runs.start, runs.stop.

What follows from what steps do is in `actions.workflow_engine`.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping

from server.actions import checkpoints, step_jobs, step_results, workflow_engine
from server.actions.change import Change, Transaction, record, require
from server.actions.workflows import find as find_workflow
from server.core import workflow_states as states
from server.core.model import Principal, Run
from server.core.run_states import RunState
from server.core.workflow_runs import ItemName, WorkflowRun, wrong_variables
from server.core.workflow_states import WORKFLOW_ENDED, StepState, WorkflowState
from server.core.workflows import WorkflowSpec
from server.errors import Conflict, Invalid, NotFound
from server.storage import runs, workflow_runs

_REQUEST_ID = re.compile(r"[0-9A-Za-z-]{1,64}\Z")


def run(
    name: str, request_id: str, variables: Mapping[str, str], by: Principal, now_us: int, reason: str = ""
) -> Change[WorkflowRun]:
    """Begin a run of a workflow's current version. `request_id` (1 to 64 letters, digits, hyphens): twice is one run.

    `variables` are given to every step, over those of the workflow. Conflict while the workflow is held.
    """
    require(by, "runs.start")
    if not _REQUEST_ID.match(request_id):
        raise Invalid("The request id must have 1 to 64 letters, digits or hyphens.", field="request_id")
    _check_variables(variables)

    def change(transaction: Transaction) -> WorkflowRun:
        connection = transaction.connection
        workflow = find_workflow(connection, name)
        known = workflow_runs.by_key(connection, f"r{request_id}")
        if known is not None and known.workflow_id == workflow.id:
            return known
        if known is not None:
            raise Conflict("That request id was used for another workflow. Ask with another one.", field="request_id")
        if workflow.held:
            raise Conflict(f"{name} is held. Release it first: understudy workflow release {name}")
        number = workflow_engine.start(connection, workflow, f"r{request_id}", variables, by.name, now_us)
        record(connection, by, now_us, "workflows.run", name, "", str(number), reason)
        return find(connection, number)

    return change


def cancel(number: int, by: Principal, now_us: int, reason: str = "") -> Change[WorkflowRun]:
    """Begin nothing more and end what runs of it, SIGTERM first. Again, or of an ended one, changes nothing."""
    return _stop(number, False, by, now_us, reason)


def kill(number: int, by: Principal, now_us: int, reason: str = "") -> Change[WorkflowRun]:
    """The same with SIGKILL at once."""
    return _stop(number, True, by, now_us, reason)


def suspend(number: int, by: Principal, now_us: int, reason: str = "") -> Change[WorkflowRun]:
    """Begin no further step; those that run stop at their next checkpoint, or end. It is suspended once none runs."""
    require(by, "runs.stop")

    def change(transaction: Transaction) -> WorkflowRun:
        connection = transaction.connection
        found = find(connection, number)
        if found.state in WORKFLOW_ENDED:
            raise Conflict(f"Workflow run {number} is {found.state} already. There is nothing to suspend.")
        if found.wish:
            return found
        _suspend(transaction, found, by, now_us)
        record(connection, by, now_us, "workflows.suspend", str(number), found.state, "", reason)
        return find(connection, number)

    return change


def resume(
    number: int, by: Principal, now_us: int, reason: str = "", step: str = "", on: str = ""
) -> Change[WorkflowRun]:
    """Go on: a suspended run as it stands; behind the latest checkpoint where a step was interrupted, or the run ended
    without success. `on`: the agent or group that `step` (else every interrupted one) runs on from now on.
    """
    require(by, "runs.start")

    def change(transaction: Transaction) -> WorkflowRun:
        connection = transaction.connection
        found = find(connection, number)
        spec = step_results.spec_of(connection, found)
        if found.state in (WorkflowState.SUCCEEDED, WorkflowState.CANCELLING):
            raise Conflict(
                f"Workflow run {number} is {found.state}. Begin another: understudy workflow run {spec.name}"
            )
        lost = _lost(connection, found, spec, step)
        if found.state not in WORKFLOW_ENDED and not found.wish and not lost:
            raise Conflict(f"Workflow run {number} runs, and nothing of it waits for a decision.")
        _move(connection, found, spec, [step] if step else lost, on)
        if found.state in WORKFLOW_ENDED:
            workflow_engine.reopen(connection, find(connection, number), now_us)
        else:
            names = states.behind_checkpoint(spec, step_results.items_of(connection, found, spec), lost)
            workflow_engine.again(connection, found, spec, names, lost)
            _go_on(transaction, find(connection, number), by, now_us)
        record(connection, by, now_us, "workflows.resume", str(number), found.state, f"{step} {on}".strip(), reason)
        return find(connection, number)

    return change


def restart(
    number: int, by: Principal, now_us: int, reason: str = "", step: str = "", on: str = ""
) -> Change[WorkflowRun]:
    """Run only what was interrupted again, in `step` or everywhere: what it came after stays as it is."""
    require(by, "runs.start")

    def change(transaction: Transaction) -> WorkflowRun:
        connection = transaction.connection
        found, spec, lost = _undecided(connection, number, step)
        _move(connection, found, spec, lost, on)
        workflow_engine.again(connection, found, spec, lost, lost)
        workflow_engine.advance(connection, number, now_us)
        record(connection, by, now_us, "workflows.restart", str(number), ", ".join(lost), on, reason)
        return find(connection, number)

    return change


def give_up(number: int, by: Principal, now_us: int, reason: str = "", step: str = "") -> Change[WorkflowRun]:
    """Let what was interrupted count as failed, in `step` or everywhere: the edges for that are taken."""
    require(by, "runs.stop")

    def change(transaction: Transaction) -> WorkflowRun:
        connection = transaction.connection
        _, spec, lost = _undecided(connection, number, step)
        for row in workflow_runs.items(connection, number):
            if row.state == StepState.LOST and spec.steps[row.step].name in lost:
                name = ItemName(number, row.step, row.item)
                why = f"given up by {by.name}: {row.reason}"
                workflow_runs.update_item(connection, name, state=StepState.FAILED, reason=why, ended_at_us=now_us)
        workflow_engine.advance(connection, number, now_us)
        record(connection, by, now_us, "workflows.give_up", str(number), ", ".join(lost), "", reason)
        return find(connection, number)

    return change


def find(connection: sqlite3.Connection, number: int) -> WorkflowRun:
    """The workflow's run with that number; raises NotFound."""
    found = workflow_runs.get(connection, number)
    if found is None:
        raise NotFound(f"There is no workflow run {number}. See: understudy workflow runs")
    return found


def _stop(number: int, kill: bool, by: Principal, now_us: int, reason: str) -> Change[WorkflowRun]:
    require(by, "runs.stop")

    def change(transaction: Transaction) -> WorkflowRun:
        connection = transaction.connection
        found = find(connection, number)
        if found.state in WORKFLOW_ENDED or (found.wish == "cancel" and not kill):
            return found
        workflow_engine.stop(connection, found, kill, by.name, now_us)
        action = "workflows.kill" if kill else "workflows.cancel"
        record(connection, by, now_us, action, str(number), found.state, "", reason)
        return find(connection, number)

    return change


def _suspend(transaction: Transaction, found: WorkflowRun, by: Principal, now_us: int) -> None:
    """Begin nothing more; what runs stops at its next checkpoint, or comes to its end when it saves none."""
    connection = transaction.connection
    workflow_runs.update(connection, found.id, wish="suspend", wish_by=by.name)
    for run in _open_runs(connection, found):
        if run.state == RunState.RUNNING:
            checkpoints.suspend(run.number, by, now_us)(transaction)
    for inner in _inside(connection, found):
        if not inner.wish:
            _suspend(transaction, inner, by, now_us)
    workflow_engine.advance(connection, found.id, now_us)


def _open_runs(connection: sqlite3.Connection, found: WorkflowRun) -> list[Run]:
    numbers = [row.run for row in workflow_runs.open_items(connection, found.id) if row.run is not None]
    return [run for number in numbers if (run := runs.get(connection, number)) is not None]


def _go_on(transaction: Transaction, found: WorkflowRun, by: Principal, now_us: int) -> None:
    connection = transaction.connection
    workflow_runs.update(connection, found.id, wish="", wish_by="")
    for run in _open_runs(connection, found):
        if run.state == RunState.SUSPENDED:
            checkpoints.resume(run.number, by, now_us)(transaction)
    for inner in _inside(connection, found):
        if inner.wish == "suspend":
            _go_on(transaction, inner, by, now_us)
    workflow_engine.advance(connection, found.id, now_us)


def _inside(connection: sqlite3.Connection, found: WorkflowRun) -> list[WorkflowRun]:
    """The workflows that run inside it now."""
    numbers = [row.sub_run for row in workflow_runs.open_items(connection, found.id) if row.sub_run is not None]
    inner = [workflow_runs.get(connection, number) for number in numbers]
    return [one for one in inner if one is not None and one.state not in WORKFLOW_ENDED]


def _lost(connection: sqlite3.Connection, found: WorkflowRun, spec: WorkflowSpec, step: str) -> list[str]:
    """The steps with something interrupted, in order; of `step` alone when it is given."""
    if step and step not in [one.name for one in spec.steps]:
        raise NotFound(f"{spec.name} has no step {step}. Its steps: {', '.join(one.name for one in spec.steps)}.")
    items = step_results.items_of(connection, found, spec)
    return [one.name for one in spec.steps if StepState.LOST in items.get(one.name, ()) and step in ("", one.name)]


def _undecided(connection: sqlite3.Connection, number: int, step: str) -> tuple[WorkflowRun, WorkflowSpec, list[str]]:
    found = find(connection, number)
    spec = step_results.spec_of(connection, found)
    lost = _lost(connection, found, spec, step)
    if found.state in WORKFLOW_ENDED or not lost:
        what = f"Step {step} of it" if step else "No step of it"
        raise Conflict(
            f"Workflow run {number} is {found.state}. {what} {'does not wait' if step else 'waits'} for a decision."
        )
    return found, spec, lost


def _move(connection: sqlite3.Connection, found: WorkflowRun, spec: WorkflowSpec, steps: list[str], on: str) -> None:
    """From now on these steps run there."""
    if not on:
        return
    step_jobs.check_place(connection, on)
    if not steps:
        raise Invalid("Say which step runs there: --step NAME.", field="step")
    workflow_runs.update(connection, found.id, places={**found.places, **dict.fromkeys(steps, on)})


def _check_variables(variables: Mapping[str, str]) -> None:
    said = wrong_variables(variables)
    if said:
        raise Invalid(said, field="variables")
