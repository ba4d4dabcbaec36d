"""What of standing orders did not start goes into the ledger. By the program itself: for the scheduler and planning.

Safe to repeat: an occurrence has at most one row in the ledger and one run.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial

from server.actions.change import Change, Transaction
from server.actions.quarantine import guarded, readable
from server.core import planning
from server.core.model import Order
from server.storage import exceptions, missed, orders, schedules

BATCH = 500


def account_held(now_us: int) -> Change[int]:
    """Write the due instants of held jobs into the ledger; returns how many orders were looked at."""

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        page = orders.suppressed_before(connection, now_us)
        for order in readable(connection, "suppressed", page, now_us):
            span = (order.suppressed, order.accounted_until_us + 1, now_us + 1, now_us)
            do = partial(account_span, connection, order, *span)
            guarded(connection, "suppressed", order.id, order.job_id, now_us, do)
        return len(page)

    return change


def record_missed(connection: sqlite3.Connection, order: Order, at_us: int, cause: str, now_us: int) -> bool:
    """Write an occurrence into the ledger; one that somebody skipped with that cause, and closed."""
    row = exceptions.of_occurrence(connection, order.schedule_id, at_us)
    if row is None or not row.skipped:
        return missed.record(connection, order.job_id, order.schedule_id, at_us, cause, now_us)
    written = missed.record(connection, order.job_id, order.schedule_id, at_us, row.as_told().skipped, now_us)
    found = missed.of_occurrence(connection, order.schedule_id, at_us)
    if written and found is not None:
        missed.resolve(connection, found.id, "policy", row.created_by, now_us)
    return written


def account_span(
    connection: sqlite3.Connection,
    order: Order,
    cause: str,
    from_us: int,
    until_us: int,
    now_us: int,
    limit: int = BATCH,
) -> int:
    """Write the instants in [from_us, until_us) that have neither run nor row; returns how many were looked
    at.
    """
    schedule = schedules.get(connection, order.schedule_id)
    if schedule is None or until_us <= from_us:
        return 0
    found, done_us, next_us = planning.unaccounted(order, schedule, from_us, until_us, limit)
    for at_us in _accountable(connection, order, found, from_us, until_us, now_us):
        record_missed(connection, order, at_us, cause, now_us)
    orders.update(connection, order.id, accounted_until_us=done_us, next_instant_us=next_us)
    return len(found)


def _accountable(
    connection: sqlite3.Connection, order: Order, found: Sequence[int], from_us: int, until_us: int, now_us: int
) -> list[int]:
    """Of the instants found those that the master writes: what is skipped or moved the agent reports, if it has it."""
    special = exceptions.open_of_schedule(connection, order.schedule_id, now_us - planning.PAST_US)
    aside = {one.instant_us for one in special if one.skipped or one.moved_to_us is not None}
    mine = [at_us for at_us in found if at_us not in aside]
    if order.suppressed:
        mine += [one.instant_us for one in special if one.instant_us in aside and from_us <= one.start_us < until_us]
    return mine
