"""Gates: what stops work. The rule that reads them is `core.gates`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from server.core.model import Gate, Row
from server.storage import rows

_TAIL = "FROM gates"


def get(connection: sqlite3.Connection, kind: str, agent_id: str = "") -> Gate | None:
    """The gate, or None when it is not set."""
    return rows.first(connection, Gate, f"{_TAIL} WHERE kind = ? AND agent_id = ?", (kind, agent_id))


def every(connection: sqlite3.Connection) -> list[Gate]:
    """All gates in force, host-wide ones first: a few of each agent."""
    return rows.every(connection, Gate, f"{_TAIL} ORDER BY agent_id, kind")


def host_wide(connection: sqlite3.Connection) -> list[Gate]:
    """The gates that stop everything: for the frame of every page."""
    return rows.every(connection, Gate, f"{_TAIL} WHERE agent_id = '' ORDER BY kind")


def for_agent(connection: sqlite3.Connection, agent_id: str) -> list[Gate]:
    """The gates that concern one agent: host-wide ones and its own."""
    return rows.every(connection, Gate, f"{_TAIL} WHERE agent_id IN ('', ?) ORDER BY agent_id, kind", (agent_id,))


def own_of(connection: sqlite3.Connection, agent_ids: Sequence[str]) -> dict[str, list[Gate]]:
    """The gates that single agents have of their own, by agent."""
    tail = f"{_TAIL} WHERE agent_id IN (SELECT value FROM json_each(?)) ORDER BY agent_id, kind"
    found: dict[str, list[Gate]] = {}
    for gate in rows.every(connection, Gate, tail, (json.dumps(list(agent_ids)),)):
        found.setdefault(gate.agent_id, []).append(gate)
    return found


def locked_agents(connection: sqlite3.Connection) -> int:
    """How many agents' queues are locked by a gate of their own."""
    query = "SELECT count(*) FROM gates WHERE kind = 'queue_locked' AND agent_id != ''"
    return rows.number(connection, query)


def put(connection: sqlite3.Connection, gate: Gate) -> bool:
    """Set a gate; False when it was set already, and then nothing changes: the first who set it is remembered."""
    cursor = connection.execute(
        "INSERT INTO gates (kind, agent_id, set_by, set_at_us, reason, revision) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        (gate.kind, gate.agent_id, gate.set_by, gate.set_at_us, gate.reason, gate.revision),
    )
    return cursor.rowcount == 1


def remove(connection: sqlite3.Connection, kind: str, agent_id: str = "") -> bool:
    """Lift a gate; False when it was not set."""
    query = "DELETE FROM gates WHERE kind = ? AND agent_id = ?"
    return connection.execute(query, (kind, agent_id)).rowcount == 1


def remove_of_agent(connection: sqlite3.Connection, agent_id: str) -> None:
    """Forget the gates of an agent that is gone, and their changes."""
    connection.execute("DELETE FROM gates WHERE agent_id = ?", (agent_id,))
    connection.execute("DELETE FROM gate_changes WHERE agent_id = ?", (agent_id,))


def remove_kind(connection: sqlite3.Connection, kind: str) -> int:
    """Lift every gate of a kind, host-wide and per agent; return how many there were."""
    return connection.execute("DELETE FROM gates WHERE kind = ?", (kind,)).rowcount


class Stop(Row, frozen=True, kw_only=True):
    """A lifted stop whose suppressed instants in [from_us, until_us) are not all accounted for yet."""

    id: int
    kind: str
    from_us: int
    until_us: int
    revision: int


def stops(connection: sqlite3.Connection, limit: int = 100) -> list[Stop]:
    """Lifted stops that the scheduler must still account for, oldest first."""
    return rows.every(connection, Stop, "FROM stops ORDER BY id LIMIT ?", (limit,))


def add_stop(connection: sqlite3.Connection, gate: Gate, until_us: int) -> None:
    """Remember that `gate` was in force until `until_us`."""
    values = {"kind": gate.kind, "from_us": gate.set_at_us, "until_us": until_us, "revision": gate.revision}
    rows.insert(connection, "stops", values)


def remove_stop(connection: sqlite3.Connection, stop_id: int) -> None:
    """Everything that the stop suppressed is in the ledger."""
    connection.execute("DELETE FROM stops WHERE id = ?", (stop_id,))
