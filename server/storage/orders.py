"""Standing orders: one schedule bound to one agent.

Instants are spans (first, step, count); see core.schedule.
"""

from __future__ import annotations

import sqlite3

from server.core.model import Order, Row
from server.storage import debts, jobs, rows
from server.storage.rows import Unreadable

_BY_MASTER = (
    "orders INDEXED BY orders_by_master WHERE by_master = 1 AND state = 'active' AND suppressed = '' AND withheld = 0"
)
"""By its own index: the planner would take the one that holds the orders of all agents."""


def get(connection: sqlite3.Connection, order_id: int) -> Order | None:
    """The order, released ones included."""
    return rows.first(connection, Order, "FROM orders WHERE id = ?", (order_id,))


_OF_AGENT = (
    "FROM orders WHERE agent_id = ? AND by_master = 0 AND state IN ('active', 'releasing') AND id > ?"
    " ORDER BY id LIMIT ?"
)


def of_agent(connection: sqlite3.Connection, agent_id: str, after: int = 0, limit: int = 500) -> list[Order]:
    """Orders that an agent must know of: active and releasing ones that are not the master's own, by id."""
    return rows.every(connection, Order, _OF_AGENT, (agent_id, after, limit))


def each_of_agent(
    connection: sqlite3.Connection, agent_id: str, after: int = 0, limit: int = 500
) -> list[Order | Unreadable]:
    """As `of_agent`, with those that do not decode."""
    return rows.each(connection, Order, _OF_AGENT, (agent_id, after, limit))


def dead_version(connection: sqlite3.Connection, order_id: int) -> int:
    """The version of a dead machine's order, under which its answer about it is taken; 0 when it is none."""
    row = connection.execute("SELECT version FROM orders WHERE id = ? AND state = 'dead'", (order_id,)).fetchone()
    return 0 if row is None else int(row[0])


def unacknowledged(connection: sqlite3.Connection, agent_id: str, limit: int = 500) -> list[Order | Unreadable]:
    """Orders of an agent whose present version it has not acknowledged: what the fleet sends, by id."""
    tail = (
        "FROM orders WHERE agent_id = ? AND state IN ('active', 'releasing') AND withheld = 0"
        " AND acknowledged_version < version ORDER BY id LIMIT ?"
    )
    return rows.each(connection, Order, tail, (agent_id, limit))


def is_planned(connection: sqlite3.Connection, schedule_id: int) -> bool:
    """Whether there is an order of the schedule: it is no template for the members of a group."""
    query = "SELECT 1 FROM orders WHERE schedule_id = ? AND state != 'released' LIMIT 1"
    return connection.execute(query, (schedule_id,)).fetchone() is not None


def of_job(connection: sqlite3.Connection, job_id: int) -> list[Order]:
    """Live (active or releasing) orders of a job, by id: one per schedule, and those on their way back."""
    tail = (
        "FROM orders WHERE schedule_id IN (SELECT id FROM schedules WHERE job_id = ?)"
        " AND state IN ('active', 'releasing') ORDER BY id"
    )
    return rows.every(connection, Order, tail, (job_id,))


def is_of_another(connection: sqlite3.Connection, schedule_id: int, at_us: int, agent_id: str) -> bool:
    """Whether an instant belongs to an order that another agent holds now."""
    query = (
        "SELECT 1 FROM orders WHERE schedule_id = ? AND state IN ('active', 'releasing') AND agent_id != ?"
        " AND valid_from_us <= ? LIMIT 1"
    )
    return connection.execute(query, (schedule_id, agent_id, at_us)).fetchone() is not None


def to_renew(connection: sqlite3.Connection, now_us: int, limit: int = 50) -> list[Order | Unreadable]:
    """Active orders that are to be renewed by `now_us`, the most urgent first."""
    tail = "FROM orders WHERE state = 'active' AND renew_at_us <= ? ORDER BY renew_at_us LIMIT ?"
    return rows.each(connection, Order, tail, (now_us, limit))


