"""Ways to sign in beside the password: one row for each that was ever set."""

from __future__ import annotations

import sqlite3
from typing import TypeVar

import msgspec

from server.core.oidc import Provider
from server.core.sign_in_ways import PasskeyNames, ProxyTrust

W = TypeVar("W", bound=msgspec.Struct)
PROXY = "proxy"
PASSKEYS = "passkeys"
PROVIDER = "provider"
CLIENT_SECRET = "oidc_client_secret"
"""The row of `sealed` with the client's secret."""


def proxy(connection: sqlite3.Connection) -> ProxyTrust:
    """Which proxies say who signs in."""
    return _get(connection, PROXY, ProxyTrust) or ProxyTrust()


def passkeys(connection: sqlite3.Connection) -> PasskeyNames:
    """For which name passkeys are made."""
    return _get(connection, PASSKEYS, PasskeyNames) or PasskeyNames()


def provider(connection: sqlite3.Connection) -> Provider:
    """The OpenID provider."""
    return _get(connection, PROVIDER, Provider) or Provider()


def put(connection: sqlite3.Connection, way: str, value: msgspec.Struct, by: str, now_us: int) -> None:
    """Set a way to sign in."""
    text = msgspec.json.encode(value).decode()
    connection.execute(
        "INSERT INTO sign_in_ways (way, value, changed_at_us, changed_by) VALUES (?, ?, ?, ?) ON CONFLICT (way) DO"
        " UPDATE SET value = excluded.value, changed_at_us = excluded.changed_at_us, changed_by = excluded.changed_by",
        (way, text, now_us, by),
    )


def _get(connection: sqlite3.Connection, way: str, kind: type[W]) -> W | None:
    row = connection.execute("SELECT value FROM sign_in_ways WHERE way = ?", (way,)).fetchone()
    return msgspec.json.decode(row[0], type=kind) if row is not None else None
