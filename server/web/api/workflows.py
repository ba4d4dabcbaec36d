"""Workflows: their texts, versions and differences, and a check without keeping anything."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

import msgspec
from aiohttp import web

from server.actions import workflows
from server.actions.workflows import Mistaken
from server.core import workflow_schema
from server.core.marked_text import Mistake
from server.core.workflow_diff import WorkflowDiff, diff
from server.core.workflow_writing import write
from server.core.workflows import Workflow, WorkflowSpec, WorkflowVersion, Written
from server.ports.numbers import NUMBER_MAX
from server.storage import job_workflows
from server.storage import workflows as rows
from server.storage.workflows import VersionLine, WorkflowLine
from server.web.api.endpoint import Answer, Call, Endpoint, Number, number, shape
from server.web.api.jobs import Hold


class WorkflowText(msgspec.Struct, frozen=True):
    """A workflow as text. format: yaml | json, or "" for what it looks like. `version`: the one that it changes."""

    text: str
    format: str = ""
    version: int | None = None
    reason: str = ""


class RollBack(msgspec.Struct, frozen=True):
    """The version whose text becomes a new version."""

    version: int
    reason: str = ""


class Checked(msgspec.Struct, frozen=True):
    """What is wrong in a text, by line and column; nothing when it could be kept, and then `canonical` is its text."""

    mistakes: list[Mistake]
    name: str = ""
    steps: int = 0
    canonical: str = ""


class WorkflowView(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow at one version. `users`: workflows that have it as a step. `missing`: names of it that nothing has.

    `begun_by`: jobs that begin it.
    """

    id: int
    name: str
    version: int
    current: int
    held: bool
    text: str
    format: str
    spec: WorkflowSpec
    made_by: str
    made_at_us: int
    reason: str
    users: list[str]
    missing: list[str]
    begun_by: list[str] = []


async def list_workflows(call: Call) -> list[WorkflowLine]:
    """Workflows by name, above `after`; `match` is a part of the name, `tag` one of its tags."""
    after, match, tag, limit = call.query("after"), call.query("match"), call.query("tag"), call.limit()
    return await call.read(lambda connection: rows.lines(connection, after, limit, match, tag))


async def show_workflow(call: Call) -> WorkflowView:
    """The current version of a workflow."""
    name = call.path("name")
    return await call.read(lambda connection: view(connection, workflows.find(connection, name)))


async def show_version(call: Call) -> WorkflowView:
    """One version of a workflow."""
    name, number = call.path("name"), call.number("version")

    def query(connection: sqlite3.Connection) -> WorkflowView:
        found = workflows.find(connection, name)
        return view(connection, found, workflows.version_of(connection, name, number))

    return await call.read(query)


async def list_versions(call: Call) -> list[VersionLine]:
    """The versions of a workflow, the newest first, below `before`."""
    name, limit = call.path("name"), call.limit()
    before = call.query_number("before", NUMBER_MAX, 0, NUMBER_MAX)
    return await call.read(lambda c: rows.versions(c, workflows.find(c, name).id, before, limit))


async def diff_versions(call: Call) -> WorkflowDiff:
    """What changed from one version to another: by default from the last but one to the current one."""
    name = call.path("name")

    def query(connection: sqlite3.Connection) -> WorkflowDiff:
        current = workflows.find(connection, name).version
        to = call.query_number("to", current, 1, NUMBER_MAX)
        since = call.query_number("from", max(1, to - 1), 1, NUMBER_MAX)
        return diff(workflows.version_of(connection, name, since), workflows.version_of(connection, name, to))

    return await call.read(query)


async def create_workflow(call: Call) -> Answer:
    """Add a workflow."""
    written = await read_text(call.body.text, call.body.format)
    return await call.write(workflows.create(written, call.by, call.now_us, call.body.reason), made, 201)


async def update_workflow(call: Call) -> Answer:
    """Give a workflow another text: a new version. The text may give it another name."""
    body, name = call.body, call.path("name")
    written = await read_text(body.text, body.format)
    return await call.write(
        workflows.update(name, written, call.by, call.now_us, body.version, body.reason),
        made,
    )


async def roll_back(call: Call) -> Answer:
    """Make a new version with the text of an old one."""
    name, body = call.path("name"), call.body
    return await call.write(workflows.roll_back(name, body.version, call.by, call.now_us, body.reason), made)


