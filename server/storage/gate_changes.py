"""Changes of gates by revision: what an agent that acknowledged an earlier one has still to be told."""

from __future__ import annotations

import sqlite3

from server.core.model import Row
from server.storage import rows

KEPT = 100
"""Changes kept of each gate."""


class GateChange(Row, frozen=True, kw_only=True):
    """A gate was set (`in_force`) or lifted at a revision, by whom and when. `agent_id` "" is host-wide."""

    agent_id: str
    kind: str
    revision: int
    in_force: bool
    changed_by: str
    changed_at_us: int
    reason: str = ""


def add(connection: sqlite3.Connection, change: GateChange) -> None:
    """Keep a change; the oldest of the same gate goes when there are more than `KEPT`."""
    values = {name: getattr(change, name) for name in change.__struct_fields__}
    rows.insert(connection, "gate_changes", values | {"in_force": int(change.in_force)})
    query = (
        "DELETE FROM gate_changes WHERE agent_id = ? AND kind = ? AND revision <= (SELECT revision FROM gate_changes"
        " WHERE agent_id = ? AND kind = ? ORDER BY revision DESC LIMIT 1 OFFSET ?)"
    )
    place = (change.agent_id, change.kind)
    connection.execute(query, (*place, *place, KEPT))


def of_agent(connection: sqlite3.Connection, agent_id: str) -> list[GateChange]:
    """Changes of the gates that concern an agent, host-wide ones too, in order of revision."""
    tail = "FROM gate_changes WHERE agent_id IN ('', ?) ORDER BY revision, agent_id, kind LIMIT 10000"
    return rows.every(connection, GateChange, tail, (agent_id,))
