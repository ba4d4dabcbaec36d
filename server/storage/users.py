"""People who sign in. `password` is an Argon2id PHC string made outside of the writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from server.core.people import User
from server.storage import rows


def get(connection: sqlite3.Connection, user_id: int) -> User | None:
    """The user, disabled ones included."""
    return rows.first(connection, User, "FROM users WHERE id = ?", (user_id,))


def by_name(connection: sqlite3.Connection, name: str) -> User | None:
    """The user of that name, disabled ones included."""
    return rows.first(connection, User, "FROM users WHERE name = ?", (name,))


def page(connection: sqlite3.Connection, after: str = "", limit: int = 100) -> list[User]:
    """Users by name."""
    return rows.every(connection, User, "FROM users WHERE name > ? ORDER BY name LIMIT ?", (after, limit))


def active_with(connection: sqlite3.Connection, roles: Sequence[str]) -> int:
    """How many people of the host who have one of these roles can sign in."""
    marks = ", ".join("?" for _ in roles)
    query = f"SELECT count(*) FROM users WHERE role IN ({marks}) AND tenant = '' AND disabled_at_us IS NULL"
    return rows.number(connection, query, roles)


def of_tenant(connection: sqlite3.Connection, tenant: str) -> list[User]:
    """All users of a tenant."""
    return rows.every(connection, User, "FROM users WHERE tenant = ? AND tenant != '' ORDER BY name", (tenant,))


def insert(
    connection: sqlite3.Connection, name: str, password: str, role: str, now_us: int, given_at_us: int | None = None
) -> int:
    """Add a user and return the id."""
    values = {"name": name, "password": password, "role": role, "created_at_us": now_us}
    values["password_given_at_us"] = given_at_us
    return rows.insert(connection, "users", values)


def update(connection: sqlite3.Connection, user_id: int, **values: object) -> None:
    """Set columns of one user by name."""
    rows.update(connection, "users", values, {"id": user_id})
