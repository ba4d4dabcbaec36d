"""Which request of the journal a change will be: noted in the rows that it writes, so that a fork is told by row."""

from __future__ import annotations

import sqlite3


def sequence(connection: sqlite3.Connection) -> int:
    """The sequence of the request that the running change becomes; 0 where the replication has written nothing yet."""
    row = connection.execute("SELECT sequence FROM replication_position WHERE id = 1").fetchone()
    return int(row[0]) if row is not None else 0
