"""Workflows: the list, pictures of one, five, twelve and sixty steps, with states, old, wrong while typed, compared."""

from __future__ import annotations

import msgspec

from server.core.workflow_diff import diff
from server.core.workflow_text import read
from server.core.workflow_writing import write
from server.core.workflows import Edge, Join, Outcome, WorkflowSpec, WorkflowStep, WorkflowVersion
from server.storage.workflows import VersionLine, WorkflowLine
from server.web.api.workflows import WorkflowView
from server.web.pages.workflow_drawing import draw
from server.web.pages.workflows import (
    EXAMPLE,
    WorkflowDiffPage,
    WorkflowFormPage,
    WorkflowPage,
    WorkflowsPage,
    numbered,
)
from tests.storybook.fixture import DAY_US, HOUR_US, NOW_US, Story, changed, frame


def one() -> WorkflowSpec:
    """The smallest."""
    step = WorkflowStep(name="dump", command="pg_dump shop > /var/backups/shop.sql")
    return WorkflowSpec(name="dump-only", agent="dock-1", steps=[step])


def five() -> WorkflowSpec:
    """A backup with two checkpoints, a fan-out and an alarm."""
    return WorkflowSpec(
        name="nightly-backup",
        description="Dump the shop, compress it, copy it to both stores, and check one of them.",
        agent="dock-1",
        variables={"LEVEL": "9"},
        timeout_s=7200,
        steps=[
            WorkflowStep(name="dump", command="pg_dump shop > /var/backups/shop.sql", checkpoint=True),
            WorkflowStep(name="compress", command="gzip -$LEVEL shop.sql", after=[Edge(step="dump")], restartable=True),
            WorkflowStep(
                name="copy",
                group="stores",
                command="copy-to $UNDERSTUDY_ITEM /var/backups/shop.sql.gz",
                after=[Edge(step="compress")],
                for_each=["hamburg", "bremen"],
                checkpoint=True,
            ),
            WorkflowStep(name="check", workflow="restore-test", after=[Edge(step="copy")]),
            WorkflowStep(
                name="alarm",
                job="call-somebody",
                after=[Edge(step=name, on=Outcome.FAILED) for name in ("dump", "compress", "copy")],
                join=Join.ANY,
            ),
        ],
    )


def twelve() -> WorkflowSpec:
    """The month's end: branches that meet again, clean-up however it ends."""
    after: dict[str, list[str]] = {
        "close-books": [],
        "export-sales": ["close-books"],
        "export-stock": ["close-books"],
        "export-wages": ["close-books"],
        "convert-sales": ["export-sales"],
        "convert-stock": ["export-stock"],
        "balance": ["convert-sales", "convert-stock", "export-wages"],
        "report": ["balance"],
        "mail-report": ["report"],
        "archive": ["report", "export-wages"],
    }
    steps = [
        WorkflowStep(name=name, command=f"/opt/month/{name}", after=[Edge(step=one) for one in before])
        for name, before in after.items()
    ]
    failed = [Edge(step=name, on=Outcome.FAILED) for name in ("balance", "report")]
    ended = [Edge(step=name, on=Outcome.ENDED) for name in ("archive", "mail-report")]
    steps.append(
        WorkflowStep(name="reopen-books-for-correction", command="/opt/month/reopen", after=failed, join=Join.ANY)
    )
    steps.append(WorkflowStep(name="clean-up", command="rm -r /tmp/month", after=ended))
    return WorkflowSpec(name="month-end", group="office", steps=steps)


def sixty() -> WorkflowSpec:
    """Four stages of tables, each loaded, checked and joined."""
    steps = [WorkflowStep(name="begin", command="begin")]
    last = "begin"
    for stage in range(1, 5):
        names = [f"table-{stage}-{letter}" for letter in "abcdefg"]
        for name in names:
            steps.append(WorkflowStep(name=f"load-{name}", command=f"load {name}", after=[Edge(step=last)]))
            steps.append(WorkflowStep(name=f"test-{name}", command=f"check {name}", after=[Edge(step=f"load-{name}")]))
        last = f"join-{stage}"
        joined = [Edge(step=f"test-{name}") for name in names]
        steps.append(WorkflowStep(name=last, command="join", after=joined, checkpoint=True))
    del steps[58:]
    steps.append(WorkflowStep(name="publish", command="publish", after=[Edge(step="join-3"), Edge(step="begin")]))
    failed = [Edge(step="publish", on=Outcome.FAILED)]
    steps.append(WorkflowStep(name="withdraw", command="withdraw", after=failed))
    return WorkflowSpec(name="warehouse", group="loaders", steps=steps)


