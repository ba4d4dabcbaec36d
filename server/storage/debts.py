"""Agents that may hold what a lost master gave them, and what is withheld because of that."""

from __future__ import annotations

import sqlite3

from server.core.debts import HELD_US, ID_GAP, OWED, Debt
from server.core.model import Order, Run, Schedule
from server.storage import rows, settings

FIRST_ID = "first_id"


def every(connection: sqlite3.Connection, but: str = "") -> list[Debt]:
    """Open debts, those of agent `but` left out; usually none."""
    return rows.every(connection, Debt, "FROM debts WHERE agent_id != ? ORDER BY agent_id", (but,))


def of_agent(connection: sqlite3.Connection, agent_id: str) -> Debt | None:
    """The agent's debt."""
    return rows.first(connection, Debt, "FROM debts WHERE agent_id = ?", (agent_id,))


def names(connection: sqlite3.Connection, limit: int = 100) -> list[str]:
    """The agents that owe an answer, by name."""
    query = "SELECT a.name FROM debts d JOIN agents a ON a.id = d.agent_id ORDER BY a.name LIMIT ?"
    return [str(row[0]) for row in connection.execute(query, (limit,))]


def incur(connection: sqlite3.Connection, now_us: int) -> int:
    """Every agent that was ever admitted, and was not declared dead, owes an answer; returns how many."""
    query = (
        "INSERT INTO debts (agent_id, since_us, held_until_us)"
        " SELECT id, ?, ? FROM agents WHERE (ticket > 0 OR version != '') AND dead_at_us IS NULL"
        " AND (removed_at_us IS NULL OR replaced_at_us IS NOT NULL)"
        " ON CONFLICT (agent_id) DO UPDATE SET since_us = excluded.since_us, held_until_us = excluded.held_until_us"
    )
    count = connection.execute(query, (now_us, now_us + HELD_US)).rowcount
    highest = max(
        rows.number(connection, f"SELECT max(id) FROM {t}")
        for t in ("jobs", "schedules", "orders", "workflows", "workflow_runs")
    )
    settings.put(connection, FIRST_ID, str(highest + ID_GAP))
    return count


def next_id(connection: sqlite3.Connection, table: str) -> dict[str, object]:
    """The id that a new row must have after a loss, as a column to insert; {} when any does."""
    first = int(settings.get(connection, FIRST_ID, "0"))
    if first == 0 or rows.number(connection, f"SELECT max(id) FROM {table}") >= first:
        return {}
    return {"id": first}


def remove(connection: sqlite3.Connection, agent_id: str) -> bool:
    """The agent has answered, or its machine is dead; False when it owed nothing."""
    return connection.execute("DELETE FROM debts WHERE agent_id = ?", (agent_id,)).rowcount > 0


def may_be_elsewhere(connection: sqlite3.Connection, schedule: Schedule, agent_id: str) -> bool:
    """Whether the lost master may have given a schedule, that never had an order here, to a silent agent."""
    query = (
        "SELECT 1 FROM debts d WHERE d.agent_id != ? AND d.since_us >= ? AND NOT EXISTS"
        " (SELECT 1 FROM orders o WHERE o.schedule_id = ? AND o.valid_from_us <= d.since_us) LIMIT 1"
    )
    values = (agent_id, schedule.created_at_us, schedule.id)
    return connection.execute(query, values).fetchone() is not None


def withheld_orders(connection: sqlite3.Connection) -> list[Order]:
    """Orders that are given to nobody, by id."""
    return rows.every(connection, Order, "FROM orders WHERE withheld = 1 ORDER BY id")


def withheld_runs(connection: sqlite3.Connection) -> list[Run]:
    """Runs that wait for an answer, in order of submission."""
    tail = "FROM runs WHERE state = 'waiting' AND reason = ? AND dispatched_epoch IS NULL ORDER BY number"
    return rows.every(connection, Run, tail, (OWED,))


def count_withheld(connection: sqlite3.Connection) -> tuple[int, int]:
    """How many runs and orders wait for an answer."""
    runs = rows.number(connection, "SELECT count(*) FROM runs WHERE state = 'waiting' AND reason = ?", (OWED,))
    return runs, rows.number(connection, "SELECT count(*) FROM orders WHERE withheld = 1")


def first_submitted_us(connection: sqlite3.Connection, run: Run) -> int:
    """When the first attempt of the same occurrence or request was submitted."""
    stem = run.key.rpartition(".a")[0]
    query = "SELECT min(submitted_at_us) FROM runs WHERE key >= ? AND key < ?"
    return rows.number(connection, query, (f"{stem}.a", f"{stem}.b"))
