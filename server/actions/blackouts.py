"""What blackout windows leave out goes into the ledger (BEY-9). By the program itself: for the scheduler.

A row is closed at once, by the rule, unless the job's misfire policy is `ask`: then a person runs or dismisses it. To
have it run by itself after the window, a schedule says `wait out` instead. See docs/decisions/0096.
"""

from __future__ import annotations

import sqlite3
from functools import partial

from server.actions.change import Change, Transaction
from server.actions.quarantine import guarded, readable
from server.core.model import DAY_US
from server.core.schedule import BadSchedule
from server.core.timing import blacked_out
from server.storage import jobs, missed, orders, schedules

BLACKOUT = "blackout window"
PAGE = 20
INSTANTS = 500


def account(now_us: int) -> Change[int]:
    """Write what fell into windows up to now; returns how many schedules were looked at."""

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        page = schedules.blacked_out_before(connection, now_us, PAGE)
        for schedule in readable(connection, "blackout", page, now_us):
            do = partial(_account, connection, schedule.id, now_us)
            guarded(connection, "blackout", schedule.id, schedule.job_id, now_us, do)
        return len(page)

    return change


def _account(connection: sqlite3.Connection, schedule_id: int, now_us: int) -> None:
    """From the mark on to now, at most INSTANTS; then the mark is at the next one, or a day from now."""
    schedule = schedules.get(connection, schedule_id)
    assert schedule is not None, "its row was read just now"
    after_us = (schedule.blackout_next_us or now_us) - 1
    job = jobs.get(connection, schedule.job_id)
    is_due = job is not None and job.deleted_at_us is None and orders.is_planned(connection, schedule.id)
    try:
        found = list(blacked_out(schedule.timing, after_us, now_us, INSTANTS)) if is_due else []
        done_us = found[-1] if len(found) == INSTANTS else now_us
        following = next(blacked_out(schedule.timing, done_us, done_us + DAY_US, 1), done_us + DAY_US)
    except BadSchedule:
        found, following = [], now_us + DAY_US
    for at_us in found:
        written = missed.record(connection, schedule.job_id, schedule.id, at_us, BLACKOUT, now_us)
        row = missed.of_occurrence(connection, schedule.id, at_us)
        if written and row is not None and job is not None and job.misfire_policy != "ask":
            missed.resolve(connection, row.id, "policy", "schedule", now_us)
    schedules.mark_blackout(connection, schedule.id, following)
