"""What runs workflows: begins steps, takes in how they ended, and says where the whole stands. By the program itself.

A follower of happenings (`actions.happenings`): a step's run changed, so the next steps begin in the same change. What
a step does is an ordinary run; its key is made of the item that it is of, so no crash and no failover submits it twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from functools import partial

from server.actions import runs as run_actions
from server.actions import step_begins, step_jobs
from server.actions.change import Change, Transaction
from server.actions.quarantine import guarded
from server.actions.step_environments import given
from server.actions.step_results import (
    WATCHER,
    is_ahead,
    is_attempt_of,
    items_of,
    name_of,
    settle,
    spec_of,
)
from server.core import workflow_states as states
from server.core.happenings import Happening, Kind
from server.core.model import SECOND_US
from server.core.run_states import ENDED, RunState
from server.core.step_outputs import GIVEN_BYTES_MAX, size
from server.core.workflow_runs import ATTEMPTS_MAX, TIMEOUT, ItemName, StepRow, WorkflowRun
from server.core.workflow_states import WORKFLOW_ENDED, StepState, WorkflowState
from server.core.workflows import Workflow, WorkflowSpec, WorkflowStep
from server.errors import Conflict, Invalid, NotFound
from server.storage import happenings, runs, step_chains, system_messages, tenancy, workflow_runs, workflows

DEPTH_MAX = 10
"""How many workflows may be inside each other."""


def start(
    connection: sqlite3.Connection,
    workflow: Workflow,
    key: str,
    variables: Mapping[str, str],
    requested_by: str,
    now_us: int,
    timeout_s: int = 0,
    parent: ItemName | None = None,
) -> int:
    """Begin a run of the current version and its first steps; returns its number. `timeout_s`: if it is the shorter."""
    spec = workflows.spec(connection, workflow)
    limits = [limit for limit in (spec.timeout_s, timeout_s) if limit]
    number = workflow_runs.insert(
        connection,
        workflow_id=workflow.id,
        version=workflow.version,
        key=key,
        state=WorkflowState.RUNNING,
        state_since_us=now_us,
        requested_by=requested_by,
        requested_at_us=now_us,
        variables=dict(variables),
        deadline_us=now_us + min(limits) * SECOND_US if limits else None,
        parent_run=parent.workflow_run if parent else None,
        parent_step=parent.step if parent else None,
        parent_item=parent.item if parent else None,
    )
    happenings.happened(connection, Kind.WORKFLOW, workflow.id, number, WorkflowState.RUNNING, now_us)
    made = workflow_runs.get(connection, number)
    assert made is not None, "it was inserted just now"
    step_jobs.prepare(connection, made, spec, now_us)
    advance(connection, number, now_us)
    return number


def follow(connection: sqlite3.Connection, happening: Happening, now_us: int) -> None:
    """A run or a workflow's run changed: take it in where it is a step's, and go on."""
    name = None
    if happening.kind == Kind.RUN:
        run = runs.get(connection, happening.subject)
        name = name_of(run) if run is not None else None
        if run is not None and name is not None and run.workflow_run is None:
            row = workflow_runs.item(connection, name)
            if row is None or row.run is None or not is_attempt_of(connection, run, row.run):
                return
            step_begins.claim(connection, run, now_us)
        if run is not None and is_ahead(connection, run, happening):
            return
    elif happening.kind == Kind.WORKFLOW:
        sub = workflow_runs.get(connection, happening.subject)
        if sub is not None and sub.parent_run is not None:
            name = ItemName(sub.parent_run, sub.parent_step or 0, sub.parent_item or 0)
    if name is not None and settle(connection, name, now_us):
        advance(connection, name.workflow_run, now_us)


def advance(connection: sqlite3.Connection, number: int, now_us: int) -> None:
    """Begin and skip what follows from the states as they are, then say where the whole stands."""
    run = workflow_runs.get(connection, number)
    if run is None or run.state in WORKFLOW_ENDED:
        return
    spec = spec_of(connection, run)
    step_begins.note_possible(connection, run, now_us)
    _recover(connection, run, spec)
    while not run.wish:
        made = states.advance(spec, items_of(connection, run, spec))
        if not made.begin and not made.skip:
            break
        for index, step in enumerate(spec.steps):
            if step.name in made.skip:
                _skip(connection, run, index, now_us)
            elif step.name in made.begin:
                _begin(connection, run, spec, index, now_us)
    _stand(connection, run, spec, now_us)


def _skip(connection: sqlite3.Connection, run: WorkflowRun, index: int, now_us: int) -> None:
    known = workflow_runs.items(connection, run.id, index)
    if not known:
        workflow_runs.insert_item(connection, ItemName(run.id, index, 0), StepState.SKIPPED, now_us)
    for row in known:
        if row.state == StepState.AGAIN:
            name = ItemName(run.id, index, row.item)
            workflow_runs.update_item(connection, name, state=StepState.SKIPPED)


def _begin(connection: sqlite3.Connection, run: WorkflowRun, spec: WorkflowSpec, index: int, now_us: int) -> None:
    """Begin the items of a step that have no state, and those that are to run again."""
    step = spec.steps[index]
    known = {row.item: row for row in workflow_runs.items(connection, run.id, index)}
    base = given(connection, run, spec, step)
    for item in range(max(len(step.for_each), 1)):
        row = known.get(item)
        if row is not None and row.state != StepState.AGAIN:
            continue
        name = ItemName(run.id, index, item)
        if row is None:
            workflow_runs.insert_item(connection, name, StepState.OPEN, now_us)
        values: dict[str, object] = {"state": StepState.OPEN, "reason": "", "begun_at_us": now_us, "ended_at_us": None}
        try:
            if size(base.items()) > GIVEN_BYTES_MAX:
                raise Invalid(f"what earlier steps gave takes more than {GIVEN_BYTES_MAX} bytes")
            begun = _begin_workflow if step.workflow else _begin_run
            values |= begun(connection, run, step, name, row, base, now_us)
        except (NotFound, Conflict, Invalid) as error:
            values |= {"state": StepState.LOST, "reason": str(error), "run": None, "sub_run": None}
        workflow_runs.update_item(connection, name, **values)
        settle(connection, name, now_us)


def _begin_run(
    connection: sqlite3.Connection,
    run: WorkflowRun,
    step: WorkflowStep,
    name: ItemName,
    row: StepRow | None,
    base: Mapping[str, str],
    now_us: int,
) -> dict[str, object]:
    """Submit the item's next attempt; the columns to write."""
    job = step_jobs.of_step(connection, run, spec_of(connection, run), step, now_us)
    happenings.watch(connection, Kind.RUN, job.id, WATCHER)
    attempt, key = step_jobs.next_key(connection, job, name, row.attempt if row is not None else 0)
    asked = f"workflow {run.id}"
    made = run_actions.submit(connection, job, key, asked, now_us, attempt=attempt, workflow_run=run.id)
    return {"run": made.number, "attempt": attempt}


