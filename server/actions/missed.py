"""The ledger of what did not start: run it now or dismiss it, one or all (SKY-12). Permission: missed.resolve."""

from __future__ import annotations

import sqlite3

import msgspec

from server.actions import prerequisite_runs
from server.actions import runs as run_actions
from server.actions.change import Change, Transaction, record, require
from server.actions.jobs import find as find_job
from server.core.debts import LATE
from server.core.instants import MAY_HAVE_RUN, judge_past
from server.core.model import SYSTEM, Job, Missed, Principal, Run
from server.core.prerequisites import UNMET
from server.core.run_states import RunState
from server.errors import Conflict, NotFound
from server.storage import agents, jobs, missed, runs

BATCH = 500
"""Rows that one change resolves at most: no commit is huge."""


class Resolved(msgspec.Struct, frozen=True):
    """How many rows one call closed, and how many are still open. Call again with `after` while that is not 0."""

    resolved: int
    remaining: int
    after: int = 0


class Which(msgspec.Struct, frozen=True, kw_only=True):
    """Which open rows: of one job, by name, and of one cause; "" for any. `after`: only ids above it."""

    job: str = ""
    cause: str = ""
    after: int = 0


ALL = Which()


def run(missed_id: int, by: Principal, now_us: int) -> Change[Run]:
    """Submit the run of a missed occurrence now. Conflict when it is resolved already or the job was deleted."""
    require(by, "missed.resolve")

    def change(transaction: Transaction) -> Run:
        connection = transaction.connection
        row = _open_row(connection, missed_id)
        job = _live_job(connection, row)
        made = _run_row(connection, row, job, by.name, now_us)
        record(connection, by, now_us, "missed.run", job.name, row, made.key)
        return made

    return change


def dismiss(missed_id: int, by: Principal, now_us: int, reason: str = "") -> Change[None]:
    """Close a row without a run. Conflict when it is resolved already."""
    require(by, "missed.resolve")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        row = _open_row(connection, missed_id)
        missed.resolve(connection, missed_id, "dismissed", by.name, now_us)
        record(connection, by, now_us, "missed.dismiss", str(missed_id), row, "", reason)

    return change


def run_all(by: Principal, now_us: int, which: Which = ALL, limit: int = BATCH) -> Change[Resolved]:
    """Submit the runs of open rows, the oldest first; rows of deleted jobs are dismissed.

    What a lost memory may have begun is left: a person runs each of these by its number, or dismisses it.
    """
    require(by, "missed.resolve")

    def change(transaction: Transaction) -> Resolved:
        connection = transaction.connection
        page = _page(connection, which, limit)
        done = 0
        for row in page:
            job = jobs.get(connection, row.job_id)
            if job is None or job.deleted_at_us is not None:
                missed.resolve(connection, row.id, "dismissed", by.name, now_us)
            elif row.cause == MAY_HAVE_RUN or agents.is_gone(connection, job.agent_id):
                continue
            else:
                _run_row(connection, row, job, by.name, now_us)
            done += 1
        return _summary(connection, which, page, done, limit, "missed.run_all", by, now_us, "")

    return change


def dismiss_all(
    by: Principal, now_us: int, reason: str = "", which: Which = ALL, limit: int = BATCH
) -> Change[Resolved]:
    """Close open rows without runs."""
    require(by, "missed.resolve")

    def change(transaction: Transaction) -> Resolved:
        connection = transaction.connection
        page = _page(connection, which, limit)
        for row in page:
            missed.resolve(connection, row.id, "dismissed", by.name, now_us)
        return _summary(connection, which, page, len(page), limit, "missed.dismiss_all", by, now_us, reason)

    return change


def apply_policy(connection: sqlite3.Connection, job: Job, schedule_id: int, now_us: int) -> int:
    """Let the job's misfire policy decide the open rows of one schedule; returns how many runs it submitted.

    `once` runs only the latest, and not when a later occurrence has run meanwhile. What the policy leaves
    (`ask`, or older than the grace time) stays open for a person, and so does what may have run, and what waited for
    prerequisites that never came: running it would be to do without them.
    """
    found = missed.open_of_schedule(connection, schedule_id)
    not_mine = {MAY_HAVE_RUN} if job.misfire_policy == "skip" else {MAY_HAVE_RUN, UNMET}
    rows = {row.scheduled_for_us: row for row in found if row.cause not in not_mine}
    newest_us = runs.newest_instant_us(connection, schedule_id)
    started = 0
    for verdict in judge_past(rows, job, now_us):
        row = rows[verdict.instant_us]
        is_late = job.misfire_policy == "once" and newest_us is not None and newest_us > verdict.instant_us
        if verdict.runs and not is_late:
            _run_row(connection, row, job, SYSTEM.name, now_us)
            started += 1
        elif verdict.settled or verdict.runs:
            missed.resolve(connection, row.id, "policy", SYSTEM.name, now_us)
    return started


def _run_row(connection: sqlite3.Connection, row: Missed, job: Job, by: str, now_us: int) -> Run:
    submit = prerequisite_runs.submit_due if by == SYSTEM.name else run_actions.submit_occurrence
    made = submit(connection, job, row.schedule_id, row.scheduled_for_us, by, now_us)
    if row.cause in (UNMET, LATE) and made.state == RunState.MISSED:
        made = run_actions.again(connection, job, made, by, now_us)
    missed.resolve(connection, row.id, "run", by, now_us)
    return made


def _open_row(connection: sqlite3.Connection, missed_id: int) -> Missed:
    row = missed.get(connection, missed_id)
    if row is None:
        raise NotFound(f"There is no missed run {missed_id}. See the list of missed runs.")
    if row.resolution:
        raise Conflict(f"It is resolved already: {row.resolution} by {row.resolved_by}. Nothing is left to do.")
    return row


def _live_job(connection: sqlite3.Connection, row: Missed) -> Job:
    job = jobs.get(connection, row.job_id)
    if job is None or job.deleted_at_us is not None:
        raise Conflict("Its job was deleted. Dismiss it, or create the job again.")
    return job


def _page(connection: sqlite3.Connection, which: Which, limit: int) -> list[Missed]:
    return missed.open_rows(connection, which.after, limit, _job_id(connection, which), which.cause)


def _job_id(connection: sqlite3.Connection, which: Which) -> int:
    return find_job(connection, which.job).id if which.job else 0


def _summary(
    connection: sqlite3.Connection,
    which: Which,
    page: list[Missed],
    done: int,
    limit: int,
    action: str,
    by: Principal,
    now_us: int,
    reason: str,
) -> Resolved:
    remaining = missed.count_open(connection, _job_id(connection, which), which.cause)
    if done:
        what = " ".join(part for part in ("missed", which.job, which.cause) if part)
        record(connection, by, now_us, action, what, done + remaining, remaining, reason)
    return Resolved(done, remaining, page[-1].id if len(page) == limit else 0)
