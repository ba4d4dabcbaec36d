"""Signed-in browsers. Only the hash of the cookie's token is kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from server.core.model import Row
from server.core.people import SESSION_IDLE_MINUTES, Session
from server.storage import rows


class SignedIn(Row, frozen=True, kw_only=True):
    """A row of the page of signed-in users: the session with its user."""

    token_hash: str
    user_id: int
    name: str
    role: str
    tenant: str
    created_at_us: int
    expires_at_us: int
    address: str
    user_agent: str
    seen_at_us: int
    must_change_password: bool
    proved_at_us: int


_IDLE_US = (
    "60000000 * coalesce((SELECT CAST(value AS INTEGER) FROM settings WHERE name = 'session_idle_minutes'),"
    f" {SESSION_IDLE_MINUTES})"
)
_SIGNED_IN = (
    "SELECT s.token_hash, s.user_id, u.name, u.role, u.tenant,"
    " s.created_at_us, s.expires_at_us, s.address, s.user_agent,"
    " coalesce(s.seen_at_us, s.created_at_us) AS seen_at_us, s.must_change_password,"
    " coalesce(s.proved_at_us, s.created_at_us) AS proved_at_us FROM sessions s JOIN users u ON u.id = s.user_id"
    " WHERE s.ended_at_us IS NULL AND s.expires_at_us > :now AND u.disabled_at_us IS NULL"
    f" AND coalesce(s.seen_at_us, s.created_at_us) > :now - {_IDLE_US}"
)


def get(connection: sqlite3.Connection, token_hash: str) -> Session | None:
    """The session, ended and expired ones included."""
    return rows.first(connection, Session, "FROM sessions WHERE token_hash = ?", (token_hash,))


def signed_in(connection: sqlite3.Connection, token_hash: str, now_us: int) -> SignedIn | None:
    """The live session of this token with its user; None when ended, expired, idle or the user is disabled."""
    query = _SIGNED_IN + " AND s.token_hash = :hash"
    row = connection.execute(query, {"now": now_us, "hash": token_hash}).fetchone()
    return rows.build(SignedIn, SignedIn.__struct_fields__, tuple(row)) if row else None


def page(connection: sqlite3.Connection, now_us: int, after: str = "", limit: int = 100) -> list[SignedIn]:
    """Live sessions with their users, by token hash."""
    query = _SIGNED_IN + " AND s.token_hash > :after ORDER BY s.token_hash LIMIT :limit"
    found = connection.execute(query, {"now": now_us, "after": after, "limit": limit})
    return [rows.build(SignedIn, SignedIn.__struct_fields__, tuple(row)) for row in found]


def count(connection: sqlite3.Connection, now_us: int) -> int:
    """Live sessions."""
    query = "SELECT count(*) FROM sessions WHERE ended_at_us IS NULL AND expires_at_us > ?"
    return rows.number(connection, query, (now_us,))


def note_seen(connection: sqlite3.Connection, token_hash: str, at_us: int, apart_us: int) -> int:
    """Keep the last use unless one less than `apart_us` before is kept; 1 when it was written."""
    query = (
        "UPDATE sessions SET seen_at_us = :at WHERE token_hash = :hash"
        " AND coalesce(seen_at_us, created_at_us) <= :at - :apart"
    )
    return connection.execute(query, {"at": at_us, "hash": token_hash, "apart": apart_us}).rowcount


def note_proved(connection: sqlite3.Connection, token_hash: str, now_us: int) -> None:
    """Who is signed in here said again who they are."""
    connection.execute("UPDATE sessions SET proved_at_us = ? WHERE token_hash = ?", (now_us, token_hash))


def note_own_password(connection: sqlite3.Connection, token_hash: str) -> None:
    """Who is signed in here has set a password of their own."""
    connection.execute("UPDATE sessions SET must_change_password = 0 WHERE token_hash = ?", (token_hash,))


def insert(connection: sqlite3.Connection, session: Session) -> None:
    """Add a session."""
    rows.insert(connection, "sessions", msgspec.structs.asdict(session))


def end(connection: sqlite3.Connection, token_hash: str, now_us: int) -> bool:
    """End one session; False when there was none to end."""
    query = "UPDATE sessions SET ended_at_us = ? WHERE token_hash = ? AND ended_at_us IS NULL"
    return connection.execute(query, (now_us, token_hash)).rowcount == 1


def end_of_user(connection: sqlite3.Connection, user_id: int, now_us: int, keep: str = "") -> int:
    """End all sessions of one user but `keep` (a token hash); return how many."""
    query = "UPDATE sessions SET ended_at_us = ? WHERE user_id = ? AND ended_at_us IS NULL AND token_hash != ?"
    return connection.execute(query, (now_us, user_id, keep)).rowcount


def end_others(connection: sqlite3.Connection, user_id: int, now_us: int, keep: str, fresh: str) -> int:
    """End all sessions of one user but `keep`, which goes on as `fresh` when that is given; return how many ended."""
    ended = end_of_user(connection, user_id, now_us, keep)
    found = get(connection, keep) if fresh else None
    if found is not None and end(connection, keep, now_us):
        insert(connection, msgspec.structs.replace(found, token_hash=fresh, ended_at_us=None))
    return ended


def end_all(connection: sqlite3.Connection, now_us: int, keep: str = "") -> int:
    """End every session but `keep` (a token hash); return how many."""
    query = (
        "UPDATE sessions SET ended_at_us = ? WHERE ended_at_us IS NULL AND token_hash != ?"
        " AND user_id IN (SELECT id FROM users)"  # in a change for a tenant those are its own
    )
    return connection.execute(query, (now_us, keep)).rowcount


def end_ordinary(connection: sqlite3.Connection, now_us: int, kept: Sequence[str]) -> int:
    """End every session of people of a tenant, and of those of the host who have none of the roles `kept`."""
    marks = ", ".join("?" for _ in kept)
    query = (
        "UPDATE sessions SET ended_at_us = ? WHERE ended_at_us IS NULL "
        f"AND user_id IN (SELECT id FROM users WHERE tenant != '' OR role NOT IN ({marks}))"
    )
    return connection.execute(query, (now_us, *kept)).rowcount


def oldest_expiry_us(connection: sqlite3.Connection) -> int:
    """The earliest end of all sessions that are kept; far in the future without any."""
    row = connection.execute("SELECT min(expires_at_us) FROM sessions").fetchone()
    return 2**62 if row[0] is None else int(row[0])


def prune(connection: sqlite3.Connection, before_us: int, limit: int = 500) -> int:
    """Forget sessions that expired before `before_us`, at most `limit`; return how many."""
    query = (
        "DELETE FROM sessions WHERE token_hash IN"
        " (SELECT token_hash FROM sessions WHERE expires_at_us < ? ORDER BY expires_at_us LIMIT ?)"
    )
    return connection.execute(query, (before_us, limit)).rowcount
