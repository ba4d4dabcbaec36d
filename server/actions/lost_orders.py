"""Standing orders that their agent cannot give back: its machine is gone, or their time is over.

Parts of a change: each function writes inside the caller's.
"""

from __future__ import annotations

import sqlite3

from server.core.instants import LATE_US
from server.core.model import Agent, Order
from server.core.silence import window
from server.storage import jobs, orders, silence


def bury(connection: sqlite3.Connection, agent: Agent, now_us: int) -> int:
    """End all orders of a machine that is gone, inside the caller's change; returns how many.

    Each keeps what of it is unknown until somebody decides; the jobs are planned again.
    """
    after = count = 0
    while page := orders.of_agent(connection, agent.id, after):
        after, count = page[-1].id, count + len(page)
        for order in page:
            let_go(connection, order, now_us)
    jobs.mark_agent_unplanned(connection, agent.id)
    return count


def let_go(connection: sqlite3.Connection, order: Order, now_us: int) -> None:
    """Nothing of an order is asked of its agent any more: it is dead, or its time is over.

    What it may have started stays unknown: the instants after the newest known one, up to now or its end.
    """
    newest_us = silence.newest_known_us(connection, order.schedule_id)
    within = window(order, True, newest_us, now_us + LATE_US)
    if order.suppressed or within.until_us <= within.after_us:
        orders.update(connection, order.id, withheld=0)
        orders.finish_release(connection, order, now_us)
        return
    is_told = order.acknowledged_version >= order.version - (order.state == "releasing")
    orders.update(
        connection,
        order.id,
        state="dead",
        exceptions=order.exceptions if is_told else [],
        withheld=0,
        version=order.version + 1,
        acknowledged_version=order.version + 1,
        accounted_until_us=within.after_us,
        valid_until_us=within.until_us,
    )
    jobs.mark_unplanned(connection, order.job_id)
