"""The ledger of what a stopped scheduler suppressed. By the program itself: for the scheduler. Safe to repeat."""

from __future__ import annotations

import sqlite3
from functools import partial

import msgspec

from server.actions.change import Change, Transaction
from server.actions.order_ledger import account_span
from server.actions.orders import stop_in_force
from server.actions.quarantine import guarded, readable
from server.core.gates import REASONS, SCHEDULER_STOPPED
from server.storage import gates, orders

GRACE_US = 10_000_000
"""An instant is accounted for by the master this long after it was due: the agent's own report comes first."""
PAGE = 200


class Stopped(msgspec.Struct, frozen=True):
    """A time in which due instants were suppressed: from when, until when, and the revision that said so.

    `id` is 0 while it stands. `is_over`: it was lifted longer ago than the grace.
    """

    id: int
    cause: str
    from_us: int
    until_us: int
    revision: int
    is_over: bool


def account_stops(now_us: int) -> Change[int]:
    """Write into the ledger what a stopped scheduler suppressed, for agents that have acknowledged the stop.

    A batch of the oldest stop that has something left; a lifted stop without anything left is forgotten.
    Returns what was done, 0 when nothing is left. What agents did that never acknowledged the stop, they
    report themselves.
    """

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        for stop in stops_to_account(connection, now_us):
            is_empty = stop.from_us >= stop.until_us
            page = [] if is_empty else orders.due(connection, stop.until_us, stop.revision, PAGE)
            for order in readable(connection, "suppressed", page, now_us):
                span = (stop.cause, stop.from_us, stop.until_us, now_us)
                do = partial(account_span, connection, order, *span)
                guarded(connection, "suppressed", order.id, order.job_id, now_us, do)
            if not page and stop.is_over:
                gates.remove_stop(connection, stop.id)
            if page or stop.is_over:
                return max(len(page), 1)
        return 0

    return change


def has_stops(connection: sqlite3.Connection, now_us: int) -> bool:
    """A query: would `account_stops` do something?"""
    for stop in stops_to_account(connection, now_us):
        first_us = orders.first_due_us(connection, stop.revision)
        if stop.is_over or (first_us is not None and first_us < stop.until_us):
            return True
    return False


def stops_to_account(connection: sqlite3.Connection, now_us: int) -> list[Stopped]:
    """Times of a stopped scheduler that are not accounted for yet, oldest first, none younger than the grace."""
    horizon_us = now_us - GRACE_US
    cause = REASONS[SCHEDULER_STOPPED]
    found = [
        Stopped(
            stop.id,
            cause,
            stop.from_us,
            min(stop.until_us, horizon_us),
            stop.revision,
            stop.until_us <= horizon_us,
        )
        for stop in gates.stops(connection)
    ]
    standing = stop_in_force(connection)
    if standing is not None:
        found.append(Stopped(0, cause, standing.set_at_us, horizon_us, standing.revision, False))
    return [stop for stop in found if stop.is_over or stop.from_us < stop.until_us]
