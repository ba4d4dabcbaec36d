"""What the fleet has to bring to agents: runs, orders and stops. Each query is answered by a partial index."""

from __future__ import annotations

import sqlite3

from server.core.model import Run
from server.storage import rows
from server.storage.job_workflows import WORKFLOWS

_TO_DISPATCH = "SELECT DISTINCT agent_id FROM runs WHERE state = 'starting' AND dispatched_epoch IS NULL"
_TO_GIVE = "SELECT DISTINCT agent_id FROM orders WHERE acknowledged_version < version AND state != 'released'"
_TO_GIVE += " AND withheld = 0"
_TO_WATCH = "SELECT DISTINCT agent_id FROM monitors WHERE acknowledged_version != version"
_TO_STOP = (
    "SELECT DISTINCT agent_id FROM runs"
    " WHERE cancel_requested_at_us IS NOT NULL AND ended_at_us IS NULL AND dispatched_epoch IS NOT NULL"
)

_TO_SUSPEND = "SELECT DISTINCT agent_id FROM runs WHERE state = 'suspending'"
_TO_CHAIN = "SELECT DISTINCT agent_id FROM step_chains WHERE told = 0"
_TO_RECALL = "SELECT DISTINCT agent_id FROM recalls WHERE answered_at_us IS NULL"


def agents(connection: sqlite3.Connection) -> set[str]:
    """Ids of the agents for which something is to be brought."""
    queries = (_TO_DISPATCH, _TO_GIVE, _TO_STOP, _TO_WATCH, _TO_RECALL, _TO_SUSPEND, _TO_CHAIN)
    return {row[0] for row in connection.execute(" UNION ".join(queries))}


def holders(connection: sqlite3.Connection) -> list[str]:
    """Ids of the agents that have runs which are not known to have ended."""
    states = "('starting', 'running', 'suspending')"
    query = f"SELECT DISTINCT agent_id FROM runs WHERE state IN {states} AND agent_id != ?"
    return [row[0] for row in connection.execute(query, (WORKFLOWS,))]


def quarantined(connection: sqlite3.Connection) -> dict[str, str]:
    """The agents in quarantine, and removed ones, with the reason that they are told: neither is given anything."""
    query = "SELECT id, quarantine_reason FROM agents WHERE quarantined_at_us IS NOT NULL OR removed_at_us IS NOT NULL"
    return {str(agent_id): str(why) or "an operator took it out of work" for agent_id, why in connection.execute(query)}


def starting_alone(connection: sqlite3.Connection) -> frozenset[str]:
    """Ids of the agents that begin standing orders after a reboot before a master has answered."""
    return frozenset(row[0] for row in connection.execute("SELECT id FROM agents WHERE start_alone_after_reboot = 1"))


def at_agent(connection: sqlite3.Connection, agent_id: str, after: int = 0, limit: int = 500) -> list[Run]:
    """Runs that were sent to an agent, or began there, and have not ended, by number."""
    tail = (
        "FROM runs WHERE agent_id = ? AND state IN ('waiting', 'starting', 'running', 'suspending',"
        " 'unknown') AND dispatched_epoch IS NOT NULL AND number > ? ORDER BY number LIMIT ?"
    )
    return rows.every(connection, Run, tail, (agent_id, after, limit))


def starting_since_before(connection: sqlite3.Connection, epoch: int, limit: int = 10000) -> list[Run]:
    """Runs that an earlier office sent and of which no agent has said anything, by number."""
    tail = "FROM runs WHERE state = 'starting' AND dispatched_epoch < ? ORDER BY number LIMIT ?"
    return rows.every(connection, Run, tail, (epoch, limit))
