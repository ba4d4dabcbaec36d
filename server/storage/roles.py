"""Roles that the cluster made itself; those of `core.access` are no rows."""

from __future__ import annotations

import sqlite3

import msgspec

from server.core.people import OwnRole
from server.storage import rows

ROLES_MAX = 200


def get(connection: sqlite3.Connection, name: str) -> OwnRole | None:
    """The role of that name."""
    return rows.first(connection, OwnRole, "FROM roles WHERE name = ?", (name,))


def every(connection: sqlite3.Connection) -> list[OwnRole]:
    """All of them, by name; there are at most ROLES_MAX."""
    return rows.every(connection, OwnRole, "FROM roles ORDER BY name LIMIT ?", (ROLES_MAX,))


def users_of(connection: sqlite3.Connection, name: str, tenant: str = "") -> list[str]:
    """Who has the role, closed accounts included; the first 100 by name, of one tenant or, for the host, of all."""
    query = "SELECT name FROM users WHERE role = ? AND ? IN ('', tenant) ORDER BY name LIMIT 100"
    return [str(row[0]) for row in connection.execute(query, (name, tenant))]


def insert(connection: sqlite3.Connection, role: OwnRole) -> None:
    """Add a role."""
    rows.insert(connection, "roles", msgspec.structs.asdict(role))


def update(connection: sqlite3.Connection, name: str, **values: object) -> None:
    """Set columns of one role."""
    rows.update(connection, "roles", values, {"name": name})


def delete(connection: sqlite3.Connection, name: str) -> None:
    """Forget a role."""
    connection.execute("DELETE FROM roles WHERE name = ?", (name,))