def next_renewal_us(connection: sqlite3.Connection) -> int | None:
    """When the next order is to be renewed, or None without any."""
    by_renewal = "orders INDEXED BY orders_by_renewal"  # else all active orders are read, in another index
    query = f"SELECT renew_at_us FROM {by_renewal} WHERE state = 'active' ORDER BY renew_at_us LIMIT 1"
    row = connection.execute(query).fetchone()
    return None if row is None else int(row[0])


def due_before(connection: sqlite3.Connection, before_us: int, limit: int = 200) -> list[Order]:
    """Active orders that may have an instant before `before_us`: for looking ahead, at most `limit` orders."""
    tail = "FROM orders WHERE state = 'active' AND next_instant_us < ? ORDER BY next_instant_us LIMIT ?"
    return rows.every(connection, Order, tail, (before_us, limit))


_DUE = (
    " WHERE o.state = 'active' AND o.suppressed = '' AND o.by_master = 0 AND o.next_instant_us < ? AND EXISTS"
    " (SELECT 1 FROM agents a WHERE a.id = o.agent_id AND a.gates_acknowledged >= ?)"
    " ORDER BY o.next_instant_us LIMIT ?"
)


def due(connection: sqlite3.Connection, before_us: int, revision: int, limit: int = 200) -> list[Order | Unreadable]:
    """Active orders with an unaccounted instant before `before_us`, of agents that have acknowledged
    `revision`.
    """
    return rows.each(connection, Order, f"FROM orders o{_DUE}", (before_us, revision, limit))


def first_due_us(connection: sqlite3.Connection, revision: int) -> int | None:
    """The first unaccounted instant of the orders of agents that have acknowledged gate `revision`."""
    query = f"SELECT o.next_instant_us FROM orders o{_DUE}"
    row = connection.execute(query, (2**62, revision, 1)).fetchone()
    return None if row is None else int(row[0])


def suppressed_before(connection: sqlite3.Connection, before_us: int, limit: int = 200) -> list[Order | Unreadable]:
    """Active orders that the master itself suppresses, with an unaccounted instant up to `before_us`."""
    tail = (
        "FROM orders WHERE suppressed != '' AND state = 'active' AND next_instant_us <= ?"
        " ORDER BY next_instant_us LIMIT ?"
    )
    return rows.each(connection, Order, tail, (before_us, limit))


def next_suppressed_us(connection: sqlite3.Connection) -> int | None:
    """The first unaccounted instant of the orders that the master itself suppresses."""
    suppressed = "orders INDEXED BY orders_suppressed WHERE suppressed != ''"  # else all active orders are read
    query = f"SELECT next_instant_us FROM {suppressed} AND state = 'active' ORDER BY next_instant_us LIMIT 1"
    row = connection.execute(query).fetchone()
    return None if row is None else int(row[0])


def due_by_master(connection: sqlite3.Connection, now_us: int, limit: int = 100) -> list[Order | Unreadable]:
    """Orders of the master's own with an instant up to now of which nothing was made yet, the earliest first."""
    tail = f"FROM {_BY_MASTER} AND next_instant_us <= ? ORDER BY next_instant_us LIMIT ?"
    return rows.each(connection, Order, tail, (now_us, limit))


def next_by_master_us(connection: sqlite3.Connection) -> int | None:
    """When the master itself has something to submit next."""
    row = connection.execute(f"SELECT min(next_instant_us) FROM {_BY_MASTER}").fetchone()
    return None if row[0] is None else int(row[0])


def adopt_by_master(connection: sqlite3.Connection) -> int:
    """Take over the live orders of groups that a release without groups has written; returns how many.

    The groups' jobs are planned again.
    """
    of_groups = "by_master = 0 AND state IN ('active', 'releasing') AND agent_id IN (SELECT id FROM groups)"
    query = (
        "UPDATE orders SET by_master = 1, acknowledged_version = version,"
        f" state = CASE state WHEN 'active' THEN 'active' ELSE 'released' END WHERE {of_groups}"
    )
    found = connection.execute(query).rowcount
    if found:
        connection.execute(f"{jobs.UNPLANNED} WHERE agent_id IN (SELECT id FROM groups)")
    return found


