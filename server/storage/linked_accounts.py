"""Which account a provider's person has here."""

from __future__ import annotations

import sqlite3

from server.core.people import LinkedAccount
from server.storage import rows


def get(connection: sqlite3.Connection, issuer: str, subject: str) -> LinkedAccount | None:
    """The account of whom an issuer calls so."""
    return rows.first(
        connection, LinkedAccount, "FROM linked_accounts WHERE issuer = ? AND subject = ?", (issuer, subject)
    )


def of_user(connection: sqlite3.Connection, user_id: int) -> list[LinkedAccount]:
    """What is linked with a user."""
    return rows.every(connection, LinkedAccount, "FROM linked_accounts WHERE user_id = ? LIMIT 100", (user_id,))


def insert(connection: sqlite3.Connection, linked: LinkedAccount) -> None:
    """Link an account."""
    rows.insert(connection, "linked_accounts", {name: getattr(linked, name) for name in linked.__struct_fields__})


def remove_of_user(connection: sqlite3.Connection, user_id: int) -> int:
    """Forget what is linked with a user; returns how many."""
    return connection.execute("DELETE FROM linked_accounts WHERE user_id = ?", (user_id,)).rowcount
