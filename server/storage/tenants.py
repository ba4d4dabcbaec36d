"""Tenants: who shares this cluster, and what each has."""

from __future__ import annotations

import sqlite3

from server.core.model import Row
from server.storage import rows


class Tenant(Row, frozen=True, kw_only=True):
    """`closed_at_us`: since then nobody of it signs in."""

    name: str
    title: str
    created_at_us: int
    created_by: str
    closed_at_us: int | None = None


class TenantLine(Tenant, frozen=True, kw_only=True):
    """A tenant with how much there is of it. `agents`: those that are its own."""

    users: int
    jobs: int
    workflows: int
    agents: int


_LINES = """
SELECT t.name, t.title, t.created_at_us, t.created_by, t.closed_at_us,
    (SELECT count(*) FROM users WHERE tenant = t.name AND tenant != '' AND disabled_at_us IS NULL),
    (SELECT count(*) FROM jobs
        WHERE tenant = t.name AND tenant != '' AND deleted_at_us IS NULL AND workflow_id IS NULL),
    (SELECT count(*) FROM workflows WHERE tenant = t.name AND tenant != '' AND deleted_at_us IS NULL),
    (SELECT count(*) FROM agents WHERE tenant = t.name AND removed_at_us IS NULL)
FROM tenants t
"""


def by_name(connection: sqlite3.Connection, name: str) -> Tenant | None:
    """The tenant, closed ones included."""
    return rows.first(connection, Tenant, "FROM tenants WHERE name = ?", (name,))


def is_open(connection: sqlite3.Connection, name: str) -> bool:
    """Whether people of it may sign in; the host, "", is always open."""
    found = by_name(connection, name) if name else None
    return not name or (found is not None and found.closed_at_us is None)


def lines(connection: sqlite3.Connection, after: str = "", limit: int = 100) -> list[TenantLine]:
    """Tenants by name, above `after`."""
    found = connection.execute(f"{_LINES} WHERE t.name > ? ORDER BY t.name LIMIT ?", (after, limit))
    return [rows.build(TenantLine, TenantLine.__struct_fields__, tuple(row)) for row in found]


def line(connection: sqlite3.Connection, name: str) -> TenantLine | None:
    """One tenant with its counts."""
    row = connection.execute(f"{_LINES} WHERE t.name = ?", (name,)).fetchone()
    return rows.build(TenantLine, TenantLine.__struct_fields__, tuple(row)) if row else None


def insert(connection: sqlite3.Connection, tenant: Tenant) -> None:
    """Add a tenant."""
    rows.insert(connection, "tenants", {name: getattr(tenant, name) for name in Tenant.__struct_fields__})


def update(connection: sqlite3.Connection, name: str, **values: object) -> None:
    """Set columns of one."""
    rows.update(connection, "tenants", values, {"name": name})


def agents_of(connection: sqlite3.Connection, name: str) -> list[str]:
    """The names of the agents and groups that are its own."""
    query = "SELECT name FROM agents WHERE tenant = ? AND tenant != '' AND removed_at_us IS NULL ORDER BY name"
    return [str(row[0]) for row in connection.execute(query, (name,))]


def others_own(connection: sqlite3.Connection, name: str) -> frozenset[str]:
    """Ids of the agents that are another tenant's alone."""
    query = "SELECT id FROM agents WHERE tenant NOT IN ('', ?)"
    return frozenset(str(row[0]) for row in connection.execute(query, (name,)))


def others_on(connection: sqlite3.Connection, agent_id: str, tenant: str) -> bool:
    """Whether things of the host or of another tenant name this agent or group: jobs, monitors, runs, members."""
    query = (
        "SELECT EXISTS (SELECT 1 FROM jobs WHERE agent_id = :agent AND tenant != :tenant)"
        " OR EXISTS (SELECT 1 FROM monitors WHERE agent_id = :agent AND tenant != :tenant)"
        " OR EXISTS (SELECT 1 FROM runs WHERE agent_id = :agent AND tenant != :tenant)"
        " OR EXISTS (SELECT 1 FROM group_members m JOIN agents g ON g.id = m.group_id"
        "     WHERE m.agent_id = :agent AND g.tenant != :tenant)"
    )
    return bool(rows.number(connection, query, {"agent": agent_id, "tenant": tenant}))


def give_agent(connection: sqlite3.Connection, agent_id: str, tenant: str) -> None:
    """It is this tenant's alone; "" is shared by all."""
    rows.update(connection, "agents", {"tenant": tenant}, {"id": agent_id})
