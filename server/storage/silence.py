"""Rows of agents that do not answer: since when, what of their orders is unknown, what may be given up."""

from __future__ import annotations

import sqlite3
from itertools import islice

from server.core.model import Order, Row
from server.core.run_keys import occurrence_key
from server.core.silence import Unknown, unknown_instants, window
from server.storage import rows

KEYS_MAX = 100
ORDERS_MAX = 500


class SilentAgent(Row, frozen=True, kw_only=True):
    """An agent that does not answer, as status and lists name it."""

    name: str
    silent_since_us: int
    dead_at_us: int | None


class UnknownLine(Row, frozen=True, kw_only=True):
    """The unknown occurrences of one order: how many, and the first of them by instant (microseconds UTC)."""

    job_id: int
    job: str
    agent_id: str
    agent: str
    schedule_id: int
    count: int
    first_us: int
    last_us: int
    silent_since_us: int | None
    dead: bool
    instants_us: list[int]

    def key(self, at_us: int) -> str:
        """The name of the occurrence at an instant."""
        return occurrence_key(self.job_id, self.schedule_id, at_us)


_SILENT = (
    " FROM orders o JOIN agents a ON a.id = o.agent_id JOIN jobs j ON j.id = o.job_id"
    " WHERE ((o.state IN ('active', 'releasing') AND o.by_master = 0 AND a.silent_since_us IS NOT NULL"
    " AND a.dead_at_us IS NULL)"
    " OR o.state = 'dead' OR (o.withheld = 1 AND o.state IN ('active', 'releasing')))"
)


def silent(connection: sqlite3.Connection, limit: int = 100) -> list[SilentAgent]:
    """Agents that do not answer, by name."""
    tail = "FROM agents WHERE silent_since_us IS NOT NULL AND removed_at_us IS NULL ORDER BY name LIMIT ?"
    return rows.every(connection, SilentAgent, tail, (limit,))


def expected(connection: sqlite3.Connection) -> list[str]:
    """Ids of the agents that a new office waits for: those that were ever admitted and are not removed, and replaced
    machines that have not given everything back.
    """
    query = (
        "SELECT id FROM agents WHERE (ticket > 0 OR version != '') AND removed_at_us IS NULL"
        " UNION SELECT id FROM agents WHERE replaced_at_us IS NOT NULL"
        " AND EXISTS (SELECT 1 FROM orders o WHERE o.agent_id = agents.id AND o.state = 'releasing')"
    )
    return [row[0] for row in connection.execute(query)]


def unknown(
    connection: sqlite3.Connection, now_us: int, agent_id: str = "", job_id: int = 0, limit: int = ORDERS_MAX
) -> list[UnknownLine]:
    """Unknown occurrences by order, of one agent or job when given; at most `limit` orders are looked at."""
    query, values = f"SELECT o.id, o.job_id, j.name, a.id, a.name, a.silent_since_us{_SILENT}", list[object]()
    for column, value in (("o.agent_id", agent_id), ("o.job_id", job_id)):
        if value:
            query, values = f"{query} AND {column} = ?", [*values, value]
    found = []
    for order_id, job, job_name, agent, agent_name, since in connection.execute(
        f"{query} ORDER BY o.id LIMIT ?", (*values, limit)
    ).fetchall():
        order = rows.first(connection, Order, "FROM orders WHERE id = ?", (order_id,))
        instants = of_order(connection, order, now_us) if order is not None else None
        first_ones = list(islice(instants, KEYS_MAX)) if instants is not None else []
        if order is not None and instants is not None and first_ones:
            line = UnknownLine(
                job_id=job,
                job=job_name,
                agent_id=agent,
                agent=agent_name,
                schedule_id=order.schedule_id,
                count=instants.count,
                first_us=first_ones[0],
                last_us=instants.last_us() or first_ones[-1],
                silent_since_us=since,
                dead=order.state == "dead",
                instants_us=first_ones,
            )
            found.append(line)
    return found


def count_unknown_runs(connection: sqlite3.Connection, agent_id: str = "") -> int:
    """Runs that are unknown, of one agent when given."""
    if agent_id:
        return rows.number(
            connection, "SELECT count(*) FROM runs WHERE agent_id = ? AND state = 'unknown'", (agent_id,)
        )
    return rows.number(connection, "SELECT count(*) FROM runs WHERE state = 'unknown'")


def of_order(connection: sqlite3.Connection, order: Order, now_us: int) -> Unknown:
    """The unknown instants of one order; the caller knows that its agent is silent or dead."""
    within = window(order, True, newest_known_us(connection, order.schedule_id), now_us)
    if order.state != "dead" or within.until_us <= within.after_us:
        return unknown_instants(order, within)  # nothing later than the newest known one is known
    return unknown_instants(order, within, _known(connection, order.schedule_id, within.after_us, within.until_us))


