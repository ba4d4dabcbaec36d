"""Who did what: written in the same savepoint as the change itself."""

from __future__ import annotations

import sqlite3

from server.core.model import AuditEntry
from server.storage import rows, tenancy


def insert(
    connection: sqlite3.Connection,
    at_us: int,
    who: str,
    address: str,
    action: str,
    object_: str,
    before: str,
    after: str,
    reason: str,
) -> int:
    """Add an entry and return its id. `before` and `after` are text or JSON of what changed."""
    values = (at_us, who, address, action, object_, before, after, reason, tenancy.tenant_of(connection))
    cursor = connection.execute(
        "INSERT INTO audit (at_us, who, address, action, object, before, after, reason, tenant, sequence)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, coalesce((SELECT sequence FROM replication_position), 0))",
        values,
    )
    return int(cursor.lastrowid or 0)


LATEST_OF = 100_000
"""How far back `latest` looks: it reads entry by entry."""


def latest(connection: sqlite3.Connection, action: str, object_: str) -> AuditEntry | None:
    """The newest entry of an action on an object, among the newest `LATEST_OF`."""
    tail = (
        f"FROM audit WHERE id > coalesce((SELECT max(id) FROM audit), 0) - {LATEST_OF} AND action = ? AND object = ?"
        " ORDER BY id DESC LIMIT 1"
    )
    return rows.first(connection, AuditEntry, tail, (action, object_))


def page(
    connection: sqlite3.Connection, after: int | None = None, limit: int = 100, match: str = ""
) -> list[AuditEntry]:
    """The newest entries first, going on below id `after`; `match` is a part of who, action or object."""
    bound = after if after is not None else 2**62
    tail = (
        "FROM audit WHERE id < :bound AND (:match = '' OR instr(who, :match) OR instr(action, :match)"
        " OR instr(object, :match)) ORDER BY id DESC LIMIT :limit"
    )
    return rows.every(connection, AuditEntry, tail, {"bound": bound, "match": match, "limit": limit})
