"""What agents have not acknowledged (JS7-6), read from the rows that say what was asked of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from server.core.agent_requests import Request, of_gates, of_orders, of_runs, of_suspensions
from server.core.model import Agent
from server.storage import checkpoints, gate_changes, groups, rows, runs, settings

PAGE = 100
RUNS_MAX = 200

Source = Callable[[sqlite3.Connection, Agent], list[Request]]
"""Reads what one agent has not acknowledged of one kind of thing."""


def _gates(connection: sqlite3.Connection, agent: Agent) -> list[Request]:
    acknowledged = agent.gates_acknowledged
    return of_gates(gate_changes.of_agent(connection, agent.id, acknowledged), acknowledged)


def _stops(connection: sqlite3.Connection, agent: Agent) -> list[Request]:
    return of_runs(runs.to_cancel(connection, agent.id, RUNS_MAX))


def _suspensions(connection: sqlite3.Connection, agent: Agent) -> list[Request]:
    return of_suspensions(checkpoints.to_suspend(connection, agent.id, RUNS_MAX))


def _orders(connection: sqlite3.Connection, agent: Agent) -> list[Request]:
    query = (
        "SELECT count(*) FROM orders WHERE agent_id = ? AND acknowledged_version < version AND state != 'released'"
        " AND state = ? AND withheld = 0"
    )
    monitors = "SELECT count(*) FROM monitors WHERE agent_id = ? AND acknowledged_version != version"
    return of_orders(
        rows.number(connection, query, (agent.id, "active")),
        rows.number(connection, query, (agent.id, "releasing")),
        rows.number(connection, monitors, (agent.id,)),
    )


def _deployment(connection: sqlite3.Connection, agent: Agent) -> list[Request]:
    """The groups that an agent was made a member of, or is none of any more, and runs that it shall give back."""
    found = [
        Request(
            kind="recall",
            what=f"give back run {recall.run} unless it has begun",
            since_us=recall.requested_at_us,
            by=recall.requested_by,
            reason=recall.reason,
            run=recall.run,
        )
        for recall in groups.pending_recalls(connection, agent.id)
    ]
    mine = groups.of_agent(connection, agent.id)
    if agent.deployment > agent.deployment_kept and (mine or agent.deployment > 1):
        latest = max(mine, key=lambda group: group.deployed_at_us, default=None)
        what = f"keep its groups: {', '.join(group.name for group in mine)}" if mine else "keep that it is in no group"
        by, since_us = (latest.deployed_by, latest.deployed_at_us) if latest is not None else ("", None)
        found.append(Request(kind="deploy", what=what, since_us=since_us, by=by))
    return found


SOURCES: list[Source] = [_gates, _stops, _suspensions, _orders, _deployment]
"""Whatever else is asked of agents adds its reader here, and the column that finds its agents to `BEHIND`."""

BEHIND = [
    "SELECT id FROM agents WHERE gates_acknowledged < :revision",
    "SELECT agent_id FROM runs WHERE cancel_requested_at_us IS NOT NULL AND ended_at_us IS NULL",
    "SELECT agent_id FROM orders WHERE acknowledged_version < version AND state != 'released'"
    " AND state != 'dead' AND withheld = 0",
    "SELECT agent_id FROM monitors WHERE acknowledged_version != version",
    "SELECT id FROM agents WHERE deployment > deployment_kept AND removed_at_us IS NULL",
    "SELECT agent_id FROM recalls WHERE answered_at_us IS NULL",
    "SELECT agent_id FROM runs WHERE state = 'suspending'",
]
"""Queries of the ids of agents that may have something to acknowledge; each is answered by a partial index."""


def of_agent(connection: sqlite3.Connection, agent: Agent) -> list[Request]:
    """Everything that the agent has not acknowledged, the oldest first; what has no time comes last."""
    found = [request for source in SOURCES for request in source(connection, agent)]
    return sorted(found, key=lambda request: (request.since_us is None, request.since_us or 0))


def page(
    connection: sqlite3.Connection, after: str = "", limit: int = PAGE
) -> tuple[list[tuple[Agent, list[Request]]], str]:
    """Agents with something to acknowledge, by name above `after`, and the name to go on after ("" at the end).

    At most `limit` agents are looked at: one whose gates were changed and changed back has nothing and is left out.
    """
    behind = " UNION ".join(BEHIND)
    tail = f"FROM agents WHERE removed_at_us IS NULL AND name > :after AND id IN ({behind}) ORDER BY name LIMIT :limit"
    values = {"revision": settings.gate_revision(connection), "after": after, "limit": limit}
    looked = rows.every(connection, Agent, tail, values)
    found = [(agent, requests) for agent in looked if (requests := of_agent(connection, agent))]
    return found, looked[-1].name if len(looked) == limit else ""
