"""The answers given for idempotency keys, for 7 days."""

from __future__ import annotations

import sqlite3

from server.core.model import Outcome
from server.storage import rows


def get(connection: sqlite3.Connection, key: str) -> Outcome | None:
    """The answer kept for a key."""
    return rows.first(connection, Outcome, "FROM outcomes WHERE key = ?", (key,))


def insert(connection: sqlite3.Connection, outcome: Outcome) -> None:
    """Keep an answer."""
    rows.insert(connection, "outcomes", {name: getattr(outcome, name) for name in outcome.__struct_fields__})


def oldest_us(connection: sqlite3.Connection) -> int:
    """When the oldest answer was recorded; far in the future without any."""
    row = connection.execute("SELECT min(recorded_at_us) FROM outcomes").fetchone()
    return 2**62 if row[0] is None else int(row[0])


def prune(connection: sqlite3.Connection, before_us: int, limit: int = 500) -> int:
    """Forget answers recorded before `before_us`, at most `limit`; return how many."""
    query = (
        "DELETE FROM outcomes WHERE key IN"
        " (SELECT key FROM outcomes WHERE recorded_at_us < ? ORDER BY recorded_at_us LIMIT ?)"
    )
    return connection.execute(query, (before_us, limit)).rowcount
