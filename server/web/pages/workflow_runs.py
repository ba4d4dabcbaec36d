"""Workflows that run: the list, and one with its picture, its steps, and what may be decided."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from aiohttp import web

from server.actions import step_results
from server.actions import workflow_runs as actions
from server.actions.change import Change
from server.core.model import Principal
from server.core.workflow_runs import WorkflowRun
from server.core.workflow_states import WORKFLOW_ENDED, WorkflowState
from server.core.workflows import WorkflowSpec
from server.errors import Invalid, NotFound
from server.storage import workflow_runs, workflows
from server.storage.workflow_runs import WorkflowRunLine
from server.web import states
from server.web.api.workflow_runs import ItemView, WorkflowRunView, view
from server.web.frame import Frame
from server.web.pages import serve
from server.web.pages.workflow_drawing import Drawing, draw
from server.web.states import Badge, badge

LIMIT = 100
ITEMS_SHOWN = 200
UNDECIDED = "undecided"
"""Of the filter: at whatever state a person has to decide."""
STATES = tuple(str(state) for state in WorkflowState)
AWAITED = frozenset({"starting", "waiting", "running", "unknown", "suspending", "suspended", "resuming"})
"""States of a run that say more than that its step is open."""


@dataclass(frozen=True, slots=True)
class WorkflowRunsPage:
    """The list, newest first. `more_after` is the number to page on below, or None."""

    template: ClassVar[str] = "pages/workflow_run_list.html"
    frame: Frame
    runs: tuple[WorkflowRunLine, ...]
    state: str = ""
    workflow: str = ""
    """Only those of this one, by name, when given."""
    more_after: int | None = None
    states: tuple[str, ...] = STATES


@dataclass(frozen=True, slots=True)
class ItemRow:
    """An item as the page lists it: its badge, and the run or the workflow's run that does it."""

    item: ItemView
    state: Badge


@dataclass(frozen=True, slots=True)
class WorkflowRunPage:
    """One workflow's run. `workflow_id`: of its definition."""

    template: ClassVar[str] = "pages/workflow_run_show.html"
    frame: Frame
    run: WorkflowRunView
    workflow_id: int
    graph: Drawing
    items: tuple[ItemRow, ...]

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self.run.state in WORKFLOW_ENDED

    @property
    def outputs(self) -> tuple[tuple[str, str, str], ...]:
        """What steps told those after them: step, name, value."""
        return tuple((row.item.step, name, value) for row in self.items for name, value in row.item.outputs.items())


def said(item: ItemView) -> str:
    """The state of an item for people: that of its run where that says more."""
    return item.run_state if item.state == "open" and item.run_state in AWAITED and item.run_state else item.state


def picture(
    spec: WorkflowSpec,
    items: Sequence[ItemView],
    step_states: dict[str, str],
    waits: Mapping[str, str] = MappingProxyType({}),
) -> Drawing:
    """The workflow with the states of its steps, and beside each what is said of it."""
    shown = {name: state for name, state in step_states.items() if state}
    notes: dict[str, str] = dict(waits)
    for item in items:
        many = len(next(step.for_each for step in spec.steps if step.name == item.step)) > 1
        if not many:
            shown[item.step] = said(item)
        if item.reason and item.step not in notes:
            notes[item.step] = f"{item.value}: {item.reason}" if item.value else item.reason
    return draw(spec, shown, notes, states.WORKFLOW_STEPS)


async def show_all(request: web.Request) -> web.Response:
    """`GET /workflow-runs?workflow=&state=&after=`."""
    state, name, after = request.query.get("state", ""), request.query.get("workflow", ""), serve.before(request)
    chosen, undecided = state if state in STATES else "", state == UNDECIDED

    def query(connection: sqlite3.Connection) -> list[WorkflowRunLine]:
        workflow = workflows.by_name(connection, name) if name else None
        if name and workflow is None:
            return []
        return workflow_runs.lines(connection, workflow.id if workflow else None, chosen, after, LIMIT, undecided)

    frame, found = await serve.load(request, "Workflow runs", query)
    more = found[-1].id if len(found) == LIMIT else None
    return serve.html(WorkflowRunsPage(frame, tuple(found), state, name, more))


async def show(request: web.Request) -> web.Response:
    """`GET /workflow-runs/{id}`."""
    number = int(request.match_info["id"])

    def query(connection: sqlite3.Connection) -> tuple[WorkflowRunView, WorkflowRun, WorkflowSpec]:
        run = actions.find(connection, number)
        return view(connection, number), run, step_results.spec_of(connection, run)

    frame, (shown, run, spec) = await serve.load(request, f"Workflow run {number}", query)
    items = tuple(ItemRow(item, badge(states.WORKFLOW_STEPS, said(item))) for item in shown.items[:ITEMS_SHOWN])
    graph = picture(spec, shown.items, shown.step_states, shown.waits)
    return serve.html(WorkflowRunPage(frame, shown, run.workflow_id, graph, items))


async def begin(request: web.Request) -> web.Response:
    """`POST /workflows/{id}/run`: `once` in the form makes a second click the same run."""
    workflow_id, fields = int(request.match_info["id"]), await serve.form(request)
    _, workflow = await serve.load(request, "", lambda c: workflows.get(c, workflow_id))
    if workflow is None:
        raise NotFound("There is no such workflow. See the list of workflows.")
    once = fields.get("once") or secrets.token_hex(8)
    variables, reason = pairs(fields.get("variables", "")), fields.get("reason", "")
    run = await serve.write(request, lambda by, now_us: actions.run(workflow.name, once, variables, by, now_us, reason))
    return serve.back(f"/workflow-runs/{run.id}")


def pairs(text: str) -> dict[str, str]:
    """Variables as somebody types them, NAME=VALUE, one a line. Raises Invalid naming the line."""
    found = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, is_there, value = line.partition("=")
        if not is_there:
            raise Invalid(f"Write NAME=VALUE, one a line, and not {line!r}.", field="variables")
        found[name.strip()] = value
    return found


Verb = Callable[..., Change[WorkflowRun]]


def _verb(action: Verb, *names: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A handler that asks for `action` with these fields of the form, and shows the run again."""

    async def handler(request: web.Request) -> web.Response:
        number, fields = int(request.match_info["id"]), await serve.form(request)
        more = {name: fields.get(name, "") for name in names}
        reason = fields.get("reason", "")

        def asked(by: Principal, now_us: int) -> Change[WorkflowRun]:
            return action(number, by, now_us, reason, **more)

        await serve.write(request, asked)
        return serve.back(f"/workflow-runs/{number}")

    handler.__doc__ = f"`POST /workflow-runs/{{id}}/{action.__name__}`."
    return handler


ROUTES = (
    serve.get("/workflow-runs", show_all),
    serve.get(r"/workflow-runs/{id:\d+}", show),
    serve.post(r"/workflows/{id:\d+}/run", begin),
    serve.post(r"/workflow-runs/{id:\d+}/cancel", _verb(actions.cancel)),
    serve.post(r"/workflow-runs/{id:\d+}/kill", _verb(actions.kill)),
    serve.post(r"/workflow-runs/{id:\d+}/suspend", _verb(actions.suspend)),
    serve.post(r"/workflow-runs/{id:\d+}/resume", _verb(actions.resume, "step", "on")),
    serve.post(r"/workflow-runs/{id:\d+}/restart", _verb(actions.restart, "step", "on")),
    serve.post(r"/workflow-runs/{id:\d+}/give-up", _verb(actions.give_up, "step")),
)