def _begin_workflow(
    connection: sqlite3.Connection,
    run: WorkflowRun,
    step: WorkflowStep,
    name: ItemName,
    row: StepRow | None,
    base: Mapping[str, str],
    now_us: int,
) -> dict[str, object]:
    """Begin a workflow inside this one, or go on with the one that failed; the columns to write."""
    named = tenancy.within(connection, workflows.tenant(connection, run.workflow_id))
    inner = workflows.by_name(named, step.workflow)
    if inner is None:
        raise NotFound(f"there is no workflow {step.workflow} any more")
    before = workflow_runs.get(connection, row.sub_run) if row is not None and row.sub_run is not None else None
    if before is not None and before.state in (WorkflowState.FAILED, WorkflowState.CANCELLED):
        reopen(connection, before, now_us)
        return {"sub_run": before.id}
    if _depth(connection, run) >= DEPTH_MAX:
        raise Conflict(f"at most {DEPTH_MAX} workflows may be inside each other")
    happenings.watch(connection, Kind.WORKFLOW, inner.id, WATCHER)
    attempt = (row.attempt if row is not None else 0) + 1
    key = f"w{name.workflow_run}-{name.step}-{name.item}.a{attempt}"
    variables = {**base, **step.environment, **_item_of(step, name.item)}
    made = start(connection, inner, key, variables, run.requested_by, now_us, step.timeout_s, name)
    return {"sub_run": made, "attempt": attempt}


