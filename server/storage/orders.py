"""Standing orders: one schedule bound to one agent.

Instants are spans (first, step, count); see core.schedule.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from server.core.model import Order, Span, Specification
from server.storage import jobs, rows


def get(connection: sqlite3.Connection, order_id: int) -> Order | None:
    """The order, released ones included."""
    return rows.first(connection, Order, "FROM orders WHERE id = ?", (order_id,))


def of_agent(connection: sqlite3.Connection, agent_id: str, after: int = 0, limit: int = 500) -> list[Order]:
    """Orders that an agent must know of: active and releasing ones, by id."""
    tail = "FROM orders WHERE agent_id = ? AND state IN ('active', 'releasing') AND id > ? ORDER BY id LIMIT ?"
    return rows.every(connection, Order, tail, (agent_id, after, limit))


def unacknowledged(connection: sqlite3.Connection, agent_id: str, limit: int = 500) -> list[Order]:
    """Orders of an agent whose present version it has not acknowledged: what the fleet sends, by id."""
    tail = (
        "FROM orders WHERE agent_id = ? AND state IN ('active', 'releasing')"
        " AND acknowledged_version < version ORDER BY id LIMIT ?"
    )
    return rows.every(connection, Order, tail, (agent_id, limit))


def of_job(connection: sqlite3.Connection, job_id: int) -> list[Order]:
    """Live (active or releasing) orders of a job, by id: one per schedule, and those on their way back."""
    tail = (
        "FROM orders WHERE schedule_id IN (SELECT id FROM schedules WHERE job_id = ?)"
        " AND state IN ('active', 'releasing') ORDER BY id"
    )
    return rows.every(connection, Order, tail, (job_id,))


def to_renew(connection: sqlite3.Connection, before_us: int, limit: int = 200) -> list[Order]:
    """Active orders that are valid until before `before_us`, the shortest first."""
    tail = "FROM orders WHERE state = 'active' AND valid_until_us < ? ORDER BY valid_until_us LIMIT ?"
    return rows.every(connection, Order, tail, (before_us, limit))


def first_validity_us(connection: sqlite3.Connection) -> int | None:
    """When the first active order ends, or None without any."""
    row = connection.execute("SELECT min(valid_until_us) FROM orders WHERE state = 'active'").fetchone()
    return None if row[0] is None else int(row[0])


def due_before(
    connection: sqlite3.Connection, before_us: int, after: tuple[int, int] = (0, 0), limit: int = 200
) -> list[Order]:
    """Active orders with an unaccounted instant before `before_us`, by (next_instant_us, id) above `after`."""
    tail = (
        "FROM orders WHERE state = 'active' AND next_instant_us < ? AND (next_instant_us, id) > (?, ?)"
        " ORDER BY next_instant_us, id LIMIT ?"
    )
    return rows.every(connection, Order, tail, (before_us, *after, limit))


def next_instant_us(connection: sqlite3.Connection) -> int | None:
    """The first unaccounted instant of all active orders."""
    row = connection.execute("SELECT min(next_instant_us) FROM orders WHERE state = 'active'").fetchone()
    return None if row[0] is None else int(row[0])


def suppressed(connection: sqlite3.Connection, after: int = 0, limit: int = 200) -> list[Order]:
    """Active orders that the master itself suppresses, by id."""
    tail = "FROM orders WHERE state = 'active' AND suppressed != '' AND id > ? ORDER BY id LIMIT ?"
    return rows.every(connection, Order, tail, (after, limit))


def insert(
    connection: sqlite3.Connection,
    schedule_id: int,
    job_id: int,
    agent_id: str,
    valid_from_us: int,
    valid_until_us: int,
    instants: Sequence[Span],
    specification: Specification,
    next_instant: int,
    suppressed_by: str,
) -> int:
    """Add an active order, version 1, accounted until `valid_from_us`; return its id."""
    values: dict[str, object] = {
        "schedule_id": schedule_id,
        "job_id": job_id,
        "agent_id": agent_id,
        "version": 1,
        "state": "active",
        "valid_from_us": valid_from_us,
        "valid_until_us": valid_until_us,
        "instants": list(instants),
        "specification": specification,
        "accounted_until_us": valid_from_us,
        "next_instant_us": next_instant,
        "suppressed": suppressed_by,
    }
    return rows.insert(connection, "orders", values)


def update(connection: sqlite3.Connection, order_id: int, **values: object) -> None:
    """Set columns of one order by name; `instants` and `specification` are written as JSON."""
    rows.update(connection, "orders", values, {"id": order_id})


def acknowledge(connection: sqlite3.Connection, order_id: int, version: int) -> None:
    """The agent has persisted `version`. Lower numbers than known change nothing."""
    query = "UPDATE orders SET acknowledged_version = ? WHERE id = ? AND acknowledged_version < ?"
    connection.execute(query, (version, order_id, version))


def begin_release(connection: sqlite3.Connection, order: Order) -> None:
    """Take an order back: a new version without instants. It is released when the agent has answered."""
    update(connection, order.id, state="releasing", version=order.version + 1, instants=[])


def finish_release(connection: sqlite3.Connection, order: Order) -> None:
    """The agent has answered (or is dead): the schedule may be given to another agent.

    The job is planned again.
    """
    update(connection, order.id, state="released", acknowledged_version=order.version)
    jobs.mark_unplanned(connection, order.job_id)


def release_of_agent(connection: sqlite3.Connection, agent_id: str) -> int:
    """Release all orders of an agent that is declared dead or removed; return how many."""
    query = "UPDATE orders SET state = 'released' WHERE agent_id = ? AND state IN ('active', 'releasing')"
    released = connection.execute(query, (agent_id,)).rowcount
    connection.execute("UPDATE jobs SET planned_version = 0 WHERE agent_id = ?", (agent_id,))
    return released


def autonomous_until_us(connection: sqlite3.Connection, agent_id: str) -> int | None:
    """Until when an agent goes on without a master: the end of the shortest order that it has acknowledged."""
    query = (
        "SELECT min(valid_until_us) FROM orders WHERE agent_id = ? AND state = 'active' AND acknowledged_version > 0"
    )
    row = connection.execute(query, (agent_id,)).fetchone()
    return None if row[0] is None else int(row[0])
