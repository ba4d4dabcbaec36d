"""Agent environments and command sets: what jobs share, by name."""

from __future__ import annotations

import sqlite3

from server.core.command_sets import CommandSet
from server.core.environments import Environment
from server.storage import rows, tenancy


def get(connection: sqlite3.Connection, environment_id: int) -> Environment | None:
    """The environment."""
    return rows.first(connection, Environment, "FROM environments WHERE id = ?", (environment_id,))


def by_name(connection: sqlite3.Connection, name: str) -> Environment | None:
    """The environment of that name."""
    return rows.first(connection, Environment, "FROM environments WHERE name = ?", (tenancy.typed(connection, name),))


def page(connection: sqlite3.Connection, after: str = "", limit: int = 100) -> list[Environment]:
    """Environments by name."""
    return rows.every(connection, Environment, "FROM environments WHERE name > ? ORDER BY name LIMIT ?", (after, limit))


def set_by_name(connection: sqlite3.Connection, name: str) -> CommandSet | None:
    """The command set of that name."""
    return rows.first(connection, CommandSet, "FROM command_sets WHERE name = ?", (tenancy.typed(connection, name),))


def get_set(connection: sqlite3.Connection, set_id: int) -> CommandSet | None:
    """The command set."""
    return rows.first(connection, CommandSet, "FROM command_sets WHERE id = ?", (set_id,))


def page_of_sets(connection: sqlite3.Connection, after: str = "", limit: int = 100) -> list[CommandSet]:
    """Command sets by name."""
    return rows.every(connection, CommandSet, "FROM command_sets WHERE name > ? ORDER BY name LIMIT ?", (after, limit))


def put(connection: sqlite3.Connection, table: str, name: str, now_us: int, by: str, **values: object) -> int:
    """Add a row of `environments` or `command_sets`, or give the one that there is these columns; returns its id."""
    stamp = {"updated_at_us": now_us, "updated_by": by}
    if rows.update(connection, table, {**values, **stamp}, {"name": name}):
        return rows.number(connection, f"SELECT id FROM {table} WHERE name = ?", (name,))
    return rows.insert(connection, table, {"name": name, "created_at_us": now_us, **values, **stamp})


def delete(connection: sqlite3.Connection, table: str, row_id: int) -> None:
    """Take a row of `environments` or `command_sets` away."""
    connection.execute(f"DELETE FROM {table} WHERE id = ?", (row_id,))


def jobs_of(connection: sqlite3.Connection, column: str, row_id: int) -> list[tuple[int, str]]:
    """(id, name) of the jobs that refer to it. `column`: environment_id | command_set_id."""
    query = f"SELECT id, name FROM jobs WHERE {column} = ? AND deleted_at_us IS NULL ORDER BY name"
    return [(int(row[0]), str(row[1])) for row in connection.execute(query, (row_id,))]