def _item_of(step: WorkflowStep, item: int) -> dict[str, str]:
    return {"ITEM": step.for_each[item]} if step.for_each else {}


def _depth(connection: sqlite3.Connection, run: WorkflowRun) -> int:
    depth, outer = 1, run.parent_run
    while outer is not None and depth < DEPTH_MAX:
        found = workflow_runs.get(connection, outer)
        depth, outer = depth + 1, found.parent_run if found is not None else None
    return depth


def _recover(connection: sqlite3.Connection, run: WorkflowRun, spec: WorkflowSpec) -> None:
    """Run again what was interrupted where the workflow says that it may; the rest waits for a person."""
    if run.wish == "cancel":
        return
    lost = [row for row in workflow_runs.items(connection, run.id) if row.state == StepState.LOST]
    for row in lost:
        has_run = row.run is not None or row.sub_run is not None
        if has_run and row.attempt < ATTEMPTS_MAX:
            name = spec.steps[row.step].name
            names = states.behind_checkpoint(spec, items_of(connection, run, spec), [name])
            if states.may_restart(spec, names):
                again(connection, run, spec, names, [name])


def again(
    connection: sqlite3.Connection, run: WorkflowRun, spec: WorkflowSpec, names: Collection[str], lost: Collection[str]
) -> None:
    """Let these steps run again, of the lost ones only what was lost; what was skipped after them is open again."""
    for index, step in enumerate(spec.steps):
        if step.name in names:
            wanted = (StepState.LOST,) if step.name in lost else (StepState.SUCCEEDED, StepState.FAILED, StepState.LOST)
            workflow_runs.run_again(connection, run.id, index, wanted)
        elif set(states.before(spec, step.name)) & set(names) and _is_skipped(connection, run, index):
            workflow_runs.forget_step(connection, run.id, index)


def _is_skipped(connection: sqlite3.Connection, run: WorkflowRun, index: int) -> bool:
    return workflow_runs.states(connection, run.id).get(index) == [StepState.SKIPPED]


def reopen(connection: sqlite3.Connection, run: WorkflowRun, now_us: int) -> None:
    """Go on with a run that failed or was cancelled, behind its latest checkpoint."""
    spec = spec_of(connection, run)
    items = items_of(connection, run, spec)
    now = states.phases(spec, items)
    bad = {StepState.FAILED, StepState.LOST}
    failed = [name for name, state in now.items() if state in bad]
    if run.state == WorkflowState.FAILED and run.wish_by != TIMEOUT:
        failed = states.unhandled(spec, now) + [name for name, state in now.items() if state is StepState.LOST]
    names = states.behind_checkpoint(spec, items, failed)
    for index, step in enumerate(spec.steps):
        if step.name in failed:
            workflow_runs.run_again(connection, run.id, index, (StepState.FAILED, StepState.LOST))
    again(connection, run, spec, names, failed)
    values = {"state": WorkflowState.RUNNING, "reason": "", "state_since_us": now_us, "ended_at_us": None}
    workflow_runs.update(connection, run.id, wish="", wish_by="", deadline_us=None, **values)
    happenings.happened(connection, Kind.WORKFLOW, run.workflow_id, run.id, WorkflowState.RUNNING, now_us)
    advance(connection, run.id, now_us)