def newest_known_us(connection: sqlite3.Connection, schedule_id: int) -> int:
    """The last instant of a schedule that has a run or a row of the ledger, moved ones aside; 0 without any."""
    in_order = (
        " WHERE schedule_id = :schedule AND NOT EXISTS (SELECT 1 FROM exceptions e WHERE e.schedule_id = :schedule"
        " AND e.instant_us = scheduled_for_us AND e.moved_to_us IS NOT NULL) ORDER BY scheduled_for_us DESC LIMIT 1"
    )
    query = (
        f"SELECT max(coalesce((SELECT scheduled_for_us FROM runs{in_order}), 0),"
        f" coalesce((SELECT scheduled_for_us FROM missed{in_order}), 0))"
    )
    return rows.number(connection, query, {"schedule": schedule_id})


def orders_of(connection: sqlite3.Connection, schedule_id: int) -> list[Order]:
    """Orders of a schedule of which something may be unknown, by id."""
    query = f"SELECT o.id{_SILENT} AND o.schedule_id = ? ORDER BY o.id"
    ids = [row[0] for row in connection.execute(query, (schedule_id,))]
    return [order for i in ids if (order := rows.first(connection, Order, "FROM orders WHERE id = ?", (i,)))]


def dead_of_job(connection: sqlite3.Connection, job_id: int) -> list[Order]:
    """The orders of dead machines that still have something unknown of a job, by id."""
    return rows.every(connection, Order, "FROM orders WHERE state = 'dead' AND job_id = ? ORDER BY id", (job_id,))


def note_held(connection: sqlite3.Connection, agent_id: str) -> None:
    """The agent is there: it may receive every present version of its orders."""
    query = "UPDATE orders SET held_until_us = valid_until_us WHERE agent_id = ? AND state IN ('active', 'releasing')"
    connection.execute(query, (agent_id,))


def to_give_up(connection: sqlite3.Connection, lapsed_us: int) -> dict[str, int]:
    """Agents with a run that may be given up or an order that is to move, and the shortest time of these.

    0 for an order that ended for certain: before `lapsed_us`.
    """
    query = (
        "SELECT agent_id, min(seconds) FROM agents a JOIN ("
        " SELECT agent_id, give_up_after_s AS seconds FROM runs"
        "  WHERE state = 'unknown' AND give_up_after_s > 0 AND given_up_at_us IS NULL"
        " UNION ALL SELECT agent_id, json_extract(specification, '$.give_up_after_s') FROM orders"
        "  WHERE state = 'releasing' AND json_extract(specification, '$.give_up_after_s') > 0"
        "  AND acknowledged_version >= version - 1 AND agent_id NOT IN (SELECT agent_id FROM debts)"
        " UNION ALL SELECT agent_id, 0 FROM orders WHERE state = 'releasing' AND held_until_us < ?"
        ") ON agent_id = a.id WHERE a.silent_since_us IS NOT NULL GROUP BY agent_id"
    )
    return {str(agent_id): int(seconds) for agent_id, seconds in connection.execute(query, (lapsed_us,))}


def runs_to_give_up(connection: sqlite3.Connection, agent_id: str, within_s: int) -> list[int]:
    """Numbers of the unknown runs of an agent that it was told to give up within so many seconds."""
    query = (
        "SELECT number FROM runs WHERE agent_id = ? AND state = 'unknown' AND give_up_after_s > 0"
        " AND given_up_at_us IS NULL AND give_up_after_s <= ? ORDER BY number"
    )
    return [int(row[0]) for row in connection.execute(query, (agent_id, within_s))]


def releasing(connection: sqlite3.Connection, agent_id: str) -> list[Order]:
    """Orders that an agent shall give back, by id."""
    return rows.every(
        connection, Order, "FROM orders WHERE agent_id = ? AND state = 'releasing' ORDER BY id", (agent_id,)
    )


def _known(connection: sqlite3.Connection, schedule_id: int, after_us: int, until_us: int) -> set[int]:
    query = (
        "SELECT scheduled_for_us FROM runs WHERE schedule_id = ? AND scheduled_for_us > ? AND scheduled_for_us <= ?"
        " UNION SELECT scheduled_for_us FROM missed"
        " WHERE schedule_id = ? AND scheduled_for_us > ? AND scheduled_for_us <= ?"
    )
    span = (schedule_id, after_us, until_us)
    return {int(row[0]) for row in connection.execute(query, (*span, *span))}
