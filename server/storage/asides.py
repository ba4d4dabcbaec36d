"""What the scheduler put aside: one row each, until somebody has it done again or dismisses it."""

from __future__ import annotations

import sqlite3

from server.core.asides import ASIDE_US, REASON, Aside
from server.storage import jobs, rows

_DUE = {
    "due": ("orders", "id", "next_instant_us"),
    "suppressed": ("orders", "id", "next_instant_us"),
    "renewal": ("orders", "id", "renew_at_us"),
    "begin": ("runs", "number", "begin_after_us"),
    "blackout": ("schedules", "id", "blackout_next_us"),
    "timeout": ("workflow_runs", "id", "deadline_us"),
    "monitor": ("job_monitor_watches", "monitor_id || ' ' || run_key", "due_us"),
}
"""Where the row of a subject says when it is due: table, what names it, column."""


def park(connection: sqlite3.Connection, work: str, subject: str) -> str:
    """Nobody looks at the subject any more; returns when it was due, as text."""
    if work == "plan":
        connection.execute("UPDATE jobs SET planned_version = version WHERE id = ?", (subject,))
    if work not in _DUE:
        return ""
    table, key, column = _DUE[work]
    row = connection.execute(f"SELECT {column} FROM {table} WHERE {key} = ?", (subject,)).fetchone()
    if work == "begin":
        _park_run(connection, subject)
    else:
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (ASIDE_US, subject))
    return "" if row is None or row[0] is None else str(row[0])


def restore(connection: sqlite3.Connection, aside: Aside, now_us: int) -> None:
    """It is due as it was before; `now_us` when nobody knows."""
    if aside.work == "plan":
        jobs.mark_unplanned(connection, int(aside.subject))
    if aside.work in _DUE:
        table, key, column = _DUE[aside.work]
        due_us = int(aside.was) if aside.was and int(aside.was) < ASIDE_US else now_us
        query = f"UPDATE {table} SET {column} = ? WHERE {key} = ? AND {column} = ?"
        connection.execute(query, (due_us, aside.subject, ASIDE_US))


def drop_due(connection: sqlite3.Connection, aside: Aside) -> None:
    """Its subject is never due: it has no time limit, or nobody looks at it."""
    table, key, column = _DUE[aside.work]
    if aside.work == "monitor":
        connection.execute(f"DELETE FROM {table} WHERE {key} = ?", (aside.subject,))
    else:
        connection.execute(f"UPDATE {table} SET {column} = NULL WHERE {key} = ?", (aside.subject,))


def put(
    connection: sqlite3.Connection, work: str, subject: str, job_id: int | None, was: str, error: str, now_us: int
) -> int:
    """Add a row, or say of the one that there is what went wrong now; returns its id."""
    query = (
        "INSERT INTO asides (work, subject, job_id, was, error, aside_at_us) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (work, subject) DO UPDATE SET error = excluded.error, aside_at_us = excluded.aside_at_us"
        " RETURNING id"
    )
    return rows.number(connection, query, (work, subject, job_id, was, error[:2000], now_us))


def get(connection: sqlite3.Connection, aside_id: int) -> Aside | None:
    """One of them."""
    return rows.first(connection, Aside, "FROM asides WHERE id = ?", (aside_id,))


def page(connection: sqlite3.Connection, after: int = 0, limit: int = 100) -> list[Aside]:
    """The oldest first, going on above id `after`."""
    return rows.every(connection, Aside, "FROM asides WHERE id > ? ORDER BY id LIMIT ?", (after, limit))


def count(connection: sqlite3.Connection) -> int:
    """How many there are."""
    return rows.number(connection, "SELECT count(*) FROM asides")


def of_job(connection: sqlite3.Connection, job_id: int, limit: int = 20) -> list[Aside]:
    """What of one job was put aside."""
    return rows.every(connection, Aside, "FROM asides WHERE job_id = ? ORDER BY id LIMIT ?", (job_id, limit))


def delete(connection: sqlite3.Connection, aside_id: int) -> None:
    """It is decided."""
    connection.execute("DELETE FROM asides WHERE id = ?", (aside_id,))


def clear(connection: sqlite3.Connection, work: str, subject: str) -> None:
    """It was done after all."""
    connection.execute("DELETE FROM asides WHERE work = ? AND subject = ?", (work, subject))


def clear_orders(connection: sqlite3.Connection, job_id: int) -> None:
    """The job was planned: what of it is no order any more has nothing due."""
    query = (
        "DELETE FROM asides WHERE job_id = ? AND work IN ('due', 'renewal', 'suppressed') AND NOT EXISTS"
        " (SELECT 1 FROM orders o WHERE o.id = CAST(subject AS INTEGER) AND o.state = 'active')"
    )
    connection.execute(query, (job_id,))


def job_name(connection: sqlite3.Connection, job_id: int | None) -> str:
    """The job's name, whatever else its row holds; "" without any."""
    row = connection.execute("SELECT name FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return "" if row is None else str(row[0])


def _park_run(connection: sqlite3.Connection, number: str) -> None:
    """A run that would be let go waits instead, out of every queue."""
    query = (
        "UPDATE runs SET state = 'waiting', reason = ?, begin_after_us = ?, agent_id = CASE group_id WHEN '' THEN"
        " agent_id ELSE group_id END WHERE number = ? AND state IN ('waiting', 'starting') AND dispatched_epoch IS NULL"
    )
    connection.execute(query, (REASON, ASIDE_US, number))
