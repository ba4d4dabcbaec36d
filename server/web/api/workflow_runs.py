"""Workflows that run: begun, looked at, stopped, suspended, and what becomes of a step that was interrupted."""

from __future__ import annotations

import hashlib
import sqlite3
from typing import Any

import msgspec

from server.actions import step_results, workflow_runs, workflow_waits
from server.actions.workflows import find as find_workflow
from server.core.workflow_runs import WorkflowRun
from server.core.workflow_states import WORKFLOW_ENDED, StepState
from server.ports.numbers import NUMBER_MAX
from server.storage import workflow_runs as rows
from server.storage.workflow_runs import WorkflowRunLine
from server.web.api.endpoint import AFTER, Answer, Call, Endpoint, Number

ITEMS_MAX = 2000
"""Items that one answer shows."""


class StartBody(msgspec.Struct, frozen=True):
    """Variables that every step is given, over those of the workflow."""

    variables: dict[str, str] = {}
    reason: str = ""


class DecisionBody(msgspec.Struct, frozen=True):
    """`step`: of one interrupted step, "" for all. `on`: the agent or group that it runs on from now on."""

    step: str = ""
    on: str = ""
    reason: str = ""


class Why(msgspec.Struct, frozen=True):
    """Why, for the audit history."""

    reason: str = ""


class WorkflowStarted(msgspec.Struct, frozen=True):
    """A workflow's run: its number, state, and why it stands so."""

    workflow_run: int
    state: str
    reason: str


class ItemView(msgspec.Struct, frozen=True):
    """One item of a step: its state, the latest attempt with its run's number, state and agent, and what it told."""

    step: str
    item: int
    value: str
    state: str
    reason: str
    attempt: int
    run: int | None
    run_state: str | None
    agent: str | None
    workflow_run: int | None
    outputs: dict[str, str]
    begun_at_us: int | None
    ended_at_us: int | None


class WorkflowRunView(msgspec.Struct, frozen=True):
    """A workflow's run. `items` are those that have begun or are skipped; `undecided` steps wait for a person.

    `step_states` has every step, "" for one that has not begun. `more`: not all items are here. `waits`: why steps that
    have not begun wait for an agent that is silent, by name.
    """

    id: int
    workflow: str
    version: int
    state: str
    reason: str
    state_since_us: int
    requested_by: str
    requested_at_us: int
    ended_at_us: int | None
    deadline_us: int | None
    parent_run: int | None
    variables: dict[str, str]
    undecided: list[str]
    may_resume: bool
    step_states: dict[str, str]
    items: list[ItemView]
    more: bool
    waits: dict[str, str] = {}


async def run_workflow(call: Call) -> Answer:
    """Begin a run of a workflow. Its key comes from the Idempotency-Key: twice is one run."""
    request_id = hashlib.sha256(f"{call.by.name}\n{call.key}".encode()).hexdigest()[:32]
    change = workflow_runs.run(
        call.path("name"), request_id, call.body.variables, call.by, call.now_us, call.body.reason
    )
    return await call.write(change, started, 202)


async def list_workflow_runs(call: Call) -> list[WorkflowRunLine]:
    """Workflows' runs, newest first, below number `after`; of one workflow or state.

    `undecided=1`: only those at which a person has to decide.
    """
    undecided = bool(call.query_number("undecided", 0, 0, 1))
    after = call.query_number("after", 0, 0, NUMBER_MAX) or None
    state, limit, name = call.query("state"), call.limit(), call.query("workflow")

    def query(connection: sqlite3.Connection) -> list[WorkflowRunLine]:
        workflow_id = find_workflow(connection, name).id if name else None
        return rows.lines(connection, workflow_id, state, after, limit, undecided)

    return await call.read(query)


async def show_workflow_run(call: Call) -> WorkflowRunView:
    """One workflow's run with its steps."""
    number = call.number("id")
    return await call.read(lambda connection: view(connection, number))


