"""The outbox: what happened that somebody watches, in order, until the scheduler has followed it.

Written inside the change that makes it happen, so there is exactly one row for each time it happened.
"""

from __future__ import annotations

import sqlite3

from server.core.happenings import Happening
from server.storage import rows

_RUN = (
    "INSERT INTO happenings (kind, source_id, subject, status, at_us)"
    " SELECT 'run', r.job_id, r.number, r.state, ? FROM runs r"
    " WHERE r.number = ? AND EXISTS (SELECT 1 FROM watches w WHERE w.kind = 'run' AND w.source_id = r.job_id)"
)
_ANY = (
    "INSERT INTO happenings (kind, source_id, subject, status, at_us) SELECT ?, ?, ?, ?, ?"
    " WHERE EXISTS (SELECT 1 FROM watches w WHERE w.kind = ? AND w.source_id = ?)"
)


def watch(connection: sqlite3.Connection, kind: str, source_id: int, watcher: str) -> None:
    """From now on `watcher` is told of it; again is the same."""
    connection.execute("INSERT OR IGNORE INTO watches VALUES (?, ?, ?)", (kind, source_id, watcher))


def unwatch(connection: sqlite3.Connection, kind: str, source_id: int, watcher: str) -> None:
    """`watcher` no longer needs it; what is in the outbox already is still told."""
    connection.execute(
        "DELETE FROM watches WHERE kind = ? AND source_id = ? AND watcher = ?", (kind, source_id, watcher)
    )


def is_watched(connection: sqlite3.Connection, kind: str, source_id: int) -> bool:
    """Whether anybody is told of it."""
    query = "SELECT 1 FROM watches WHERE kind = ? AND source_id = ? LIMIT 1"
    return connection.execute(query, (kind, source_id)).fetchone() is not None


def run_changed(connection: sqlite3.Connection, number: int, at_us: int) -> None:
    """A run has the state that its row says, since `at_us`. Called by `storage.runs` at every change of state."""
    connection.execute(_RUN, (at_us, number))


def unknown_changed(connection: sqlite3.Connection, agent_id: str, at_us: int) -> None:
    """What is unknown of an agent may be taken now: the machine is dead, or it has given up what it ran."""
    query = "SELECT number FROM runs WHERE agent_id = ? AND state = 'unknown' ORDER BY number"
    for (number,) in connection.execute(query, (agent_id,)).fetchall():
        run_changed(connection, number, at_us)


def happened(connection: sqlite3.Connection, kind: str, source_id: int, subject: int, status: str, at_us: int) -> None:
    """Something other than a run: see `core.happenings.Kind`."""
    connection.execute(_ANY, (kind, source_id, subject, status, at_us, kind, source_id))


def page(connection: sqlite3.Connection, limit: int) -> list[Happening]:
    """The oldest that nobody followed yet."""
    return rows.every(connection, Happening, "FROM happenings ORDER BY id LIMIT ?", (limit,))


def followed(connection: sqlite3.Connection, up_to_id: int) -> None:
    """Everything up to this id has its consequences in rows."""
    connection.execute("DELETE FROM happenings WHERE id <= ?", (up_to_id,))