def _stand(connection: sqlite3.Connection, run: WorkflowRun, spec: WorkflowSpec, now_us: int) -> None:
    """Write the state of the whole, and tell who watches when it changed."""
    items = items_of(connection, run, spec)
    state = states.standing(spec, items, run.wish)
    open_items = workflow_runs.open_items(connection, run.id) if state is WorkflowState.SUSPENDING else []
    reason = _reason(connection, run, spec, state)
    if state is WorkflowState.CANCELLED and run.wish_by == TIMEOUT:
        state = WorkflowState.FAILED
    if state is WorkflowState.SUSPENDING and all(_rests(connection, row) for row in open_items):
        state = WorkflowState.SUSPENDED
    if (state, reason) == (run.state, run.reason):
        return
    values: dict[str, object] = {"state": state, "reason": reason}
    if state != run.state:
        values["state_since_us"] = now_us
        happenings.happened(connection, Kind.WORKFLOW, run.workflow_id, run.id, state, now_us)
    if state in WORKFLOW_ENDED:
        values["ended_at_us"] = now_us
        step_chains.forget_run(connection, run.id)
    if state is WorkflowState.DECIDING and run.state != WorkflowState.DECIDING:
        advice = f"See: understudy workflow status {run.id}"
        text = f"Workflow {spec.name}, run {run.id}, waits for a decision. {reason}. {advice}"
        system_messages.insert(connection, "alarm", text, now_us)
    workflow_runs.update(connection, run.id, **values)


def _rests(connection: sqlite3.Connection, row: StepRow) -> bool:
    """Whether an open item runs nothing now: its run, or the workflow inside it, is suspended."""
    run = runs.get(connection, row.run) if row.run is not None else None
    sub = workflow_runs.get(connection, row.sub_run) if row.sub_run is not None else None
    return (run is not None and run.state == RunState.SUSPENDED) or (
        sub is not None and sub.state == WorkflowState.SUSPENDED
    )


def _reason(connection: sqlite3.Connection, run: WorkflowRun, spec: WorkflowSpec, state: WorkflowState) -> str:
    """Why it stands as it does, as a sentence without its point."""
    if run.wish_by == TIMEOUT:
        return "it ran longer than its timeout"
    if run.wish and state is not WorkflowState.SUCCEEDED:
        return f"{'cancelled' if run.wish == 'cancel' else 'suspended'} by {run.wish_by}"
    wanted = {WorkflowState.DECIDING: StepState.LOST, WorkflowState.FAILED: StepState.FAILED}.get(state)
    for row in workflow_runs.items(connection, run.id) if wanted is not None else ():
        if row.state == wanted:
            return f"{spec.steps[row.step].name}: {row.reason}"
    return ""


def time_out(now_us: int) -> Change[int]:
    """End what has taken longer than it may; returns how many that were. For the scheduler."""

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        found = workflow_runs.overdue(connection, now_us)
        for run in found:
            do = partial(stop, connection, run, False, TIMEOUT, now_us)
            guarded(connection, "timeout", run.id, None, now_us, do)
        return len(found)

    return change


def stop(connection: sqlite3.Connection, run: WorkflowRun, kill: bool, by: str, now_us: int) -> None:
    """Begin nothing more of a run and end what runs of it, workflows inside it too."""
    values = {"wish": "cancel", "wish_by": by, "deadline_us": None}
    workflow_runs.update(connection, run.id, **values)
    for row in workflow_runs.open_items(connection, run.id):
        name = ItemName(run.id, row.step, row.item)
        if row.sub_run is not None:
            inner = workflow_runs.get(connection, row.sub_run)
            if inner is not None and inner.state not in WORKFLOW_ENDED:
                stop(connection, inner, kill, by, now_us)
        elif row.run is not None:
            found = runs.get(connection, row.run)
            if found is not None and found.state not in ENDED:
                run_actions.request_stop(connection, found, kill, by, now_us)
        settle(connection, name, now_us)
    advance(connection, run.id, now_us)