def view(connection: sqlite3.Connection, number: int) -> WorkflowRunView:
    """The run as rows say; raises NotFound."""
    run = workflow_runs.find(connection, number)
    spec = step_results.spec_of(connection, run)
    found = rows.item_lines(connection, number, ITEMS_MAX + 1)
    states = step_results.phases_of(connection, run, spec)
    items = []
    for line in found[:ITEMS_MAX]:
        step = spec.steps[line.step]
        value = step.for_each[line.item] if step.for_each else ""
        items.append(
            ItemView(
                step=step.name,
                item=line.item,
                value=value,
                state=line.state,
                reason=workflow_waits.said(line),
                attempt=line.attempt,
                run=line.run,
                run_state=line.run_state,
                agent=line.agent,
                workflow_run=line.sub_run,
                outputs=line.outputs,
                begun_at_us=line.begun_at_us,
                ended_at_us=line.ended_at_us,
            )
        )
    return WorkflowRunView(
        id=run.id,
        workflow=spec.name,
        version=run.version,
        state=run.state,
        reason=run.reason,
        state_since_us=run.state_since_us,
        requested_by=run.requested_by,
        requested_at_us=run.requested_at_us,
        ended_at_us=run.ended_at_us,
        deadline_us=run.deadline_us,
        parent_run=run.parent_run,
        variables=run.variables,
        undecided=_undecided(run, states),
        may_resume=run.state in ("failed", "cancelled", "suspending", "suspended"),
        step_states={name: state or "" for name, state in states.items()},
        items=items,
        more=len(found) > ITEMS_MAX,
        waits={} if run.state in WORKFLOW_ENDED else workflow_waits.of_run(connection, run, spec, states),
    )


def _undecided(run: WorkflowRun, states: dict[str, StepState | None]) -> list[str]:
    """The steps of which a person may say what becomes of them."""
    return [] if run.state in WORKFLOW_ENDED else [name for name, state in states.items() if state is StepState.LOST]


async def cancel(call: Call) -> Answer:
    """Begin nothing more and end what runs, SIGTERM first."""
    return await call.write(_of(call, workflow_runs.cancel), started)


async def kill(call: Call) -> Answer:
    """Begin nothing more and kill what runs."""
    return await call.write(_of(call, workflow_runs.kill), started)


async def suspend(call: Call) -> Answer:
    """Begin nothing more for now."""
    return await call.write(_of(call, workflow_runs.suspend), started)


async def resume(call: Call) -> Answer:
    """Go on, behind the latest checkpoint where something was interrupted."""
    body = call.body
    return await call.write(_of(call, workflow_runs.resume, step=body.step, on=body.on), started)


async def restart(call: Call) -> Answer:
    """Run what was interrupted again, and nothing before it."""
    body = call.body
    return await call.write(_of(call, workflow_runs.restart, step=body.step, on=body.on), started)


async def give_up(call: Call) -> Answer:
    """Let what was interrupted count as failed."""
    return await call.write(_of(call, workflow_runs.give_up, step=call.body.step), started)


def _of(call: Call, action: Any, **more: str) -> Any:
    return action(call.number("id"), call.by, call.now_us, call.body.reason, **more)


def started(run: WorkflowRun) -> WorkflowStarted:
    """A workflow's run as the API answers it."""
    return WorkflowStarted(run.id, run.state, run.reason)


def _post(verb: str, handle: Any, summary: str, body: Any = Why) -> Endpoint:
    return Endpoint("POST", f"/api/v1/workflow-runs/{{id}}/{verb}", handle, summary, body=body, answer=WorkflowStarted)


ENDPOINTS = (
    Endpoint(
        "POST",
        "/api/v1/workflows/{name}/run",
        run_workflow,
        "Run a workflow now",
        body=StartBody,
        answer=WorkflowStarted,
        status=202,
    ),
    Endpoint(
        "GET",
        "/api/v1/workflow-runs",
        list_workflow_runs,
        "Workflows' runs, newest first",
        answer=list[WorkflowRunLine],
        query=("workflow", "state", Number("undecided", 0, 1), AFTER, "limit"),
    ),
    Endpoint("GET", "/api/v1/workflow-runs/{id}", show_workflow_run, "One workflow's run", answer=WorkflowRunView),
    _post("cancel", cancel, "End a workflow's run"),
    _post("kill", kill, "Kill a workflow's run"),
    _post("suspend", suspend, "Begin no further step of it"),
    _post("resume", resume, "Let it go on, behind its latest checkpoint", DecisionBody),
    _post("restart", restart, "Run interrupted steps again", DecisionBody),
    _post("give-up", give_up, "Let interrupted steps count as failed", DecisionBody),
)
