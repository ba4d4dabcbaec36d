"""Agents: identity, connection numbers, what they acknowledged. Whether one is connected now is no row."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence

from server.core.model import Agent
from server.storage import rows


def get(connection: sqlite3.Connection, agent_id: str) -> Agent | None:
    """The agent, removed ones included."""
    return rows.first(connection, Agent, "FROM agents WHERE id = ?", (agent_id,))


def by_name(connection: sqlite3.Connection, name: str) -> Agent | None:
    """The agent of that name that is not removed."""
    return rows.first(connection, Agent, "FROM agents WHERE name = ? AND removed_at_us IS NULL", (name,))


def page(connection: sqlite3.Connection, after: str = "", limit: int = 100, match: str = "") -> list[Agent]:
    """Agents that are not removed, by name, above `after`; `match` is a part of the name."""
    tail = "FROM agents WHERE removed_at_us IS NULL AND name > ? AND instr(name, ?) ORDER BY name LIMIT ?"
    return rows.every(connection, Agent, tail, (after, match, limit))


def names(connection: sqlite3.Connection, agent_ids: Iterable[str]) -> dict[str, str]:
    """Names by id of those agents that are known, removed ones included."""
    wanted = json.dumps(sorted(set(agent_ids)))
    found = connection.execute("SELECT id, name FROM agents WHERE id IN (SELECT value FROM json_each(?))", (wanted,))
    return {str(agent_id): str(name) for agent_id, name in found}


def count(connection: sqlite3.Connection) -> int:
    """Agents that are not removed."""
    return rows.number(connection, "SELECT count(*) FROM agents WHERE removed_at_us IS NULL")


def is_first(connection: sqlite3.Connection) -> bool:
    """True while no agent was ever enrolled, removed ones included."""
    query = "SELECT 1 FROM agents WHERE id NOT IN (SELECT id FROM groups) LIMIT 1"
    return connection.execute(query).fetchone() is None


def is_gone(connection: sqlite3.Connection, agent_id: str) -> bool:
    """Whether nothing is given to it: it was declared dead, or replaced. (One that is removed has no jobs.)"""
    query = "SELECT 1 FROM agents WHERE id = ? AND (dead_at_us IS NOT NULL OR replaced_at_us IS NOT NULL)"
    return connection.execute(query, (agent_id,)).fetchone() is not None


def replaced_by_name(connection: sqlite3.Connection, name: str) -> Agent | None:
    """A machine whose name was given to another one, by the name that it has since."""
    return rows.first(connection, Agent, "FROM agents WHERE name = ? AND replaced_at_us IS NOT NULL", (name,))


def before(connection: sqlite3.Connection, agent_id: str, limit: int = 10) -> list[Agent]:
    """The machines that had this agent's name before it, the latest first."""
    found: list[Agent] = []
    known = get(connection, agent_id)
    while known is not None and known.replaces and len(found) < limit:
        known = get(connection, known.replaces)
        found += [known] if known is not None else []
    return found


def successor(connection: sqlite3.Connection, agent_id: str) -> Agent | None:
    """The machine that has taken over from this one, however often the name went on; None before it has joined."""
    following = rows.first(connection, Agent, "FROM agents WHERE replaces = ? LIMIT 1", (agent_id,))
    while following is not None and following.replaced_at_us is not None:
        following = rows.first(connection, Agent, "FROM agents WHERE replaces = ? LIMIT 1", (following.id,))
    return following


def is_dead(connection: sqlite3.Connection, agent_id: str) -> bool:
    """Was the machine declared dead, and is it not back?"""
    query = "SELECT 1 FROM agents WHERE id = ? AND dead_at_us IS NOT NULL"
    return connection.execute(query, (agent_id,)).fetchone() is not None


def stop_wishes(connection: sqlite3.Connection, agent_ids: Sequence[str]) -> dict[str, tuple[int, str]]:
    """(seconds that a drain may take, what a stop of the program means) of agents, removed ones included."""
    query = "SELECT id, drain_s, on_stop FROM agents WHERE id IN (SELECT value FROM json_each(?))"
    return {row[0]: (row[1], row[2]) for row in connection.execute(query, (json.dumps(list(agent_ids)),))}


def acknowledge_gates(connection: sqlite3.Connection, agent_id: str, revision: int) -> None:
    """The agent has persisted gate `revision`. Lower numbers than known change nothing."""
    query = "UPDATE agents SET gates_acknowledged = ? WHERE id = ? AND gates_acknowledged < ?"
    connection.execute(query, (revision, agent_id, revision))


def unacknowledged(connection: sqlite3.Connection, revision: int) -> int:
    """How many agents have not persisted gate `revision`."""
    query = "SELECT count(*) FROM agents WHERE removed_at_us IS NULL AND gates_acknowledged < ?"
    return rows.number(connection, query, (revision,))


def unacknowledged_names(connection: sqlite3.Connection, revision: int, limit: int = 100) -> list[str]:
    """The names of agents that have not persisted gate `revision`, at most `limit`."""
    query = "SELECT name FROM agents WHERE removed_at_us IS NULL AND gates_acknowledged < ? ORDER BY name LIMIT ?"
    return [str(row[0]) for row in connection.execute(query, (revision, limit))]


def behind(connection: sqlite3.Connection, revision: int, limit: int = 100) -> list[tuple[str, str]]:
    """(id, name) of agents that have not persisted gate `revision`, at most `limit`."""
    query = "SELECT id, name FROM agents WHERE removed_at_us IS NULL AND gates_acknowledged < ? ORDER BY name LIMIT ?"
    return [(str(row[0]), str(row[1])) for row in connection.execute(query, (revision, limit))]


def insert(connection: sqlite3.Connection, agent_id: str, name: str, witness: bool, now_us: int) -> None:
    """Add an agent that has never connected."""
    values = {"id": agent_id, "name": name, "enrolled_at_us": now_us, "witness": int(witness)}
    rows.insert(connection, "agents", values)


def update(connection: sqlite3.Connection, agent_id: str, **values: object) -> None:
    """Set columns of one agent by name, e.g. `ticket=7`; a wrong name is an sqlite3.OperationalError."""
    rows.update(connection, "agents", values, {"id": agent_id})
