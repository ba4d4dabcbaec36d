"""Passkeys of people, and what was used that is good once."""

from __future__ import annotations

import sqlite3

from server.core.people import Passkey
from server.storage import rows


def of_user(connection: sqlite3.Connection, user_id: int) -> list[Passkey]:
    """All of a user, the oldest first."""
    return rows.every(connection, Passkey, "FROM passkeys WHERE user_id = ? ORDER BY id LIMIT 100", (user_id,))


def get(connection: sqlite3.Connection, number: int) -> Passkey | None:
    """One of them."""
    return rows.first(connection, Passkey, "FROM passkeys WHERE id = ?", (number,))


def by_credential(connection: sqlite3.Connection, credential: str) -> Passkey | None:
    """The one with this id of its device."""
    return rows.first(connection, Passkey, "FROM passkeys WHERE credential = ?", (credential,))


def insert(connection: sqlite3.Connection, passkey: Passkey) -> int:
    """Add one; its `id` is not looked at. Returns the id."""
    names = [name for name in passkey.__struct_fields__ if name != "id"]
    return rows.insert(connection, "passkeys", {name: getattr(passkey, name) for name in names})


def update(connection: sqlite3.Connection, number: int, **values: object) -> None:
    """Set columns of one by name."""
    rows.update(connection, "passkeys", values, {"id": number})


def remove(connection: sqlite3.Connection, number: int) -> None:
    """Forget one."""
    connection.execute("DELETE FROM passkeys WHERE id = ?", (number,))


def remove_of_user(connection: sqlite3.Connection, user_id: int) -> int:
    """Forget all of a user; returns how many."""
    return connection.execute("DELETE FROM passkeys WHERE user_id = ?", (user_id,)).rowcount


def spend(connection: sqlite3.Connection, hashed: str, expires_at_us: int, now_us: int) -> bool:
    """Use up what is good once, until `expires_at_us`; False when it was used before. Forgets what has ended."""
    connection.execute("DELETE FROM spent_once WHERE expires_at_us < ?", (now_us,))
    query = "INSERT OR IGNORE INTO spent_once (hash, expires_at_us) VALUES (?, ?)"
    return connection.execute(query, (hashed, expires_at_us)).rowcount == 1
