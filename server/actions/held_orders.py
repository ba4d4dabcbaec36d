"""Standing orders that a returning agent says it holds, compared with the rows. Part of its admission.

Each function writes inside the caller's change.
"""

from __future__ import annotations

import sqlite3

from server.actions import debts
from server.actions.lost_orders import let_go
from server.actions.quarantine import put_aside
from server.core.model import Agent
from server.storage import asides, orders
from server.storage import debts as debt_rows
from server.storage.rows import Unreadable


def compare_orders(
    connection: sqlite3.Connection, agent: Agent, held: dict[int, int], restored: bool, now_us: int
) -> tuple[tuple[int, int], ...]:
    """Orders that the agent lacks are given again; returns those that it has and should not.

    What it says it began of them counts when they are in the row's version: never that of a restored memory. After a
    loss (`core.debts`) its orders may be another master's of the same number: all are given again; one that it lacks
    may have moved in the lost part, and another agent have begun what is past: it is made anew from now on. A replaced
    machine is asked for all that are not given back yet, also for those that it never had. One that does not decode
    is put aside: the agent goes on with what it has of it.
    """
    debt = debt_rows.of_agent(connection, agent.id)
    after, live, wanted = 0, set(), list[tuple[int, int]]()
    while page := orders.each_of_agent(connection, agent.id, after):
        for order in page:
            after = int(order.row["id"]) if isinstance(order, Unreadable) else order.id
            live.add(after)
            if isinstance(order, Unreadable):
                _pass_over(connection, order, held.get(after, 0), now_us)
                continue
            if agent.replaced_at_us is not None:
                wanted.append((order.id, 0 if restored else order.version))
                continue
            if debt is not None and held.get(order.id, 0):
                orders.update(connection, order.id, version=max(order.version, held[order.id]) + 1)
            if held.get(order.id, 0) == 0 and (order.state == "active" or debt is not None):
                if debts.withhold(connection, agent.id, order):
                    continue
                if debt is not None and order.valid_from_us <= debt.since_us:
                    let_go(connection, order, now_us)
                    continue
            if order.state == "active" and order.acknowledged_version > held.get(order.id, 0):
                orders.update(connection, order.id, acknowledged_version=held.get(order.id, 0))
    strays = [(order_id, version) for order_id, version in held.items() if order_id not in live]
    wanted += [(n, 0 if restored else orders.dead_version(connection, n) or version) for n, version in strays]
    return tuple(wanted)


def _pass_over(connection: sqlite3.Connection, order: Unreadable, held: int, now_us: int) -> None:
    """Listed once; what the agent lacks of it is tried again, and given once somebody has mended the row."""
    number, job_id = int(order.row["id"]), int(order.row["job_id"])
    if order.row["state"] == "active" and int(order.row["acknowledged_version"]) > held:
        orders.update(connection, number, acknowledged_version=held)
    if ("give", str(number)) not in [(one.work, one.subject) for one in asides.of_job(connection, job_id)]:
        put_aside(connection, "give", str(number), job_id, order.error, now_us)
