"""What the program tells people, until somebody acknowledges it."""

from __future__ import annotations

import sqlite3

from server.core.model import SystemMessage
from server.storage import notifications, rows


def get(connection: sqlite3.Connection, message_id: int) -> SystemMessage | None:
    """One message."""
    return rows.first(connection, SystemMessage, "FROM system_messages WHERE id = ?", (message_id,))


def page(
    connection: sqlite3.Connection, after: int | None = None, limit: int = 100, only_open: bool = False
) -> list[SystemMessage]:
    """Messages, newest first, going on below id `after`."""
    opened = " AND acknowledged_at_us IS NULL" if only_open else ""
    tail = f"FROM system_messages WHERE id < ?{opened} ORDER BY id DESC LIMIT ?"
    return rows.every(connection, SystemMessage, tail, (after if after is not None else 2**62, limit))


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
