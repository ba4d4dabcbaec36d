"""What the program tells people, until somebody acknowledges it."""

from __future__ import annotations

import sqlite3

from server.core.model import SystemMessage
from server.storage import notifications, rows


def get(connection: sqlite3.Connection, message_id: int) -> SystemMessage | None:
    """One message."""
    return rows.first(connection, SystemMessage, "FROM system_messages WHERE id = ?", (message_id,))


def page(
    connection: sqlite3.Connection,
    after: int | None = None,
    limit: int = 100,
    only_open: bool = False,
    severity: str = "",
    match: str = "",
) -> list[SystemMessage]:
    """Messages, newest first, going on below id `after`; of a severity, or with `match` in their text."""
    opened = " AND acknowledged_at_us IS NULL" if only_open else ""
    tail = (
        f"FROM system_messages WHERE id < :after{opened} AND (:severity = '' OR severity = :severity)"
        " AND (:match = '' OR instr(lower(text), lower(:match))) ORDER BY id DESC LIMIT :limit"
    )
    bound = after if after is not None else 2**62
    return rows.every(
        connection, SystemMessage, tail, {"after": bound, "severity": severity, "match": match, "limit": limit}
    )


def count_open(connection: sqlite3.Connection, severity: str = "") -> int:
    """How many nobody has acknowledged, of a severity or of all."""
    query = "SELECT count(*) FROM system_messages WHERE acknowledged_at_us IS NULL AND ? IN ('', severity)"
    return rows.number(connection, query, (severity,))


def acknowledge_all(connection: sqlite3.Connection, up_to: int, severity: str, by: str, now_us: int) -> int:
    """Somebody has read all up to the id `up_to`, of a severity or of all; returns how many that were."""
    query = (
        "UPDATE system_messages SET acknowledged_by = ?, acknowledged_at_us = ?"
        " WHERE id IN (SELECT id FROM system_messages"
        " WHERE acknowledged_at_us IS NULL AND id <= ? AND ? IN ('', severity))"
    )
    return connection.execute(query, (by, now_us, up_to, severity)).rowcount


def oldest_read_us(connection: sqlite3.Connection) -> int:
    """When the first that is kept was acknowledged; far in the future without any."""
    query = "SELECT min(acknowledged_at_us) FROM system_messages WHERE acknowledged_at_us IS NOT NULL"
    row = connection.execute(query).fetchone()
    return 2**62 if row[0] is None else int(row[0])


def prune(connection: sqlite3.Connection, before_us: int, limit: int = 500) -> int:
    """Remove those that were acknowledged before `before_us`, at most `limit`; the others stay. Returns how many."""
    query = (
        "DELETE FROM system_messages WHERE id IN (SELECT id FROM system_messages"
        " WHERE acknowledged_at_us < ? ORDER BY acknowledged_at_us LIMIT ?)"
    )
    return connection.execute(query, (before_us, limit)).rowcount


def insert(connection: sqlite3.Connection, severity: str, text: str, now_us: int) -> int:
    """Add a message; the id of the same text that nobody has acknowledged yet, when there is one.

    A new alarm is told to the notification lists that want alarms.
    """
    query = "SELECT id FROM system_messages WHERE acknowledged_at_us IS NULL AND text = ? LIMIT 1"
    known = connection.execute(query, (text,)).fetchone()
    if known is not None:
        return int(known[0])
    number = rows.insert(connection, "system_messages", {"at_us": now_us, "severity": severity, "text": text})
    if severity == "alarm":
        notifications.enqueue_alarm(connection, number, text, now_us)
    return number


def acknowledge(connection: sqlite3.Connection, message_id: int, by: str, now_us: int) -> None:
    """Somebody has read it."""
    values = {"acknowledged_by": by, "acknowledged_at_us": now_us}
    rows.update(connection, "system_messages", values, {"id": message_id})
