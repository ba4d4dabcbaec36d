"""Schedules of jobs. A changed schedule is a new row: the key of a run names the schedule that made it for ever."""

from __future__ import annotations

import sqlite3

from server.core.model import Schedule
from server.storage import debts, rows


def get(connection: sqlite3.Connection, schedule_id: int) -> Schedule | None:
    """The schedule, deleted ones included."""
    return rows.first(connection, Schedule, "FROM schedules WHERE id = ?", (schedule_id,))


def of_job(connection: sqlite3.Connection, job_id: int) -> list[Schedule]:
    """The schedules of a job that are not deleted, by id: at most `actions.jobs.SCHEDULES_MAX`."""
    tail = "FROM schedules WHERE job_id = ? AND deleted_at_us IS NULL ORDER BY id"
    return rows.every(connection, Schedule, tail, (job_id,))


def page(connection: sqlite3.Connection, after: int = 0, limit: int = 100) -> list[Schedule]:
    """All schedules that are not deleted, by id."""
    tail = "FROM schedules WHERE deleted_at_us IS NULL AND id > ? ORDER BY id LIMIT ?"
    return rows.every(connection, Schedule, tail, (after, limit))


def insert(connection: sqlite3.Connection, job_id: int, cron: str, zone: str, now_us: int) -> int:
    """Add a schedule and return its id."""
    values = {"job_id": job_id, "cron": cron, "zone": zone, "created_at_us": now_us}
    return rows.insert(connection, "schedules", {**debts.next_id(connection, "schedules"), **values})


def delete(connection: sqlite3.Connection, schedule_id: int, now_us: int) -> None:
    """Mark a schedule deleted."""
    rows.update(connection, "schedules", {"deleted_at_us": now_us}, {"id": schedule_id})
