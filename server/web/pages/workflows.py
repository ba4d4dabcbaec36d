"""Workflows: the list, one with its picture and its versions, what differs between two, and the text that makes one."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from aiohttp import web

from server.actions import workflows as actions
from server.actions.workflows import Mistaken
from server.core.marked_text import Mistake
from server.core.workflow_diff import WorkflowDiff, diff
from server.core.workflows import Workflow, Written
from server.errors import NotFound, UnderstudyError
from server.ports.numbers import is_number
from server.storage import workflows
from server.storage.workflows import VersionLine, WorkflowLine
from server.web.api.workflows import WorkflowView, read_text, view
from server.web.frame import Frame
from server.web.pages import serve
from server.web.pages.workflow_drawing import Drawing, draw

LIMIT = 200
VERSIONS_SHOWN = 20
EXAMPLE = """\
name: nightly
description: Dump the shop, compress it and copy it to both stores
agent: AGENT
steps:
  - name: dump
    command: pg_dump shop > /var/backups/shop.sql
    checkpoint: true
  - name: compress
    command: gzip -9 /var/backups/shop.sql
    after: dump
  - name: copy
    command: copy-to $UNDERSTUDY_ITEM /var/backups/shop.sql.gz
    after: compress
    for_each: [hamburg, bremen]
    retry: 3
  - name: alarm
    command: call-somebody
    after: {dump: failed, compress: failed, copy: failed}
    join: any
