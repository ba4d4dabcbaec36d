"""API tokens of users. Only the SHA-256 (hex) of the secret is kept."""

from __future__ import annotations

import sqlite3

from server.core.people import ApiToken
from server.storage import rows


def get(connection: sqlite3.Connection, token_id: int) -> ApiToken | None:
    """The token, revoked ones included."""
    return rows.first(connection, ApiToken, "FROM api_tokens WHERE id = ?", (token_id,))


def by_hash(connection: sqlite3.Connection, token_hash: str) -> ApiToken | None:
    """The token whose secret has this hash, revoked ones included."""
    return rows.first(connection, ApiToken, "FROM api_tokens WHERE token_hash = ?", (token_hash,))


def page(
    connection: sqlite3.Connection, user_id: int | None = None, after: int = 0, limit: int = 100
) -> list[ApiToken]:
    """Tokens by id: of one user, or of all."""
    tail = "FROM api_tokens WHERE id > :after AND (:user IS NULL OR user_id = :user) ORDER BY id LIMIT :limit"
    return rows.every(connection, ApiToken, tail, {"after": after, "user": user_id, "limit": limit})


def insert(
    connection: sqlite3.Connection,
    user_id: int,
    name: str,
    token_hash: str,
    now_us: int,
    expires_at_us: int | None,
) -> int:
    """Add a token and return its id."""
    values = {
        "user_id": user_id,
        "name": name,
        "token_hash": token_hash,
        "created_at_us": now_us,
        "expires_at_us": expires_at_us,
    }
    return rows.insert(connection, "api_tokens", values)


def revoke(connection: sqlite3.Connection, token_id: int, now_us: int) -> None:
    """The token is refused from now on."""
    rows.update(connection, "api_tokens", {"revoked_at_us": now_us}, {"id": token_id})


def revoke_of_user(connection: sqlite3.Connection, user_id: int, now_us: int) -> int:
    """Revoke every live token of a user; return how many."""
    query = "UPDATE api_tokens SET revoked_at_us = ? WHERE user_id = ? AND revoked_at_us IS NULL"
    return connection.execute(query, (now_us, user_id)).rowcount
