"""What of workflows' runs agents were told that they may begin by themselves."""

from __future__ import annotations

import sqlite3

from server.core.model import Row
from server.storage import rows


class ToldChain(Row, frozen=True, kw_only=True):
    """Of one workflow's run at one agent. `keys`: place of a step in the version, and the key of its run.

    `told` false: the agent has dropped it, and the master has not told it again.
    """

    JSON = frozenset({"keys"})

    workflow_run: int
    agent_id: str
    keys: list[tuple[int, str]]
    told: bool


def put(connection: sqlite3.Connection, workflow_run: int, agent_id: str, keys: list[tuple[int, str]]) -> None:
    """The agent is told this, in place of what it was told before."""
    remove(connection, workflow_run, agent_id)
    values = {"workflow_run": workflow_run, "agent_id": agent_id, "keys": keys, "told": 1}
    rows.insert(connection, "step_chains", values)


def remove(connection: sqlite3.Connection, workflow_run: int, agent_id: str) -> None:
    """The agent begins nothing of it by itself any more."""
    connection.execute("DELETE FROM step_chains WHERE workflow_run = ? AND agent_id = ?", (workflow_run, agent_id))


def of_run(connection: sqlite3.Connection, workflow_run: int) -> list[ToldChain]:
    """What any agent was told of a workflow's run."""
    return rows.every(
        connection, ToldChain, "FROM step_chains WHERE workflow_run = ? ORDER BY agent_id", (workflow_run,)
    )


def forget_run(connection: sqlite3.Connection, workflow_run: int) -> None:
    """The workflow's run has ended."""
    connection.execute("DELETE FROM step_chains WHERE workflow_run = ?", (workflow_run,))


def dropped(connection: sqlite3.Connection, agent_id: str) -> None:
    """The agent is admitted again, and drops what it held."""
    connection.execute("UPDATE step_chains SET told = 0 WHERE agent_id = ? AND told = 1", (agent_id,))


def to_tell(connection: sqlite3.Connection, agent_id: str, limit: int = 100) -> list[ToldChain]:
    """What an agent is to be told again."""
    tail = "FROM step_chains WHERE agent_id = ? AND told = 0 ORDER BY workflow_run LIMIT ?"
    return rows.every(connection, ToldChain, tail, (agent_id, limit))
