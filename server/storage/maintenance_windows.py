"""Planned maintenance windows: a few rows."""

from __future__ import annotations

import sqlite3

from server.core.maintenance_windows import OVER, Window
from server.storage import rows

MAX = 200
"""How many there may be that are not over."""
KEPT = 50
"""How many that are over are shown."""


def get(connection: sqlite3.Connection, window_id: int) -> Window | None:
    """One window."""
    return rows.first(connection, Window, "FROM maintenance_windows WHERE id = ?", (window_id,))


def coming(connection: sqlite3.Connection) -> list[Window]:
    """Those that are planned or open, the next first."""
    tail = "FROM maintenance_windows WHERE state != 'over' ORDER BY start_us, id LIMIT ?"
    return rows.every(connection, Window, tail, (MAX,))


def page(connection: sqlite3.Connection) -> list[Window]:
    """All that are coming, and the last that are over."""
    tail = "FROM maintenance_windows WHERE state = ? ORDER BY id DESC LIMIT ?"
    return coming(connection) + rows.every(connection, Window, tail, (OVER, KEPT))


def insert(connection: sqlite3.Connection, **values: object) -> int:
    """Add one and return its id."""
    return rows.insert(connection, "maintenance_windows", values)


def update(connection: sqlite3.Connection, window_id: int, **values: object) -> None:
    """Set columns of one."""
    rows.update(connection, "maintenance_windows", values, {"id": window_id})


def delete(connection: sqlite3.Connection, window_id: int) -> None:
    """Remove one."""
    connection.execute("DELETE FROM maintenance_windows WHERE id = ?", (window_id,))


def durations_us(connection: sqlite3.Connection, job_id: int, limit: int = 100) -> list[int]:
    """How long the job's latest successful runs took, among its last 200 runs."""
    query = (
        "SELECT ended_at_us - started_at_us FROM (SELECT * FROM runs WHERE job_id = ? ORDER BY number DESC LIMIT 200)"
        " WHERE state = 'succeeded' AND started_at_us IS NOT NULL ORDER BY number DESC LIMIT ?"
    )
    return [int(length) for (length,) in connection.execute(query, (job_id, limit))]
