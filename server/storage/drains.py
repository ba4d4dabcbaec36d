"""Drains of agents: who asked, how far each is, and what became of every run."""

from __future__ import annotations

import sqlite3
from typing import ClassVar

from server.core.agent_reports import Parted
from server.core.model import Row
from server.storage import rows

KEPT = 20
"""Drains kept of each agent."""
OUTCOMES_MAX = 1000
REQUEST, STOP = "request", "stop"


class DrainRow(Row, frozen=True, kw_only=True):
    """origin: request | stop. state: asked | draining | drained | withdrawn.

    `outcomes` are at most `OUTCOMES_MAX`, `outcomes_left` counts those that are not kept.
    """

    JSON: ClassVar[frozenset[str]] = frozenset({"outcomes"})

    agent_id: str
    asked_at_us: int
    origin: str
    asked_by: str
    reason: str
    limit_s: int
    state: str
    began_at_us: int | None
    ended_at_us: int | None
    outcomes: list[Parted]
    outcomes_left: int = 0


def get(connection: sqlite3.Connection, agent_id: str, asked_at_us: int, origin: str) -> DrainRow | None:
    """One drain."""
    tail = "FROM drains WHERE agent_id = ? AND asked_at_us = ? AND origin = ?"
    return rows.first(connection, DrainRow, tail, (agent_id, asked_at_us, origin))


def latest(connection: sqlite3.Connection, agent_id: str, limit: int = 1) -> list[DrainRow]:
    """The latest drains of an agent, the newest first."""
    tail = "FROM drains WHERE agent_id = ? ORDER BY asked_at_us DESC LIMIT ?"
    return rows.every(connection, DrainRow, tail, (agent_id, limit))


def open_of_agent(connection: sqlite3.Connection, agent_id: str) -> list[DrainRow]:
    """Drains of an agent that are not over, in order."""
    tail = "FROM drains WHERE agent_id = ? AND state IN ('asked', 'draining') ORDER BY asked_at_us LIMIT 100"
    return rows.every(connection, DrainRow, tail, (agent_id,))


def stopping(connection: sqlite3.Connection) -> set[str]:
    """Ids of the agents that drain because they are being stopped: nothing is given to them for choice."""
    query = "SELECT agent_id FROM drains WHERE state IN ('asked', 'draining') AND origin = 'stop'"
    return {row[0] for row in connection.execute(query)}


def ask(
    connection: sqlite3.Connection, agent_id: str, asked_at_us: int, asked_by: str, reason: str, limit_s: int
) -> None:
    """Keep that somebody asked for a drain, once."""
    _add(connection, agent_id, asked_at_us, REQUEST, asked_by, reason, limit_s)


def begin(
    connection: sqlite3.Connection, agent_id: str, asked_at_us: int, origin: str, limit_s: int, at_us: int
) -> None:
    """The agent has begun. One that nobody here asked for it began by itself."""
    _add(connection, agent_id, asked_at_us, origin, "the machine" if origin == STOP else "system", "", limit_s)
    query = (
        "UPDATE drains SET began_at_us = ?, state = CASE state WHEN 'asked' THEN 'draining' ELSE state END"
        " WHERE agent_id = ? AND asked_at_us = ? AND origin = ? AND began_at_us IS NULL"
    )
    connection.execute(query, (at_us, agent_id, asked_at_us, origin))


def end(
    connection: sqlite3.Connection,
    agent_id: str,
    asked_at_us: int,
    origin: str,
    at_us: int,
    outcomes: tuple[Parted, ...],
    withdrawn: bool,
) -> None:
    """Keep what became of each run."""
    values: dict[str, object] = {
        "ended_at_us": at_us,
        "state": "withdrawn" if withdrawn else "drained",
        "outcomes": list(outcomes[:OUTCOMES_MAX]),
        "outcomes_left": max(len(outcomes) - OUTCOMES_MAX, 0),
    }
    rows.update(connection, "drains", values, {"agent_id": agent_id, "asked_at_us": asked_at_us, "origin": origin})


def withdraw(connection: sqlite3.Connection, agent_id: str, asked_at_us: int, at_us: int) -> None:
    """A drain that was asked for is not wanted any more; one that is over keeps its end."""
    query = (
        "UPDATE drains SET state = 'withdrawn', ended_at_us = ? WHERE agent_id = ? AND asked_at_us = ?"
        " AND origin = 'request' AND state IN ('asked', 'draining')"
    )
    connection.execute(query, (at_us, agent_id, asked_at_us))


def _add(
    connection: sqlite3.Connection,
    agent_id: str,
    asked_at_us: int,
    origin: str,
    asked_by: str,
    reason: str,
    limit_s: int,
) -> None:
    query = (
        "INSERT INTO drains (agent_id, asked_at_us, origin, asked_by, reason, limit_s, state)"
        " VALUES (?, ?, ?, ?, ?, ?, 'asked') ON CONFLICT DO NOTHING"
    )
    connection.execute(query, (agent_id, asked_at_us, origin, asked_by, reason, limit_s))
    prune = (
        "DELETE FROM drains WHERE agent_id = ? AND asked_at_us <= (SELECT asked_at_us FROM drains WHERE agent_id = ?"
        " ORDER BY asked_at_us DESC LIMIT 1 OFFSET ?)"
    )
    connection.execute(prune, (agent_id, agent_id, KEPT))
