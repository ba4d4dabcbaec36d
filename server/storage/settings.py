"""Settings that both nodes share: one row per name, text values."""

from __future__ import annotations

import sqlite3

GATE_REVISION = "gate_revision"


def get(connection: sqlite3.Connection, name: str, default: str = "") -> str:
    """The value of `name`, or `default`."""
    row = connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
    return str(row[0]) if row else default


def every(connection: sqlite3.Connection) -> dict[str, str]:
    """All settings that were ever set."""
    return {str(n): str(v) for n, v in connection.execute("SELECT name, value FROM settings ORDER BY name")}


def put(connection: sqlite3.Connection, name: str, value: str) -> None:
    """Set `name` to `value`."""
    connection.execute(
        "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )


def gate_revision(connection: sqlite3.Connection) -> int:
    """The number of the last change of gates; agents acknowledge it."""
    return int(get(connection, GATE_REVISION, "0"))


def raise_gate_revision(connection: sqlite3.Connection) -> int:
    """Count one change of gates and return the new revision."""
    revision = gate_revision(connection) + 1
    put(connection, GATE_REVISION, str(revision))
    return revision