async def delete_workflow(call: Call) -> Answer:
    """Delete a workflow; its versions stay."""
    name = call.path("name")
    change = workflows.delete(name, call.by, call.now_us, call.query("reason"))
    return await call.write(change, lambda _: {"name": name, "deleted": True})


async def hold_workflow(call: Call) -> Answer:
    """Hold or release a workflow."""
    name, body = call.path("name"), call.body
    make = workflows.hold if body.held else workflows.release
    change = make(name, call.by, call.now_us, body.reason)
    return await call.write(change, lambda changed: {"name": name, "held": body.held, "changed": changed})


async def check_workflow(call: Call) -> Checked:
    """What is wrong in a text, without keeping it; what it names is looked up."""
    try:
        written = await read_text(call.body.text, call.body.format)
    except Mistaken as error:
        return Checked(error.mistakes)
    found = await call.read(lambda connection: workflows.examine(connection, written))
    spec = written.spec
    return Checked(found, spec.name, len(spec.steps), "" if found else write(spec).text)


async def show_schema(call: Call) -> web.Response:
    """The JSON Schema of a workflow's text."""
    return web.Response(text=workflow_schema.text(), content_type="application/schema+json")


async def read_text(text: str, format: str) -> Written:
    """What a text says; raises Mistaken. In a thread: the longest texts take a while."""
    return await asyncio.to_thread(workflows.read, text, format)


def made(found: Workflow) -> dict[str, Any]:
    """What a change answers."""
    return {"id": found.id, "name": found.name, "version": found.version}


def view(connection: sqlite3.Connection, found: Workflow, version: WorkflowVersion | None = None) -> WorkflowView:
    """The workflow at that version, else at the current one."""
    shown = version or workflows.version_of(connection, found.name, found.version)
    return WorkflowView(
        id=found.id,
        name=found.name,
        version=shown.version,
        current=found.version,
        held=found.held,
        text=shown.text,
        format=shown.format,
        spec=shown.spec,
        made_by=shown.made_by,
        made_at_us=shown.made_at_us,
        reason=shown.reason,
        users=rows.users(connection, "workflow", found.name),
        begun_by=job_workflows.names_of(connection, found.id),
        missing=[wrong.text for wrong in workflows.unknown(connection, shown.spec, found.name)],
    )


_ROOT = "/api/v1/workflows"
_ONE = "/api/v1/workflows/{name}"
ENDPOINTS = (
    Endpoint(
        "GET", _ROOT, list_workflows, "Workflows", answer=list[WorkflowLine], query=("after", "limit", "match", "tag")
    ),
    Endpoint(
        "POST",
        _ROOT,
        create_workflow,
        "Add a workflow",
        answer=shape(id=int, name=str, version=int),
        body=WorkflowText,
        status=201,
    ),
    Endpoint(
        "GET", f"{_ROOT}/schema", show_schema, "The JSON Schema of a workflow's text", media="application/schema+json"
    ),
    Endpoint("POST", f"{_ROOT}/check", check_workflow, "Check a text", body=WorkflowText, answer=Checked),
    Endpoint("GET", _ONE, show_workflow, "One workflow", answer=WorkflowView),
    Endpoint(
        "PUT",
        _ONE,
        update_workflow,
        "Give a workflow another text",
        answer=shape(id=int, name=str, version=int),
        body=WorkflowText,
    ),
    Endpoint(
        "DELETE", _ONE, delete_workflow, "Delete a workflow", answer=shape(name=str, deleted=bool), query=("reason",)
    ),
    Endpoint(
        "PUT",
        f"{_ONE}/hold",
        hold_workflow,
        "Hold or release a workflow",
        answer=shape(name=str, held=bool, changed=bool),
        body=Hold,
    ),
    Endpoint(
        "GET",
        f"{_ONE}/versions",
        list_versions,
        "The versions of a workflow",
        answer=list[VersionLine],
        query=(number("before"), "limit"),
    ),
    Endpoint("GET", f"{_ONE}/versions/{{version}}", show_version, "One version of a workflow", answer=WorkflowView),
    Endpoint(
        "GET",
        f"{_ONE}/diff",
        diff_versions,
        "What changed",
        answer=WorkflowDiff,
        query=(Number("from", 1), Number("to", 1)),
    ),
    Endpoint(
        "POST",
        f"{_ONE}/roll-back",
        roll_back,
        "Make an old version the current one",
        answer=shape(id=int, name=str, version=int),
        body=RollBack,
    ),
)
