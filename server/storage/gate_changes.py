"""Changes of gates by revision: what an agent that acknowledged an earlier one has still to be told."""

from __future__ import annotations

import sqlite3

from server.core.agent_requests import GateChange
from server.storage import rows

KEPT = 100
"""Changes kept of each gate."""


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


def of_gate(connection: sqlite3.Connection, agent_id: str, kind: str) -> list[GateChange]:
    """The changes of one gate that are kept, in order of revision; `agent_id` "" is everybody."""
    tail = "FROM gate_changes WHERE agent_id = ? AND kind = ? ORDER BY revision"
    return rows.every(connection, GateChange, tail, (agent_id, kind))


def of_agent(connection: sqlite3.Connection, agent_id: str, since: int = 0) -> list[GateChange]:
    """Changes of the gates that concern an agent, host-wide ones too, in order of revision.

    Of each gate from the last change at or before revision `since` on.
    """
    tail = (
        "FROM gate_changes AS g WHERE agent_id IN ('', :agent) AND revision >= coalesce((SELECT max(revision) FROM"
        " gate_changes WHERE agent_id = g.agent_id AND kind = g.kind AND revision <= :since), 0)"
        " ORDER BY revision, agent_id, kind LIMIT 10000"
    )
    return rows.every(connection, GateChange, tail, {"agent": agent_id, "since": since})
