"""Workflows and their versions. Deleted workflows stay, with every version, for the history of their runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from server.core.model import Row
from server.core.workflows import Workflow, WorkflowSpec, WorkflowVersion, Written
from server.storage import debts, rows, tenancy

_LINES = """
SELECT w.id, w.name, w.version, w.held, json_extract(v.spec, '$.description'), json_array_length(v.spec, '$.steps'),
    v.made_by, v.made_at_us,
    coalesce((SELECT group_concat(tag, ' ') FROM tags WHERE kind = 'workflow' AND owner_id = w.id), '')
FROM workflows w JOIN workflow_versions v ON v.workflow_id = w.id AND v.version = w.version
WHERE w.deleted_at_us IS NULL AND w.name > ? AND instr(w.name, ?)
    AND (? = '' OR EXISTS (SELECT 1 FROM tags WHERE kind = 'workflow' AND owner_id = w.id AND tag = ?))
ORDER BY w.name LIMIT ?
"""


class WorkflowLine(Row, frozen=True, kw_only=True):
    """A row of the list of workflows; who made the current version, and when."""

    id: int
    name: str
    version: int
    held: bool
    description: str
    steps: int
    made_by: str
    made_at_us: int
    tags: str = ""


class VersionLine(Row, frozen=True, kw_only=True):
    """A version without its text."""

    version: int
    format: str
    made_by: str
    made_at_us: int
    reason: str


def get(connection: sqlite3.Connection, workflow_id: int) -> Workflow | None:
    """The workflow, deleted ones included."""
    return rows.first(connection, Workflow, "FROM workflows WHERE id = ?", (workflow_id,))


def by_name(connection: sqlite3.Connection, name: str) -> Workflow | None:
    """The workflow of that name that is not deleted."""
    return rows.first(
        connection,
        Workflow,
        "FROM workflows WHERE name = ? AND deleted_at_us IS NULL",
        (tenancy.typed(connection, name),),
    )


def tenant(connection: sqlite3.Connection, workflow_id: int) -> str:
    """Whose it is: in its text names mean that tenant's things."""
    row = connection.execute("SELECT tenant FROM workflows WHERE id = ?", (workflow_id,)).fetchone()
    return str(row[0]) if row is not None else ""


def lines(
    connection: sqlite3.Connection, after: str = "", limit: int = 100, match: str = "", tag: str = ""
) -> list[WorkflowLine]:
    """The list of workflows, by name above `after`; `match` is a part of the name; `tag`: those that have it."""
    found = connection.execute(_LINES, (after, match, tag, tag, limit))
    return [rows.build(WorkflowLine, WorkflowLine.__struct_fields__, tuple(row)) for row in found]


def insert(connection: sqlite3.Connection, name: str, now_us: int) -> int:
    """Add a workflow without a version and return its id; `add_version` must follow in the same change."""
    values = {"name": name, "version": 0, "created_at_us": now_us, "updated_at_us": now_us}
    return rows.insert(connection, "workflows", {**debts.next_id(connection, "workflows"), **values})


def update(connection: sqlite3.Connection, workflow_id: int, **values: object) -> None:
    """Set columns of one workflow by name."""
    rows.update(connection, "workflows", values, {"id": workflow_id})


def add_version(
    connection: sqlite3.Connection, workflow_id: int, version: int, written: Written, by: str, now_us: int, reason: str
) -> None:
    """Add a version and make it the current one."""
    values = {
        "workflow_id": workflow_id,
        "version": version,
        "text": written.text,
        "format": written.format,
        "spec": written.spec,
        "made_by": by,
        "made_at_us": now_us,
        "reason": reason,
    }
    rows.insert(connection, "workflow_versions", values)
    update(connection, workflow_id, name=written.spec.name, version=version, updated_at_us=now_us)


def version(connection: sqlite3.Connection, workflow_id: int, number: int) -> WorkflowVersion | None:
    """One version with its text and its specification."""
    tail = "FROM workflow_versions WHERE workflow_id = ? AND version = ?"
    return rows.first(connection, WorkflowVersion, tail, (workflow_id, number))


def spec(connection: sqlite3.Connection, workflow: Workflow) -> WorkflowSpec:
    """What the current version says."""
    found = version(connection, workflow.id, workflow.version)
    assert found is not None, "a workflow has its current version"
    return found.spec


def versions(
    connection: sqlite3.Connection, workflow_id: int, before: int | None = None, limit: int = 100
) -> list[VersionLine]:
    """The versions below `before`, the newest first."""
    tail = "FROM workflow_versions WHERE workflow_id = ? AND version < ? ORDER BY version DESC LIMIT ?"
    return rows.every(connection, VersionLine, tail, (workflow_id, 2**62 if before is None else before, limit))


def set_uses(connection: sqlite3.Connection, workflow_id: int, wanted: Iterable[tuple[str, str]]) -> None:
    """What the current version names, as (kind, name)."""
    connection.execute("DELETE FROM workflow_uses WHERE workflow_id = ?", (workflow_id,))
    for kind, name in sorted(wanted):
        rows.insert(connection, "workflow_uses", {"workflow_id": workflow_id, "kind": kind, "name": name})


def uses(connection: sqlite3.Connection, workflow_id: int, kind: str) -> list[str]:
    """The names of that kind in the current version."""
    query = "SELECT name FROM workflow_uses WHERE workflow_id = ? AND kind = ? ORDER BY name"
    return [str(row[0]) for row in connection.execute(query, (workflow_id, kind))]


def users(connection: sqlite3.Connection, kind: str, name: str, limit: int = 100) -> list[str]:
    """The workflows whose current version names that agent, group, job or workflow; by name."""
    query = (
        "SELECT w.name FROM workflow_uses u JOIN workflows w ON w.id = u.workflow_id"
        " WHERE u.kind = ? AND u.name = ? AND w.deleted_at_us IS NULL ORDER BY w.name LIMIT ?"
    )
    return [str(row[0]) for row in connection.execute(query, (kind, name, limit))]
