"""Job monitors at work: a follower of the outbox, and what is due, for the scheduler. By the program itself.

A trip is a row, unique for run and monitor; it is written with its consequences in one change: exactly once, whatever
crashes or fails over in between.
"""

from __future__ import annotations

import sqlite3
from functools import partial

from server.actions import retries
from server.actions.change import Change, Transaction
from server.actions.quarantine import guarded
from server.core.happenings import Happening, Kind
from server.core.instants import next_instant
from server.core.job_monitors import MonitorKind, kind_of
from server.core.model import Job, Run
from server.core.monitor_watches import (
    SETTLE_US,
    JobMonitor,
    Watch,
    due_us,
    is_clear,
    judge_end,
    judge_expected,
    sentence,
)
from server.core.prerequisites import Status
from server.core.run_keys import occurrence_key
from server.core.run_states import ENDED
from server.storage import (
    agents,
    exceptions,
    happenings,
    job_monitors,
    jobs,
    missed,
    notifications,
    runs,
    system_messages,
)

CLEAR = Status.CLEAR.value
FAILED = ("failed", "killed", "interrupted")
EXPECTED = (MonitorKind.LATE_START, MonitorKind.COMPLETE_BY)
CAUGHT_UP = 100
"""Instants of one schedule that one look takes at most, after a time without a master."""


def expect(connection: sqlite3.Connection, job: Job, now_us: int) -> None:
    """Expect the next instant of each of the job's orders as they are now; to be called when those have changed."""
    if not job.job_monitors.kinds or job.deleted_at_us is not None:
        return
    job_monitors.drop_ahead(connection, job.id, now_us)
    for monitor in job_monitors.of_job(connection, job.id):
        if kind_of(monitor.kind) in EXPECTED:
            for schedule_id in job_monitors.scheduled(connection, job.id):
                _expect_next(connection, monitor, schedule_id, now_us)


def follow_run(connection: sqlite3.Connection, happening: Happening, now_us: int) -> None:
    """A watched run has begun: watch how long it takes. It has ended: judge that, once."""
    if happening.kind != Kind.RUN:
        return
    run, job = runs.get(connection, happening.subject), jobs.get(connection, happening.source_id)
    if run is None or job is None:
        return
    looking = [one for one in job_monitors.of_job(connection, job.id) if kind_of(one.kind) is MonitorKind.OVERRUN]
    if run.state in ENDED and happening.status != run.state:
        return  # what it was before; its end is told behind, and only then retries have decided
    if run.state in ENDED:
        _tell_failure(connection, job, run, now_us)
        _judge_end(connection, job, run, now_us)
        for monitor in looking:
            job_monitors.drop_watch(connection, monitor.id, run.key)
        _tell_clear(connection, job, run)
    elif run.started_at_us is not None:
        for monitor in looking:
            due = due_us(job.job_monitors.rules[monitor.kind], run.started_at_us)
            job_monitors.put_watch(connection, Watch(monitor_id=monitor.id, run_key=run.key, due_us=due))


def look_due(now_us: int, since_us: int) -> Change[int]:
    """Judge what is due; returns how many were looked at, 0 at the end. `since_us`: when this node took office."""

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        found = job_monitors.due(connection, now_us)
        for watch in found:
            monitor = job_monitors.get(connection, watch.monitor_id)
            job_id = monitor.job_id if monitor is not None else None
            subject, do = f"{watch.monitor_id} {watch.run_key}", partial(_look, connection, watch, now_us, since_us)
            guarded(connection, "monitor", subject, job_id, now_us, do)
        return len(found)

    return change


def _look(connection: sqlite3.Connection, watch: Watch, now_us: int, since_us: int) -> None:
    monitor = job_monitors.get(connection, watch.monitor_id)
    job = jobs.get(connection, monitor.job_id) if monitor is not None else None
    if monitor is None or job is None or monitor.deleted_at_us is not None or job.deleted_at_us is not None:
        job_monitors.drop_watch(connection, watch.monitor_id, watch.run_key)
    elif watch.instant_us is None:
        _judge_run(connection, monitor, job, watch, now_us)
    elif watch.is_ahead:
        _arrive(connection, monitor, job, watch, now_us)
    else:
        _judge_instant(connection, monitor, job, watch, now_us, since_us)


def _expect_next(connection: sqlite3.Connection, monitor: JobMonitor, schedule_id: int, after_us: int) -> Watch | None:
    """Watch for the first instant of the schedule's order after `after_us`; None when the order has no more."""
    order = job_monitors.order_of(connection, schedule_id)
    at_us = next_instant(order.instants, after_us) if order is not None else None
    if at_us is None:
        return None
    key = occurrence_key(monitor.job_id, schedule_id, at_us)
    watch = Watch(
        monitor_id=monitor.id, run_key=key, schedule_id=schedule_id, instant_us=at_us, due_us=at_us, is_ahead=True
    )
    job_monitors.put_watch(connection, watch)
    return watch


def _arrive(connection: sqlite3.Connection, monitor: JobMonitor, job: Job, watch: Watch, now_us: int) -> None:
    """The instant has come: judge it when the monitor says so, and expect the following ones."""
    arrived: Watch | None = watch
    for _ in range(CAUGHT_UP):
        if arrived is None or arrived.instant_us is None or arrived.schedule_id is None or arrived.due_us > now_us:
            return
        start_us = arrived.instant_us
        special = exceptions.of_occurrence(connection, arrived.schedule_id, arrived.instant_us)
        if special is not None:
            start_us = special.start_us
        job_monitors.postpone(connection, arrived, due_us(job.job_monitors.rules[monitor.kind], start_us))
        arrived = _expect_next(connection, monitor, arrived.schedule_id, arrived.instant_us)


