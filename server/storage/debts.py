"""Agents that may hold what a lost master gave them, and what is withheld because of that."""

from __future__ import annotations

import sqlite3

from server.core.debts import HELD_US, ID_GAP, NAMED_MAX, WITHHELD_US, DeadDebt, Debt, words
from server.core.model import Order, Run, Schedule
from server.storage import rows, settings

FIRST_ID = "first_id"
SINCE = "loss_us"
_WITHHELD = "FROM runs WHERE state = 'waiting' AND begin_after_us = ?"


def latest(connection: sqlite3.Connection, but: str = "") -> Debt | None:
    """The debt of the latest loss, that of agent `but` left out; usually none. Each is held equally long.

    So it alone decides. After a loss thousands of agents may owe an answer, and each of their messages asks for it.
    """
    return rows.first(connection, Debt, "FROM debts WHERE agent_id != ? ORDER BY since_us DESC LIMIT 1", (but,))


def dead(connection: sqlite3.Connection) -> list[DeadDebt]:
    """Those that no answer will come of: until what waited for them was looked at."""
    return rows.every(connection, DeadDebt, "FROM dead_debts ORDER BY dead_at_us DESC")


def forget_dead(connection: sqlite3.Connection) -> None:
    """Nothing waits for the word of a dead machine any more."""
    connection.execute("DELETE FROM dead_debts")


def is_open(connection: sqlite3.Connection) -> bool:
    """Whether anybody owes an answer."""
    return connection.execute("SELECT 1 FROM debts LIMIT 1").fetchone() is not None


def reason(connection: sqlite3.Connection) -> str:
    """Why what is withheld waits, with the names of now."""
    count = rows.number(connection, "SELECT count(*) FROM debts")
    return words(names(connection, NAMED_MAX), count)


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
    settings.put(connection, SINCE, str(now_us))
    return count


def first_id(connection: sqlite3.Connection) -> int:
    """What was made since the last loss has ids from here on; 0 without any loss."""
    return int(settings.get(connection, FIRST_ID, "0"))


def loss_us(connection: sqlite3.Connection) -> int:
    """When the last master took office that may have lost something; 0 for never."""
    return int(settings.get(connection, SINCE, "0"))


def next_id(connection: sqlite3.Connection, table: str) -> dict[str, object]:
    """The id that a new row must have after a loss, as a column to insert; {} when any does."""
    first = first_id(connection)
    if first == 0 or rows.number(connection, f"SELECT max(id) FROM main.{table}") >= first:
        return {}
    return {"id": first}


def remove(connection: sqlite3.Connection, agent_id: str) -> bool:
    """The agent has answered; False when it owed nothing."""
    connection.execute("DELETE FROM dead_debts WHERE agent_id = ?", (agent_id,))  # on again, and accepted
    return connection.execute("DELETE FROM debts WHERE agent_id = ?", (agent_id,)).rowcount > 0


def die(connection: sqlite3.Connection, agent_id: str, now_us: int) -> bool:
    """No answer will come of this machine; False when it owed none."""
    query = "INSERT OR REPLACE INTO dead_debts (agent_id, dead_at_us) SELECT agent_id, ? FROM debts WHERE agent_id = ?"
    connection.execute(query, (now_us, agent_id))
    return connection.execute("DELETE FROM debts WHERE agent_id = ?", (agent_id,)).rowcount > 0


def may_be_elsewhere(connection: sqlite3.Connection, schedule: Schedule, agent_id: str) -> bool:
    """Whether the lost master may have given a schedule of before the loss to a silent agent.

    Not one of which an agent held the order at that time: that one shows it, or its order is withheld. It shows nothing
    of orders that were the master's own.
    """
    query = (
        "SELECT 1 FROM (SELECT DISTINCT since_us FROM debts WHERE agent_id != ? AND since_us >= ?) d WHERE NOT EXISTS"
        " (SELECT 1 FROM orders o WHERE o.schedule_id = ? AND o.by_master = 0 AND o.valid_from_us <= d.since_us"
        " AND (o.state IN ('active', 'releasing') OR o.released_at_us > d.since_us)) LIMIT 1"
    )
    values = (agent_id, schedule.created_at_us, schedule.id)
    return connection.execute(query, values).fetchone() is not None


def withheld_orders(connection: sqlite3.Connection) -> list[Order]:
    """Orders that are given to nobody, by id."""
    return rows.every(connection, Order, "FROM orders WHERE withheld = 1 ORDER BY id")


def withheld_runs(connection: sqlite3.Connection, limit: int) -> list[Run]:
    """The oldest runs that wait for an answer."""
    return rows.every(connection, Run, f"{_WITHHELD} ORDER BY number LIMIT ?", (WITHHELD_US, limit))


def has_withheld_runs(connection: sqlite3.Connection) -> bool:
    """Whether any run waits for an answer."""
    return connection.execute(f"SELECT 1 {_WITHHELD} LIMIT 1", (WITHHELD_US,)).fetchone() is not None


def count_withheld(connection: sqlite3.Connection) -> tuple[int, int]:
    """How many runs and orders wait for an answer."""
    runs = rows.number(connection, f"SELECT count(*) {_WITHHELD}", (WITHHELD_US,))
    return runs, rows.number(connection, "SELECT count(*) FROM orders WHERE withheld = 1")


def first_submitted_us(connection: sqlite3.Connection, run: Run) -> int:
    """When the first attempt of the same occurrence or request was submitted."""
    stem = run.key.rpartition(".a")[0]
    query = "SELECT min(submitted_at_us) FROM runs WHERE key >= ? AND key < ?"
    return rows.number(connection, query, (f"{stem}.a", f"{stem}.b"))
