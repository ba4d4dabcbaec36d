"""Calendars: rows, and the days that they mark."""

from __future__ import annotations

import sqlite3
from functools import lru_cache
from typing import ClassVar

from server.core import calendar_days
from server.core.calendar_days import Days
from server.core.model import Row
from server.storage import rows, tenancy


class Calendar(Row, frozen=True, kw_only=True):
    """A calendar. kind: free | list. Lines are those of core.calendar_days; `holidays` are resolved ones."""

    JSON: ClassVar[frozenset[str]] = frozenset({"days", "without", "holidays"})

    id: int
    name: str
    kind: str
    description: str
    country: str
    subdivision: str
    days: list[str]
    without: list[str]
    holidays: list[str]
    holidays_until: int
    digest: str
    version: int
    created_at_us: int
    updated_at_us: int

    @property
    def marks(self) -> Days:
        """The days that it marks."""
        return _read(self.digest, tuple(self.days) + tuple(self.holidays), tuple(self.without))


class CalendarLine(Row, frozen=True, kw_only=True):
    """A row of the list. `uses`: schedules that people wrote with it; `lines`: its marking rules and holidays.

    `rules`: what people wrote into it, with what it never marks.
    """

    name: str
    kind: str
    description: str
    country: str
    subdivision: str
    holidays_until: int
    lines: int
    uses: int
    updated_at_us: int
    rules: int = 0


class Use(Row, frozen=True, kw_only=True):
    """A schedule that uses a calendar."""

    job_id: int
    job: str
    schedule_id: int
    cron: str
    zone: str


@lru_cache(maxsize=512)
def _read(digest: str, marked: tuple[str, ...], unmarked: tuple[str, ...]) -> Days:
    return calendar_days.read(marked, unmarked, digest)


class _Known:
    """The days of calendars by digest: 100,000 schedules share a few."""

    def __init__(self) -> None:
        self._days: dict[str, Days] = {}

    def get(self, digest: str) -> Days | None:
        return self._days.get(digest)

    def put(self, digest: str, days: Days) -> None:
        if len(self._days) >= 1_000:
            self._days.clear()
        self._days[digest] = days


_KNOWN = _Known()


def get(connection: sqlite3.Connection, calendar_id: int) -> Calendar | None:
    """The calendar of that id."""
    return rows.first(connection, Calendar, "FROM calendars WHERE id = ?", (calendar_id,))


def by_name(connection: sqlite3.Connection, name: str) -> Calendar | None:
    """The calendar of that name."""
    return rows.first(connection, Calendar, "FROM calendars WHERE name = ?", (tenancy.typed(connection, name),))


def marks(connection: sqlite3.Connection, name: str) -> Days | None:
    """The days that the calendar of that name marks; None when there is none."""
    found = by_name(connection, name)
    return None if found is None else days(connection, found.id)


def of_instances(connection: sqlite3.Connection, name: str) -> list[str]:
    """The jobs with a special instance on the days of that calendar, by name."""
    query = (
        "SELECT DISTINCT j.name FROM jobs j, json_each(j.special_instances) i WHERE j.special_instances != '[]'"
        " AND j.deleted_at_us IS NULL AND json_extract(i.value, '$.calendar') = ? ORDER BY j.name"
    )
    return [str(row[0]) for row in connection.execute(query, (name,))]


def lines(connection: sqlite3.Connection, after: str = "", limit: int = 100) -> list[CalendarLine]:
    """The list of calendars by name, above `after`."""
    query = (
        "SELECT c.name, c.kind, c.description, c.country, c.subdivision, c.holidays_until,"
        " json_array_length(c.days) + json_array_length(c.holidays),"
        " (SELECT count(*) FROM schedules s"
        "  WHERE s.calendar_id = c.id AND s.deleted_at_us IS NULL AND s.member_id = ''),"
        " c.updated_at_us, json_array_length(c.days) + json_array_length(c.without)"
        " FROM calendars c WHERE c.name > ? ORDER BY c.name LIMIT ?"
    )
    found = connection.execute(query, (after, limit))
    return [rows.build(CalendarLine, CalendarLine.__struct_fields__, tuple(row)) for row in found]


def names(connection: sqlite3.Connection) -> dict[int, str]:
    """The names of all calendars, by id."""
    return {int(row[0]): str(row[1]) for row in connection.execute("SELECT id, name FROM calendars ORDER BY name")}


def days(connection: sqlite3.Connection, calendar_id: int | None) -> Days | None:
    """The days that a calendar marks; None without one. The rows are read once for each digest."""
    if calendar_id is None:
        return None
    row = connection.execute("SELECT digest FROM calendars WHERE id = ?", (calendar_id,)).fetchone()
    if row is None:
        return None
    digest = str(row[0])
    known = _KNOWN.get(digest)
    if known is None:
        found = get(connection, calendar_id)
        assert found is not None
        known = found.marks
        _KNOWN.put(digest, known)
    return known


def uses(connection: sqlite3.Connection, calendar_id: int, limit: int = 100) -> list[Use]:
    """The schedules that people wrote with the calendar, by job."""
    query = (
        "SELECT j.id, j.name, s.id, s.cron, s.zone FROM schedules s JOIN jobs j ON j.id = s.job_id"
        " WHERE s.calendar_id = ? AND s.deleted_at_us IS NULL AND s.member_id = '' ORDER BY j.name, s.id LIMIT ?"
    )
    found = connection.execute(query, (calendar_id, limit))
    return [rows.build(Use, Use.__struct_fields__, tuple(row)) for row in found]


def count_uses(connection: sqlite3.Connection, calendar_id: int) -> int:
    """How many schedules that people wrote use the calendar."""
    query = "SELECT count(*) FROM schedules WHERE calendar_id = ? AND deleted_at_us IS NULL AND member_id = ''"
    return rows.number(connection, query, (calendar_id,))


def insert(connection: sqlite3.Connection, **values: object) -> int:
    """Add a calendar by columns and return its id."""
    return rows.insert(connection, "calendars", values)


def update(connection: sqlite3.Connection, calendar_id: int, **values: object) -> None:
    """Set columns of a calendar by name."""
    rows.update(connection, "calendars", values, {"id": calendar_id})


def delete(connection: sqlite3.Connection, calendar_id: int) -> None:
    """Remove a calendar that no schedule uses any more; deleted schedules forget it."""
    connection.execute("UPDATE schedules SET calendar_id = NULL WHERE calendar_id = ?", (calendar_id,))
    connection.execute("DELETE FROM calendars WHERE id = ?", (calendar_id,))


def plan_jobs_again(connection: sqlite3.Connection, calendar_id: int, now_us: int) -> int:
    """Raise the version of the jobs that use it, so that they are planned again; returns how many there are."""
    query = (
        "UPDATE jobs SET version = version + 1, updated_at_us = ? WHERE deleted_at_us IS NULL AND id IN"
        " (SELECT job_id FROM schedules WHERE calendar_id = ? AND deleted_at_us IS NULL)"
    )
    connection.execute(
        "UPDATE schedules SET blackout_next_us = ? WHERE calendar_id = ? AND blackout_next_us IS NOT NULL",
        (now_us + 1, calendar_id),
    )
    return connection.execute(query, (now_us, calendar_id)).rowcount