"""


@dataclass(frozen=True, slots=True)
class WorkflowsPage:
    """The list. `more_after` is the name to page on from, or empty."""

    template: ClassVar[str] = "pages/workflow_list.html"
    frame: Frame
    workflows: tuple[WorkflowLine, ...]
    match: str = ""
    more_after: str = ""
    tag: str = ""


@dataclass(frozen=True, slots=True)
class TextLine:
    """A line of a text with its number, and what is wrong in it."""

    number: int
    text: str
    mistakes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkflowPage:
    """One workflow at one version; `deleted_at_us` when it is gone."""

    template: ClassVar[str] = "pages/workflow_show.html"
    frame: Frame
    workflow: WorkflowView
    graph: Drawing
    lines: tuple[TextLine, ...]
    versions: tuple[VersionLine, ...]
    deleted_at_us: int | None = None
    once: str = ""
    """Makes a second click on *run now* the same run."""

    @property
    def is_current(self) -> bool:
        """Whether the version that is shown is in force."""
        return self.workflow.version == self.workflow.current


@dataclass(frozen=True, slots=True)
class WorkflowDiffPage:
    """What differs between two versions."""

    template: ClassVar[str] = "pages/workflow_diff.html"
    frame: Frame
    workflow_id: int
    name: str
    diff: WorkflowDiff


@dataclass(frozen=True, slots=True)
class WorkflowFormPage:
    """The text that somebody types. `lines`: of a text that is wrong; `graph`: the picture of one that is right.

    `version` is the one that was read: the change is refused when another is current by then.
    """

    template: ClassVar[str] = "pages/workflow_edit.html"
    frame: Frame
    workflow_id: int
    name: str
    text: str
    version: str = ""
    reason: str = ""
    lines: tuple[TextLine, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    graph: Drawing | None = None


def numbered(text: str, mistakes: Sequence[Mistake] = ()) -> tuple[TextLine, ...]:
    """The lines of a text with what is wrong in each. What is wrong behind the last line is said at the last."""
    lines = text.split("\n")
    while len(lines) > 1 and not lines[-1]:
        lines.pop()
    said: dict[int, list[str]] = {}
    for one in mistakes:
        said.setdefault(min(one.line, len(lines)), []).append(one.text)
    return tuple(TextLine(number, line, tuple(said.get(number, ()))) for number, line in enumerate(lines, 1))


async def show_all(request: web.Request) -> web.Response:
    """`GET /workflows`."""
    match, after, tag = (request.query.get(name, "") for name in ("match", "after", "tag"))
    frame, found = await serve.load(request, "Workflows", lambda c: workflows.lines(c, after, LIMIT, match, tag))
    return serve.html(WorkflowsPage(frame, tuple(found), match, found[-1].name if len(found) == LIMIT else "", tag))


def _get(connection: sqlite3.Connection, request: web.Request) -> Workflow:
    found = workflows.get(connection, int(request.match_info["id"]))
    if found is None:
        raise NotFound("There is no such workflow. See the list of workflows.")
    return found


async def show(request: web.Request) -> web.Response:
    """`GET /workflows/{id}` and `GET /workflows/{id}/versions/{version}`."""
    number = request.match_info.get("version", "")

    def query(connection: sqlite3.Connection) -> tuple[WorkflowView, list[VersionLine], int | None]:
        found = _get(connection, request)
        version = workflows.version(connection, found.id, int(number) if number else found.version)
        if version is None:
            raise NotFound(f"{found.name} has no version {number}.")
        newest = workflows.versions(connection, found.id, limit=VERSIONS_SHOWN)
        return view(connection, found, version), newest, found.deleted_at_us

    frame, (found, versions, deleted_at_us) = await serve.load(request, "Workflow", query)
    page = WorkflowPage(
        frame.with_title(found.name),
        found,
        await asyncio.to_thread(draw, found.spec),
        numbered(found.text),
        tuple(versions),
        deleted_at_us,
        once=secrets.token_hex(8),
    )
    return serve.html(page)


async def compare(request: web.Request) -> web.Response:
    """`GET /workflows/{id}/diff?from=&to=`: by default the current version with the one before it."""

    def query(connection: sqlite3.Connection) -> tuple[Workflow, WorkflowDiff]:
        found = _get(connection, request)
        to = _number(request.query.get("to", ""), found.version)
        since = _number(request.query.get("from", ""), max(1, to - 1))
        versions = [workflows.version(connection, found.id, number) for number in (since, to)]
        before, after = versions
        if before is None or after is None:
            raise NotFound(f"{found.name} has versions 1 to {found.version}.")
        return found, diff(before, after)

    frame, (found, changes) = await serve.load(request, "Workflow", query)
    return serve.html(WorkflowDiffPage(frame.with_title(f"{found.name}: changes"), found.id, found.name, changes))


def _number(text: str, default: int) -> int:
    return int(text) if is_number(text) and len(text) < 10 else default


async def new(request: web.Request) -> web.Response:
    """`GET /workflows/new`."""
    frame, _ = await serve.load(request, "New workflow", lambda connection: None)
    return serve.html(WorkflowFormPage(frame, 0, "", EXAMPLE))


async def edit(request: web.Request) -> web.Response:
    """`GET /workflows/{id}/edit`: the current text."""

    def query(connection: sqlite3.Connection) -> WorkflowView:
        return view(connection, _get(connection, request))

    frame, found = await serve.load(request, "Change a workflow", query)
    return serve.html(WorkflowFormPage(frame, found.id, found.name, found.text, str(found.version)))


async def save(request: web.Request) -> web.Response:
    """`POST /workflows/new` and `POST /workflows/{id}/edit`: saves, or only checks. A refusal keeps what was typed."""
    typed = await _typed(request)
    try:
        written = await read_text(typed.text, "")
        if typed.only_check:
            return await _checked(request, typed, written)
        if typed.workflow_id:
            name = await _named(request)
            version = int(typed.version) if is_number(typed.version) else None
            done = await serve.write(
                request, lambda by, now_us: actions.update(name, written, by, now_us, version, typed.reason)
            )
        else:
            done = await serve.write(request, lambda by, now_us: actions.create(written, by, now_us, typed.reason))
    except UnderstudyError as error:
        return await _again(request, typed, error)
    return serve.back(f"/workflows/{done.id}", "workflow-saved")


@dataclass(frozen=True, slots=True)
class _Typed:
    workflow_id: int
    text: str
    version: str
    reason: str
    only_check: bool


async def _typed(request: web.Request) -> _Typed:
    """What the form says. Lines end as on this system; blanks at their beginning stay."""
    fields = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
    text = fields.get("text", "").replace("\r\n", "\n").rstrip() + "\n"
    number = int(request.match_info.get("id", "0"))
    reason = fields.get("reason", "").strip()
    return _Typed(number, text, fields.get("version", ""), reason, fields.get("what") == "check")


async def _checked(request: web.Request, typed: _Typed, written: Written) -> web.Response:
    """The form again, with the picture of what was typed."""
    frame, mistakes = await serve.load(request, "Workflow", lambda c: actions.examine(c, written))
    if mistakes:
        raise Mistaken(mistakes)
    graph = await asyncio.to_thread(draw, written.spec)
    page = WorkflowFormPage(
        frame, typed.workflow_id, written.spec.name, typed.text, typed.version, typed.reason, graph=graph
    )
    return serve.html(page)


async def _again(request: web.Request, typed: _Typed, error: UnderstudyError) -> web.Response:
    if error.status not in (400, 409):
        raise error
    mistakes = tuple(error.mistakes) if isinstance(error, Mistaken) else ()
    name = await _named(request) if typed.workflow_id else ""
    frame, _ = await serve.load(request, "Workflow", lambda connection: None)
    problem = str(error)
    if mistakes:
        count = "one mistake is" if len(mistakes) == 1 else f"{len(mistakes)} mistakes are"
        problem = f"Nothing is saved: {count} in the text, each named below its line."
    page = WorkflowFormPage(
        frame.with_problem(problem),
        typed.workflow_id,
        name,
        typed.text,
        typed.version,
        typed.reason,
        numbered(typed.text, mistakes) if mistakes else (),
        mistakes,
    )
    return serve.html(page, 422)


async def _named(request: web.Request) -> str:
    _, found = await serve.load(request, "", lambda connection: _get(connection, request))
    return found.name


async def delete(request: web.Request) -> web.Response:
    """`POST /workflows/{id}/delete`."""
    name, reason = await _named(request), (await serve.form(request)).get("reason", "")
    await serve.write(request, lambda by, now_us: actions.delete(name, by, now_us, reason))
    return serve.back("/workflows", "workflow-deleted")


async def hold(request: web.Request) -> web.Response:
    """`POST /workflows/{id}/hold`."""
    name, reason = await _named(request), (await serve.form(request)).get("reason", "")
    await serve.write(request, lambda by, now_us: actions.hold(name, by, now_us, reason))
    return serve.back(f"/workflows/{request.match_info['id']}", "workflow-held")


async def release(request: web.Request) -> web.Response:
    """`POST /workflows/{id}/release`."""
    name = await _named(request)
    await serve.write(request, lambda by, now_us: actions.release(name, by, now_us))
    return serve.back(f"/workflows/{request.match_info['id']}", "workflow-released")


async def roll_back(request: web.Request) -> web.Response:
    """`POST /workflows/{id}/versions/{version}/roll-back`."""
    name, reason = await _named(request), (await serve.form(request)).get("reason", "")
    version = int(request.match_info["version"])
    await serve.write(request, lambda by, now_us: actions.roll_back(name, version, by, now_us, reason))
    return serve.back(f"/workflows/{request.match_info['id']}", "workflow-back")


ROUTES = (
    serve.get("/workflows", show_all),
    serve.get("/workflows/new", new),
    serve.post("/workflows/new", save),
    serve.get(r"/workflows/{id:\d{1,18}}", show),
    serve.get(r"/workflows/{id:\d{1,18}}/edit", edit),
    serve.post(r"/workflows/{id:\d{1,18}}/edit", save),
    serve.get(r"/workflows/{id:\d{1,18}}/diff", compare),
    serve.get(r"/workflows/{id:\d{1,18}}/versions/{version:\d{1,9}}", show),
    serve.post(r"/workflows/{id:\d{1,18}}/versions/{version:\d{1,9}}/roll-back", roll_back),
    serve.post(r"/workflows/{id:\d{1,18}}/delete", delete),
    serve.post(r"/workflows/{id:\d{1,18}}/hold", hold),
    serve.post(r"/workflows/{id:\d{1,18}}/release", release),
)
