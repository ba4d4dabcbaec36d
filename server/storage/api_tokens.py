"""API tokens of users. Only the SHA-256 (hex) of the secret is kept."""

from __future__ import annotations

import sqlite3

from server.core.model import DAY_US
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
    scope: str = "",
) -> int:
    """Add a token and return its id."""
    values = {
        "user_id": user_id,
        "name": name,
        "token_hash": token_hash,
        "created_at_us": now_us,
        "expires_at_us": expires_at_us,
        "scope": scope,
    }
    return rows.insert(connection, "api_tokens", values)


def revoke(connection: sqlite3.Connection, token_id: int, now_us: int) -> None:
    """The token is refused from now on."""
    rows.update(connection, "api_tokens", {"revoked_at_us": now_us}, {"id": token_id})


def revoke_of_user(connection: sqlite3.Connection, user_id: int, now_us: int) -> int:
    """Revoke every live token of a user; return how many."""
    query = "UPDATE api_tokens SET revoked_at_us = ? WHERE user_id = ? AND revoked_at_us IS NULL"
    return connection.execute(query, (now_us, user_id)).rowcount


def note_use(connection: sqlite3.Connection, token_id: int, at_us: int, apart_us: int) -> int:
    """Keep the last use unless one less than `apart_us` before is kept; 1 when it was written."""
    query = (
        "UPDATE api_tokens SET last_used_at_us = :at WHERE id = :id AND coalesce(last_used_at_us, 0) <= :at - :apart"
    )
    return connection.execute(query, {"at": at_us, "id": token_id, "apart": apart_us}).rowcount


def expiring(connection: sqlite3.Connection, before_us: int, limit: int = 100) -> list[tuple[ApiToken, str]]:
    """Tokens with their owners' names that end before `before_us` and were made to last longer than 14 days, of which
    nobody was warned; of open accounts, the first to end first."""
    query = (
        f"SELECT u.name, {rows.columns(ApiToken, 't.')} FROM api_tokens t JOIN users u ON u.id = t.user_id"
        " WHERE t.expires_at_us < ? AND t.expires_at_us IS NOT NULL AND t.revoked_at_us IS NULL"
        " AND t.warned_at_us IS NULL AND u.disabled_at_us IS NULL AND t.expires_at_us - t.created_at_us > ?"
        " ORDER BY t.expires_at_us LIMIT ?"
    )
    found = connection.execute(query, (before_us, 14 * DAY_US, limit))
    return [(rows.build(ApiToken, ApiToken.__struct_fields__, tuple(row)[1:]), str(row[0])) for row in found]


def warned(connection: sqlite3.Connection, token_id: int, now_us: int) -> None:
    """People were told that it ends."""
    rows.update(connection, "api_tokens", {"warned_at_us": now_us}, {"id": token_id})
