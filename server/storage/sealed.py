"""Secrets that both nodes share, encrypted with the cluster's seal key outside of the database."""

from __future__ import annotations

import sqlite3


def get(connection: sqlite3.Connection, name: str) -> tuple[bytes, bytes] | None:
    """(nonce, ciphertext) of a secret."""
    row = connection.execute("SELECT nonce, ciphertext FROM sealed WHERE name = ?", (name,)).fetchone()
    return (bytes(row[0]), bytes(row[1])) if row else None


def every(connection: sqlite3.Connection) -> list[tuple[str, bytes, bytes]]:
    """(name, nonce, ciphertext) of all."""
    found = connection.execute("SELECT name, nonce, ciphertext FROM sealed ORDER BY name")
    return [(str(name), bytes(nonce), bytes(ciphertext)) for name, nonce, ciphertext in found]


def put(connection: sqlite3.Connection, name: str, nonce: bytes, ciphertext: bytes) -> None:
    """Keep a secret, in place of an older one."""
    connection.execute(
        "INSERT INTO sealed (name, nonce, ciphertext) VALUES (?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET nonce = excluded.nonce, ciphertext = excluded.ciphertext",
        (name, nonce, ciphertext),
    )


def remove(connection: sqlite3.Connection, name: str) -> None:
    """Keep a secret no more."""
    connection.execute("DELETE FROM sealed WHERE name = ?", (name,))
