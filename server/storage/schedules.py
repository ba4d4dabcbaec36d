"""Schedules of jobs. A changed schedule is a new row: the key of a run names the schedule that made it for ever."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from server.core.model import Schedule
from server.storage import debts, rows


def get(connection: sqlite3.Connection, schedule_id: int) -> Schedule | None:
    """The schedule, deleted ones included."""
    return rows.first(connection, Schedule, "FROM schedules WHERE id = ?", (schedule_id,))


def of_job(connection: sqlite3.Connection, job_id: int) -> list[Schedule]:
    """The schedules that people wrote, not deleted, by id: at most `actions.jobs.SCHEDULES_MAX`."""
    return [schedule for schedule in with_members(connection, job_id) if not schedule.member_id]


def with_members(connection: sqlite3.Connection, job_id: int) -> list[Schedule]:
    """The same with those of single members, which a group with the policy `all` has beside them."""
    tail = "FROM schedules WHERE job_id = ? AND deleted_at_us IS NULL ORDER BY id"
    return rows.every(connection, Schedule, tail, (job_id,))


def set_members(connection: sqlite3.Connection, job_id: int, agent_ids: Sequence[str], now_us: int) -> bool:
    """Let each of the agents, and nobody else, have every schedule that people wrote for the job; True for a change."""
    found = with_members(connection, job_id)
    written = {(s.cron, s.zone) for s in found if not s.member_id}
    wanted = {(agent_id, *when) for agent_id in agent_ids for when in written}
    gone = [s for s in found if s.member_id and (s.member_id, s.cron, s.zone) not in wanted]
    for schedule in gone:
        delete(connection, schedule.id, now_us)
    wanted -= {(s.member_id, s.cron, s.zone) for s in found}
    for agent_id, cron, zone in sorted(wanted):
        values = {"job_id": job_id, "cron": cron, "zone": zone, "created_at_us": now_us, "member_id": agent_id}
        rows.insert(connection, "schedules", {**debts.next_id(connection, "schedules"), **values})
    return bool(gone or wanted)


def page(connection: sqlite3.Connection, after: int = 0, limit: int = 100) -> list[Schedule]:
    """All schedules that people wrote and did not delete, by id."""
    tail = "FROM schedules WHERE deleted_at_us IS NULL AND member_id = '' AND id > ? ORDER BY id LIMIT ?"
    return rows.every(connection, Schedule, tail, (after, limit))


def insert(connection: sqlite3.Connection, job_id: int, cron: str, zone: str, now_us: int) -> int:
    """Add a schedule and return its id."""
    values = {"job_id": job_id, "cron": cron, "zone": zone, "created_at_us": now_us}
    return rows.insert(connection, "schedules", {**debts.next_id(connection, "schedules"), **values})


def delete(connection: sqlite3.Connection, schedule_id: int, now_us: int) -> None:
    """Mark a schedule deleted."""
    rows.update(connection, "schedules", {"deleted_at_us": now_us}, {"id": schedule_id})
