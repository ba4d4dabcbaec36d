"""Jobs that begin a workflow, and their runs: what of them the master itself does."""

from __future__ import annotations

import sqlite3

from server.core.model import Run
from server.storage import rows, runs
from server.storage.groups import ALWAYS
from server.storage.jobs import UNPLANNED

WORKFLOWS = "workflows"
"""The id of the row among the agents that stands for nobody: whose jobs begin workflows, and whose runs follow them."""
NAME = "no agent"
"""What that row is called: no agent's name has a blank."""


def place(connection: sqlite3.Connection, now_us: int) -> str:
    """The row that stands for nobody; made with the first job that needs it, removed from the start."""
    if connection.execute("SELECT 1 FROM agents WHERE id = ?", (WORKFLOWS,)).fetchone() is None:
        values = {"id": WORKFLOWS, "name": NAME, "enrolled_at_us": now_us, "removed_at_us": now_us}
        rows.insert(connection, "agents", {**values, "gates_acknowledged": ALWAYS, "deployment": 0})
    return WORKFLOWS


def names_of(connection: sqlite3.Connection, workflow_id: int, limit: int = 100) -> list[str]:
    """The jobs that begin a workflow, by name."""
    query = "SELECT name FROM jobs WHERE begins_workflow_id = ? AND deleted_at_us IS NULL ORDER BY name LIMIT ?"
    return [str(row[0]) for row in connection.execute(query, (workflow_id, limit))]


def is_held(connection: sqlite3.Connection, workflow_id: int) -> bool:
    """Whether no run of the workflow may begin."""
    query = "SELECT 1 FROM workflows WHERE id = ? AND held = 1"
    return connection.execute(query, (workflow_id,)).fetchone() is not None


def look_again(connection: sqlite3.Connection, workflow_id: int) -> None:
    """The workflow was held or released: the jobs that begin it are planned again, and what waits of them is let go."""
    connection.execute(f"{UNPLANNED} WHERE begins_workflow_id = ? AND deleted_at_us IS NULL", (workflow_id,))


def to_begin(connection: sqlite3.Connection, limit: int = 100) -> list[Run]:
    """Runs that nothing stops and whose workflow was not begun, by rank."""
    return runs.to_dispatch(connection, WORKFLOWS, limit)


def to_stop(connection: sqlite3.Connection, limit: int = 100) -> list[Run]:
    """Runs that somebody wants ended whose workflow was not told so yet; a kill after a cancel is told again."""
    tail = (
        "FROM runs WHERE agent_id = ? AND state = 'running' AND cancel_requested_at_us IS NOT NULL"
        " AND stop_sent_at_us IS NOT cancel_requested_at_us ORDER BY number LIMIT ?"
    )
    return rows.every(connection, Run, tail, (WORKFLOWS, limit))