def _judge_instant(
    connection: sqlite3.Connection, monitor: JobMonitor, job: Job, watch: Watch, now_us: int, since_us: int
) -> None:
    assert watch.instant_us is not None, "it is of an instant"
    assert watch.schedule_id is not None, "it is of a schedule"
    attempts = job_monitors.attempts(connection, watch.run_key)
    if not attempts and now_us < since_us + SETTLE_US:
        job_monitors.postpone(connection, watch, since_us + SETTLE_US)
        return
    job_monitors.drop_watch(connection, monitor.id, watch.run_key)
    if not attempts and missed.of_occurrence(connection, watch.schedule_id, watch.instant_us) is not None:
        return
    special = exceptions.of_occurrence(connection, watch.schedule_id, watch.instant_us)
    if special is not None and special.skipped:
        return
    if judge_expected(kind_of(monitor.kind), attempts, watch.due_us):
        why = "" if attempts else _unheard(connection, watch.schedule_id)
        _trip(connection, monitor, job, attempts[-1] if attempts else None, watch.run_key, why, now_us)


def _unheard(connection: sqlite3.Connection, schedule_id: int) -> str:
    """Why nobody heard of a run that should have begun."""
    order = job_monitors.order_of(connection, schedule_id)
    agent = agents.get(connection, order.agent_id) if order is not None else None
    if agent is not None and agent.silent_since_us is not None:
        return f"{agent.name} is silent and may have begun it"
    return "nobody reported a start"


def _judge_run(connection: sqlite3.Connection, monitor: JobMonitor, job: Job, watch: Watch, now_us: int) -> None:
    job_monitors.drop_watch(connection, monitor.id, watch.run_key)
    run = runs.by_key(connection, watch.run_key)
    if run is not None and run.state not in ENDED:
        _trip(connection, monitor, job, run, run.key, "", now_us)


def _judge_end(connection: sqlite3.Connection, job: Job, run: Run, now_us: int) -> None:
    for label in judge_end(job.job_monitors, run):
        monitor = job_monitors.of_kind(connection, job.id, label)
        if monitor is not None:
            _trip(connection, monitor, job, run, run.key, "", now_us)


def _tell_clear(connection: sqlite3.Connection, job: Job, run: Run) -> None:
    """A run ended for good: whoever waits for a monitor that found nothing of it is told."""
    watched = [
        one
        for one in job_monitors.of_job(connection, job.id)
        if happenings.is_watched(connection, Kind.MONITOR, one.id)
    ]
    if not watched or run.ended_at_us is None or not retries.is_final(connection, run):
        return
    attempts = [one for one in job_monitors.attempts(connection, run.key) if one.number <= run.number]
    for monitor in watched:
        by_us = _still_due_us(connection, monitor, job, run)
        tripped = job_monitors.of_run(connection, monitor.id, run.key) is not None
        if not tripped and is_clear(kind_of(monitor.kind), attempts, by_us):
            happenings.happened(connection, Kind.MONITOR, monitor.id, run.number, CLEAR, run.ended_at_us)


def _still_due_us(connection: sqlite3.Connection, monitor: JobMonitor, job: Job, run: Run) -> int | None:
    """When what was expected is still to be judged; None when it was, or nothing is expected."""
    watch = job_monitors.watch_of(connection, monitor.id, run.key)
    if watch is None or watch.instant_us is None or not watch.is_ahead:
        return watch.due_us if watch is not None and watch.instant_us is not None else None
    special = exceptions.of_occurrence(connection, watch.schedule_id or 0, watch.instant_us)
    start_us = watch.instant_us if special is None else special.start_us
    return due_us(job.job_monitors.rules[monitor.kind], start_us)


def _tell_failure(connection: sqlite3.Connection, job: Job, run: Run, now_us: int) -> None:
    """Of a run that failed and is not tried again; not of one that somebody ended."""
    failed = run.state in FAILED and run.cancel_requested_at_us is None
    if not job.job_monitors.notify_failed or not failed or not retries.is_final(connection, run):
        return
    code = f"exit code {run.exit_code}" if run.exit_code is not None else f"signal {run.signal}" if run.signal else ""
    how = ", ".join(filter(None, (code, run.reason, f"attempt {run.attempt}")))
    text = f"Run {run.number} of {job.name} is {run.state}: {how}. It is not tried again."
    subject, about = f"{job.name}: {run.state}", f"run {run.key}"
    notifications.enqueue(connection, job.job_monitors.notify_failed, "run failed", about, subject, text, now_us)


def _trip(
    connection: sqlite3.Connection, monitor: JobMonitor, job: Job, run: Run | None, key: str, why: str, now_us: int
) -> None:
    text = sentence(job.name, job.job_monitors.rules[monitor.kind], run, why)
    number = job_monitors.trip(connection, monitor, key, run.number if run is not None else None, text, now_us)
    if number is not None:
        about = f"job monitor trip {number}"
        notifications.enqueue(
            connection, job.job_monitors.notify, "job monitor", about, f"{job.name}: {monitor.kind}", text, now_us
        )
        system_messages.insert(connection, "warning", f"{text[:1].upper()}{text[1:]}.", now_us)
