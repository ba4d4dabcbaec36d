"""Of which silent agents people were told."""

from __future__ import annotations

import sqlite3

from server.core.model import Row
from server.storage import rows

_ASKED = "a.dead_at_us IS NULL AND a.removed_at_us IS NULL AND a.quarantined_at_us IS NULL"
"""Of all others people know already why they do not answer."""


class Silent(Row, frozen=True, kw_only=True):
    """An agent that does not answer."""

    id: str
    name: str
    silent_since_us: int


def untold(connection: sqlite3.Connection, before_us: int, limit: int = 500) -> list[Silent]:
    """Agents that are silent since `before_us` or longer, and of which nobody was told; the first one first."""
    query = (
        "SELECT a.id, a.name, a.silent_since_us FROM agents a INDEXED BY agents_silent"
        f" WHERE a.silent_since_us IS NOT NULL AND a.silent_since_us <= ? AND {_ASKED}"
        " AND NOT EXISTS (SELECT 1 FROM silence_notices n WHERE n.agent_id = a.id)"
        " ORDER BY a.silent_since_us LIMIT ?"
    )
    found = connection.execute(query, (before_us, limit))
    return [rows.build(Silent, Silent.__struct_fields__, tuple(row)) for row in found]


def over(connection: sqlite3.Connection, limit: int = 500) -> list[tuple[str, int]]:
    """(agent, message) of silences that are over, or that people know the reason of by now."""
    query = (
        "SELECT n.agent_id, n.message FROM silence_notices n LEFT JOIN agents a ON a.id = n.agent_id"
        f" WHERE a.id IS NULL OR a.silent_since_us IS NOT n.silent_since_us OR NOT ({_ASKED}) LIMIT ?"
    )
    return [(str(agent_id), int(message)) for agent_id, message in connection.execute(query, (limit,))]


def put(connection: sqlite3.Connection, silent: Silent, message: int) -> None:
    """People were told of it by this message."""
    values = (silent.id, message, silent.silent_since_us)
    connection.execute("INSERT OR REPLACE INTO silence_notices VALUES (?, ?, ?)", values)


def remove(connection: sqlite3.Connection, agent_id: str) -> None:
    """Its silence is over."""
    connection.execute("DELETE FROM silence_notices WHERE agent_id = ?", (agent_id,))


def has(connection: sqlite3.Connection, message: int) -> bool:
    """Whether an agent of this message is silent still."""
    return rows.number(connection, "SELECT count(*) FROM silence_notices WHERE message = ?", (message,)) > 0
