"""Workflows that run: the list, one that runs, one that waits for a decision, one that has ended."""

from __future__ import annotations

from server.core.workflows import Edge, Join, Outcome, WorkflowSpec, WorkflowStep
from server.storage.workflow_runs import WorkflowRunLine
from server.web import states
from server.web.api.workflow_runs import ItemView, WorkflowRunView
from server.web.pages.workflow_runs import ItemRow, WorkflowRunPage, WorkflowRunsPage, picture, said
from server.web.states import badge
from tests.storybook.fixture import HOUR_US, MINUTE_US, NOW_US, SECOND_US, Story, frame

SPEC = WorkflowSpec(
    name="nightly-backup",
    group="docks",
    steps=[
        WorkflowStep(name="dump", command="pg_dump shop > shop.sql"),
        WorkflowStep(name="copy", command="copy-to-store shop.sql", after=[Edge(step="dump")], checkpoint=True),
        WorkflowStep(
            name="verify", command="verify $UNDERSTUDY_ITEM", after=[Edge(step="copy")], for_each=["hamburg", "bremen"]
        ),
        WorkflowStep(name="report", command="report", after=[Edge(step="verify")]),
        WorkflowStep(
            name="alarm",
            job="call-somebody",
            after=[Edge(step=name, on=Outcome.FAILED) for name in ("dump", "copy", "verify")],
            join=Join.ANY,
        ),
    ],
)


def _item(step: str, state: str, number: int, **more: object) -> ItemView:
    base: dict[str, object] = {
        "step": step,
        "item": 0,
        "value": "",
        "state": state,
        "reason": "",
        "attempt": 1,
        "run": 9100 + number,
        "run_state": "running" if state == "open" else state,
        "agent": f"dock-{number % 3 + 1}",
        "workflow_run": None,
        "outputs": {},
        "begun_at_us": NOW_US - (9 - number) * MINUTE_US,
        "ended_at_us": None if state in ("open", "lost") else NOW_US - (9 - number) * MINUTE_US + 40 * SECOND_US,
    }
    return ItemView(**{**base, **more})  # type: ignore[arg-type]  # any field


def _page(
    state: str, reason: str, items: list[ItemView], step_states: dict[str, str], **more: object
) -> WorkflowRunPage:
    base: dict[str, object] = {
        "id": 41,
        "workflow": SPEC.name,
        "version": 3,
        "state": state,
        "reason": reason,
        "state_since_us": NOW_US - MINUTE_US,
        "requested_by": "operator",
        "requested_at_us": NOW_US - 9 * MINUTE_US,
        "ended_at_us": None,
        "deadline_us": NOW_US + 2 * HOUR_US,
        "parent_run": None,
        "variables": {"LEVEL": "9"},
        "undecided": [],
        "may_resume": False,
        "step_states": step_states,
        "items": items,
        "more": False,
    }
    run = WorkflowRunView(**{**base, **more})  # type: ignore[arg-type]  # any field
    rows = tuple(ItemRow(item, badge(states.WORKFLOW_STEPS, said(item))) for item in items)
    title = f"Workflow run {run.id}"
    return WorkflowRunPage(frame(title, "/workflow-runs/41"), run, 7, picture(SPEC, items, step_states), rows)


DONE = [
    _item("dump", "succeeded", 1, outputs={"SIZE": "734003200"}),
    _item("copy", "succeeded", 2, outputs={"STORE": "hamburg"}),
]
RUNNING = [
    *DONE,
    _item("verify", "succeeded", 3, value="hamburg"),
    _item("verify", "open", 4, value="bremen", item=1),
]
LOST = [
    *DONE,
    _item("verify", "succeeded", 3, value="hamburg"),
    _item("verify", "lost", 4, value="bremen", item=1, reason="its machine was declared dead", run_state="unknown"),
]
FIRST = {"dump": "succeeded", "copy": "succeeded", "report": "", "alarm": ""}


def stories() -> list[Story]:
    """Every story of this file."""
    lines = tuple(
        WorkflowRunLine(
            id=41 - number,
            workflow=SPEC.name if number % 3 else "restore-test",
            version=3,
            state=state,
            reason=reason,
            state_since_us=NOW_US - number * HOUR_US,
            requested_by="operator",
            requested_at_us=NOW_US - number * HOUR_US - 9 * MINUTE_US,
            ended_at_us=NOW_US - number * HOUR_US if state in ("succeeded", "failed", "cancelled") else None,
            parent_run=42 - number if number % 3 == 0 and number else None,
        )
        for number, (state, reason) in enumerate(
            [
                ("running", ""),
                ("deciding", "verify: its machine was declared dead"),
                ("suspended", "suspended by operator"),
                ("succeeded", ""),
                ("failed", "copy: exit code 3"),
                ("cancelled", "cancelled by admin"),
            ]
        )
    )
    caught = {**FIRST, "verify": "open"}
    asked = {"undecided": ["verify"], "deadline_us": None}
    ended = {"ended_at_us": NOW_US - MINUTE_US, "may_resume": True, "deadline_us": None}
    failed = [_item("dump", "succeeded", 1), _item("copy", "failed", 2, reason="exit code 3")]
    skipped = [
        _item(name, "skipped", 0, run=None, run_state=None, agent=None, attempt=0, begun_at_us=None, ended_at_us=None)
        for name in ("verify", "report")
    ]
    after = {"dump": "succeeded", "copy": "failed", "verify": "skipped", "report": "skipped", "alarm": "succeeded"}
    failed += [*skipped, _item("alarm", "succeeded", 4)]
    empty = WorkflowRunsPage(frame("Workflow runs", "/workflow-runs"), (), "")
    return [
        Story("workflow-runs", WorkflowRunsPage(frame("Workflow runs", "/workflow-runs"), lines, more_after=36)),
        Story("workflow-runs-none", empty),
        Story("workflow-run-running", _page("running", "", RUNNING, caught)),
        Story(
            "workflow-run-deciding",
            _page("deciding", "verify: its machine was declared dead", LOST, {**FIRST, "verify": "lost"}, **asked),
        ),
        Story("workflow-run-ended", _page("cancelled", "cancelled by admin", failed, after, **ended)),
    ]
