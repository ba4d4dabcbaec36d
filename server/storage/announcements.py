"""The banner and the login message: one row of each kind, and who has dismissed which text of the latter."""

from __future__ import annotations

import sqlite3

import msgspec

from server.core.announcements import LOGIN_MESSAGE, Announcement
from server.storage import rows


def get(connection: sqlite3.Connection, kind: str) -> Announcement:
    """The row of a kind; with version 0 while nothing was ever set."""
    found = rows.first(connection, Announcement, "FROM announcements WHERE kind = ?", (kind,))
    return found if found is not None else Announcement(kind=kind)


def exist(connection: sqlite3.Connection) -> bool:
    """Whether the database has the table: the copy of a standby may be of the release before."""
    query = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'announcements'"
    return rows.number(connection, query) > 0


def put(connection: sqlite3.Connection, announcement: Announcement) -> None:
    """Write the row of its kind."""
    connection.execute("DELETE FROM announcements WHERE kind = ?", (announcement.kind,))
    rows.insert(connection, "announcements", msgspec.structs.asdict(announcement))


def dismiss(connection: sqlite3.Connection, user_id: int, version: int, now_us: int) -> bool:
    """A user has read the text of `version`; False when that or a newer one was dismissed before."""
    cursor = connection.execute(
        "INSERT INTO login_message_dismissals (user_id, version, dismissed_at_us) VALUES (?, ?, ?)"
        " ON CONFLICT (user_id) DO UPDATE SET version = excluded.version, dismissed_at_us = excluded.dismissed_at_us"
        " WHERE excluded.version > version",
        (user_id, version, now_us),
    )
    return cursor.rowcount == 1


def dismissed(connection: sqlite3.Connection, version: int) -> int:
    """How many users have dismissed the text of `version`."""
    return rows.number(connection, "SELECT count(*) FROM login_message_dismissals WHERE version = ?", (version,))


def unread(connection: sqlite3.Connection, session_hash: str, role: str, now_us: int) -> Announcement | None:
    """The login message that the user of a session has yet to dismiss, or None."""
    found = get(connection, LOGIN_MESSAGE)
    if not found.is_shown(now_us, role):
        return None
    query = (
        "SELECT d.version FROM sessions s JOIN login_message_dismissals d ON d.user_id = s.user_id"
        " WHERE s.token_hash = ?"
    )
    return None if rows.number(connection, query, (session_hash,)) >= found.version else found
