"""Schedules of jobs. A changed schedule is a new row: the key of a run names the schedule that made it for ever."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace

import msgspec

from server.core.model import Schedule, ScheduleRow
from server.core.timing import Timing, TimingRules
from server.storage import calendars, debts, rows
from server.storage.rows import Unreadable

Meaning = tuple[str, str, int | None, TimingRules]
"""What makes two schedules of one job the same: expression, zone, calendar and rules."""


def meaning(row: ScheduleRow) -> Meaning:
    """What a schedule says."""
    return row.cron, row.zone, row.calendar_id, row.rules


def get(connection: sqlite3.Connection, schedule_id: int) -> Schedule | None:
    """The schedule, deleted ones included."""
    found = rows.first(connection, ScheduleRow, "FROM schedules WHERE id = ?", (schedule_id,))
    return None if found is None else _with_days(connection, found)


def job_of(connection: sqlite3.Connection, schedule_id: int) -> int | None:
    """The job that a schedule is of, whatever else its row holds."""
    row = connection.execute("SELECT job_id FROM schedules WHERE id = ?", (schedule_id,)).fetchone()
    return None if row is None else int(row[0])


def of_job(connection: sqlite3.Connection, job_id: int) -> list[Schedule]:
    """The schedules that people wrote, not deleted, by id: at most `actions.jobs.SCHEDULES_MAX`."""
    return [schedule for schedule in with_members(connection, job_id) if not schedule.member_id]


def with_members(connection: sqlite3.Connection, job_id: int) -> list[Schedule]:
    """The same with those of single members, which a group with the policy `all` has beside them."""
    tail = "FROM schedules WHERE job_id = ? AND deleted_at_us IS NULL ORDER BY id"
    return [_with_days(connection, row) for row in rows.every(connection, ScheduleRow, tail, (job_id,))]


def set_members(connection: sqlite3.Connection, job_id: int, agent_ids: Sequence[str], now_us: int) -> bool:
    """Let each of the agents, and nobody else, have every schedule that people wrote for the job; True for a change."""
    found = with_members(connection, job_id)
    written = list(dict.fromkeys(meaning(s) for s in found if not s.member_id))
    wanted = dict.fromkeys((agent_id, when) for agent_id in sorted(agent_ids) for when in written)
    gone = [s for s in found if s.member_id and (s.member_id, meaning(s)) not in wanted]
    for schedule in gone:
        delete(connection, schedule.id, now_us)
    there = {(s.member_id, meaning(s)) for s in found}
    missing = [one for one in wanted if one not in there]
    for agent_id, when in missing:
        insert(connection, job_id, when, now_us, agent_id)
    return bool(gone or missing)


def page(connection: sqlite3.Connection, after: int = 0, limit: int = 100) -> list[ScheduleRow]:
    """All schedules that people wrote and did not delete, by id."""
    tail = "FROM schedules WHERE deleted_at_us IS NULL AND member_id = '' AND id > ? ORDER BY id LIMIT ?"
    return rows.every(connection, ScheduleRow, tail, (after, limit))


def timings(connection: sqlite3.Connection) -> list[tuple[tuple[int, int], Timing]]:
    """What every schedule in force is due by: ((job, schedule), timing), by job. For forecasts of everything.

    Of a group with the policy `all` those of its members; of held jobs none. What says the same shares one timing.
    """
    query = (
        "SELECT s.job_id, s.id, s.cron, s.zone, s.calendar_id, s.rules FROM schedules s JOIN jobs j ON j.id = s.job_id"
        " LEFT JOIN groups g ON g.id = j.agent_id"
        " WHERE s.deleted_at_us IS NULL AND j.deleted_at_us IS NULL AND NOT j.held"
        " AND (s.member_id != '') = (coalesce(g.policy, '') = 'all') ORDER BY s.job_id, s.id"
    )
    days = {number: calendars.days(connection, number) for number in calendars.names(connection)}
    shared: dict[tuple[str, str, int | None, str], Timing] = {}
    found: list[tuple[tuple[int, int], Timing]] = []
    for job_id, schedule_id, *said in connection.execute(query):
        cron, zone, calendar_id, text = said
        timing = shared.get((cron, zone, calendar_id, text))
        if timing is None:
            rules = msgspec.json.decode(text, type=TimingRules)
            timing = Timing(cron, zone, rules, days.get(calendar_id))
            shared[cron, zone, calendar_id, text] = timing
        own = replace(timing, seed=schedule_id) if timing.rules.jitter_s else timing
        found.append(((job_id, schedule_id), own))
    return found


def insert(connection: sqlite3.Connection, job_id: int, when: Meaning, now_us: int, member_id: str = "") -> int:
    """Add a schedule and return its id."""
    cron, zone, calendar_id, rules = when
    is_looked_at = rules.blackouts and rules.in_blackout == "skip"
    values = {
        "job_id": job_id,
        "cron": cron,
        "zone": zone,
        "created_at_us": now_us,
        "member_id": member_id,
        "calendar_id": calendar_id,
        "rules": rules,
        "blackout_next_us": now_us + 1 if is_looked_at else None,
    }
    return rows.insert(connection, "schedules", {**debts.next_id(connection, "schedules"), **values})


def delete(connection: sqlite3.Connection, schedule_id: int, now_us: int) -> None:
    """Mark a schedule deleted."""
    rows.update(connection, "schedules", {"deleted_at_us": now_us, "blackout_next_us": None}, {"id": schedule_id})


def blacked_out_before(connection: sqlite3.Connection, now_us: int, limit: int) -> list[ScheduleRow | Unreadable]:
    """Schedules whose blackout windows may have left something out by now, those due for a look first."""
    tail = "FROM schedules WHERE blackout_next_us <= ? ORDER BY blackout_next_us LIMIT ?"
    return rows.each(connection, ScheduleRow, tail, (now_us, limit))


def next_blackout_us(connection: sqlite3.Connection) -> int | None:
    """When to look next for what blackout windows leave out; None when no schedule has any."""
    query = "SELECT min(blackout_next_us) FROM schedules WHERE blackout_next_us IS NOT NULL"
    row = connection.execute(query).fetchone()
    return None if row[0] is None else int(row[0])


def mark_blackout(connection: sqlite3.Connection, schedule_id: int, at_us: int) -> None:
    """Look at the schedule's windows again at that time."""
    rows.update(connection, "schedules", {"blackout_next_us": at_us}, {"id": schedule_id})


def _with_days(connection: sqlite3.Connection, row: ScheduleRow) -> Schedule:
    return Schedule(**msgspec.structs.asdict(row), days=calendars.days(connection, row.calendar_id))
