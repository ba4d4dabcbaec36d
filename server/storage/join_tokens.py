"""Join tokens: a secret that enrols one agent, or the standby, once. Only the hash of the secret is kept."""

from __future__ import annotations

import sqlite3

import msgspec

from server.core.model import JoinToken
from server.storage import rows


def get(connection: sqlite3.Connection, token_id: str) -> JoinToken | None:
    """The token, used and expired ones included."""
    return rows.first(connection, JoinToken, "FROM join_tokens WHERE id = ?", (token_id,))


def page(connection: sqlite3.Connection, after: str = "", limit: int = 100) -> list[JoinToken]:
    """All tokens by id."""
    return rows.every(connection, JoinToken, "FROM join_tokens WHERE id > ? ORDER BY id LIMIT ?", (after, limit))


def insert(connection: sqlite3.Connection, token: JoinToken) -> None:
    """Add a token."""
    rows.insert(connection, "join_tokens", msgspec.structs.asdict(token))


def mark_used(connection: sqlite3.Connection, token_id: str, now_us: int) -> None:
    """Nobody can use it again."""
    rows.update(connection, "join_tokens", {"used_at_us": now_us}, {"id": token_id})
