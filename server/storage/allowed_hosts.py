"""The hosts that this server may talk to: one row of `settings`, the same for all tenants."""

from __future__ import annotations

import sqlite3

import msgspec

from server.core.egress import AllowedHosts
from server.storage import settings

NAME = "allowed_hosts"


def get(connection: sqlite3.Connection) -> AllowedHosts:
    """What is in force."""
    text = settings.get(connection, NAME)
    return msgspec.json.decode(text, type=AllowedHosts) if text else AllowedHosts()


def put(connection: sqlite3.Connection, allowed: AllowedHosts) -> None:
    """Put it in force."""
    settings.put(connection, NAME, msgspec.json.encode(allowed).decode())