def _view(spec: WorkflowSpec, **more: object) -> WorkflowView:
    base = WorkflowView(
        id=4,
        name=spec.name,
        version=3,
        current=3,
        held=False,
        text=write(spec).text,
        format="yaml",
        spec=spec,
        made_by="admin",
        made_at_us=NOW_US - 2 * DAY_US,
        reason="the stores are two now",
        users=[],
        missing=[],
    )
    return msgspec.structs.replace(base, **more)


def _made(number: int, reason: str) -> VersionLine:
    at_us = NOW_US - (5 - number) * DAY_US
    return VersionLine(version=number, format="yaml", made_by="admin", made_at_us=at_us, reason=reason)


VERSIONS = (_made(3, "the stores are two now"), _made(2, "compress more"), _made(1, ""))


def _page(spec: WorkflowSpec, **more: object) -> WorkflowPage:
    found = _view(spec, **more)
    return WorkflowPage(frame(spec.name, "/workflows"), found, draw(spec), numbered(found.text), VERSIONS)


def _version(number: int, spec: WorkflowSpec) -> WorkflowVersion:
    text = write(spec).text
    return WorkflowVersion(
        workflow_id=4, version=number, text=text, format="yaml", spec=spec, made_by="", made_at_us=0, reason=""
    )


def _line(number: int, name: str, **more: object) -> WorkflowLine:
    base = WorkflowLine(
        id=number,
        name=name,
        version=number,
        held=False,
        description="",
        steps=5,
        made_by="admin",
        made_at_us=NOW_US - number * HOUR_US,
    )
    return msgspec.structs.replace(base, **more)


STATES = {"dump": "succeeded", "compress": "succeeded", "copy": "running", "check": "waiting", "alarm": "skipped"}
NOTES = {"copy": "1 of 2 has ended", "check": "after copy"}
WRONG = EXAMPLE.replace("after: dump\n", "after: dunp\n").replace("retry: 3", "retrys: 3").replace("AGENT", "dock-1")


def stories() -> list[Story]:
    """All of them."""
    lines = (
        _line(1, "month-end", steps=12, held=True),
        _line(3, "nightly-backup", description="Dump, compress, copy and check"),
        _line(12, "warehouse", steps=60),
    )
    mistakes = tuple(read(WRONG).mistakes)
    before, mail = five(), WorkflowStep(name="mail", command="mail x")
    compress = msgspec.structs.replace(before.steps[1], checkpoint=True)
    steps = [before.steps[0], compress, before.steps[2], mail]
    after = msgspec.structs.replace(before, timeout_s=3600, variables={}, steps=steps)
    changes = diff(_version(2, before), _version(3, after))
    form = frame("Workflow", "/workflows", problem="Nothing is saved: 2 mistakes are in the text, each named below it.")
    whole, text = frame("Workflow", "/workflows"), write(five()).text
    running = changed(_page(five()), graph=draw(five(), STATES, NOTES))
    missing = ["there is no job 'call-somebody'", "there is no group 'stores'"]
    return [
        Story("workflows", WorkflowsPage(frame("Workflows", "/workflows"), lines)),
        Story("workflows-empty", WorkflowsPage(frame("Workflows", "/workflows"), ())),
        Story("workflow-5", _page(five(), users=["weekly"])),
        Story("workflow-1", _page(one(), version=1, current=1, reason="")),
        Story("workflow-12", _page(twelve(), held=True)),
        Story("workflow-60", _page(sixty())),
        Story("workflow-states", running),
        Story("workflow-old", _page(five(), current=7, missing=missing)),
        Story("workflow-diff", WorkflowDiffPage(whole, 4, before.name, changes)),
        Story("workflow-new", WorkflowFormPage(frame("New workflow", "/workflows"), 0, "", EXAMPLE)),
        Story("workflow-checked", WorkflowFormPage(whole, 4, before.name, text, "3", graph=draw(five()))),
        Story("workflow-wrong", WorkflowFormPage(form, 0, "", WRONG, "", "", numbered(WRONG, mistakes), mistakes)),
    ]
