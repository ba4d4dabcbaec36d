"""Verifying both nodes, and the safe look into the database."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from replication.errors import ReplicationError
from server.errors import Invalid, Unavailable
from server.integrity.proofs import Verification
from server.web.api.endpoint import Call, Endpoint

ROWS_MAX = 10_000
HIDDEN = ("hash", "secret", "sealed", "password", "token")
"""Columns whose names have one of these words read as NULL: a look into the database is no way to a secret."""


class Query(msgspec.Struct, frozen=True):
    """One SELECT, and how many rows at most."""

    query: str
    limit: int = 1000


class Rows(msgspec.Struct, frozen=True):
    """`more` says that the limit cut the answer. `sequence` is the request up to which this was read."""

    columns: list[str]
    rows: list[list[Any]]
    more: bool
    sequence: int


async def verify(call: Call) -> Verification:
    """Have both nodes read and check all their files, and compare them; may take minutes. Changes nothing."""
    if call.site.proofs is None:
        raise Unavailable(
            "This node has no role yet, so it holds nothing that could be verified. "
            "Make it a standby: master-to-standby"
        )
    found: Verification = await call.site.proofs.verify()
    return found


async def look(call: Call) -> Rows:
    """Run one SELECT on this node's database, in either role, without touching SQLite's files or locks."""
    limit = min(max(call.body.limit, 1), ROWS_MAX)

    def query(connection: sqlite3.Connection) -> tuple[list[str], list[list[Any]]]:
        connection.set_authorizer(_only_reading)
        try:
            cursor = connection.execute(call.body.query)
            names = [column[0] for column in cursor.description or ()]
            return names, [[_shown(value) for value in row] for row in cursor.fetchmany(limit + 1)]
        finally:
            connection.set_authorizer(None)

    try:
        (columns, rows), sequence, _ = await call.site.read(query, call.by.tenant)
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise Invalid(f"SQLite says: {error}. One SELECT is possible, nothing that writes.", field="query") from error
    except ReplicationError as error:
        raise Unavailable(f"{error}. A standby answers only what takes less than 0.1 s: ask the master.") from error
    return Rows(columns, rows[:limit], len(rows) > limit, sequence)


def _only_reading(action: int, one: str | None, two: str | None, database: str | None, trigger: str | None) -> int:
    if action == sqlite3.SQLITE_READ:
        return sqlite3.SQLITE_IGNORE if any(word in (two or "").lower() for word in HIDDEN) else sqlite3.SQLITE_OK
    allowed = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
    return sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY


def _shown(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


ENDPOINTS = (
    Endpoint("POST", "/api/v1/verify", verify, "Verify both nodes at one position", answer=Verification),
    Endpoint("POST", "/api/v1/sql", look, "Look into the database: one SELECT", body=Query, answer=Rows),
)