def insert(connection: sqlite3.Connection, order: Order) -> int:
    """Add an order; its `id` is ignored. Returns the new one."""
    values = {name: getattr(order, name) for name in order.__struct_fields__ if name != "id"}
    return rows.insert(connection, "orders", {**debts.next_id(connection, "orders"), **values})


def update(connection: sqlite3.Connection, order_id: int, **values: object) -> None:
    """Set columns of one order by name; `instants` and `specification` are written as JSON."""
    rows.update(connection, "orders", values, {"id": order_id})


def acknowledge(connection: sqlite3.Connection, order_id: int, version: int) -> None:
    """The agent has persisted `version`. Lower numbers than known change nothing."""
    query = (
        "UPDATE orders SET acknowledged_version = :version,"
        " acknowledged_until_us = CASE WHEN version = :version THEN valid_until_us ELSE acknowledged_until_us END"
        " WHERE id = :id AND acknowledged_version < :version"
    )
    connection.execute(query, {"version": version, "id": order_id})


class OrderLine(Row, frozen=True, kw_only=True):
    """An order of a job as people see it: what its agent has of it, and until when."""

    id: int
    schedule_id: int
    cron: str
    zone: str
    agent_id: str
    agent: str
    state: str
    version: int
    acknowledged_version: int
    acknowledged_until_us: int
    valid_until_us: int


def lines_of_job(connection: sqlite3.Connection, job_id: int, limit: int = 200) -> list[OrderLine]:
    """The live orders of a job and those on their way back, by schedule."""
    query = (
        "SELECT o.id, o.schedule_id, s.cron, s.zone, o.agent_id, a.name, o.state, o.version, o.acknowledged_version,"
        " o.acknowledged_until_us, o.valid_until_us FROM orders o JOIN schedules s ON s.id = o.schedule_id"
        " JOIN agents a ON a.id = o.agent_id WHERE s.job_id = ? AND o.state IN ('active', 'releasing')"
        " ORDER BY o.schedule_id, o.id LIMIT ?"
    )
    found = connection.execute(query, (job_id, limit))
    return [rows.build(OrderLine, OrderLine.__struct_fields__, tuple(row)) for row in found]


def note_held(connection: sqlite3.Connection, order_id: int, until_us: int) -> None:
    """Unless its agent is silent it may receive the present version, and act on it until then."""
    query = (
        "UPDATE orders SET held_until_us = ? WHERE id = ? AND EXISTS"
        " (SELECT 1 FROM agents a WHERE a.id = agent_id AND a.silent_since_us IS NULL)"
    )
    connection.execute(query, (until_us, order_id))


def begin_release(connection: sqlite3.Connection, order: Order) -> None:
    """Take an order back, by a new version. It is released when the agent has answered what it started of it.

    The instants stay in the row: those that were not started stay open (`actions.orders.released`).
    """
    update(connection, order.id, state="releasing", version=order.version + 1)


def finish_release(connection: sqlite3.Connection, order: Order, now_us: int) -> None:
    """The agent has answered up to now (or is dead): the schedule may be given to another agent.

    The job is planned again; its next order begins where this one ended.
    """
    update(connection, order.id, state="released", acknowledged_version=order.version, released_at_us=now_us)
    jobs.mark_unplanned(connection, order.job_id)


def released_at_us(connection: sqlite3.Connection, schedule_id: int) -> int:
    """Up to when it is known what became of the instants of a schedule that has no live order; 0 when it is not."""
    query = "SELECT released_at_us FROM orders WHERE schedule_id = ? ORDER BY id DESC LIMIT 1"
    return rows.number(connection, query, (schedule_id,))


def autonomous_until_us(connection: sqlite3.Connection, agent_id: str) -> int | None:
    """Until when an agent goes on without a master: the end of the shortest order that it has acknowledged."""
    query = (
        "SELECT min(valid_until_us) FROM orders WHERE agent_id = ? AND state = 'active' AND acknowledged_version > 0"
        " AND by_master = 0"
    )
    row = connection.execute(query, (agent_id,)).fetchone()
    return None if row[0] is None else int(row[0])
