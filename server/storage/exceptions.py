"""Exceptions of single occurrences. What became of one is in the runs and in the ledger of missed ones."""

from __future__ import annotations

import sqlite3
from typing import ClassVar

from server.core.model import Row
from server.core.occurrence_exceptions import OccurrenceException
from server.storage import rows

OPEN_MAX = 200
"""How many open ones a schedule may have: they travel with its order."""


class ExceptionRow(Row, frozen=True, kw_only=True):
    """One occurrence of a schedule that differs. `command` and `environment` None: the job's own."""

    JSON: ClassVar[frozenset[str]] = frozenset({"environment"})

    id: int
    job_id: int
    schedule_id: int
    instant_us: int
    skipped: bool
    moved_to_us: int | None
    command: str | None
    environment: dict[str, str] | None
    created_by: str
    created_at_us: int
    reason: str = ""

    @property
    def start_us(self) -> int:
        """When it is due."""
        return self.instant_us if self.moved_to_us is None else self.moved_to_us

    def as_told(self) -> OccurrenceException:
        """What the standing order says of it."""
        because = f": {self.reason}" if self.reason else ""
        cause = f"skipped by {self.created_by}{because}" if self.skipped else ""
        return OccurrenceException(self.instant_us, cause, self.moved_to_us, self.command, self.environment)


class ExceptionLine(Row, frozen=True, kw_only=True):
    """A row of a job's list, with what became of it: its run, or its row in the ledger; neither while it is open."""

    id: int
    schedule_id: int
    cron: str
    zone: str
    instant_us: int
    skipped: bool
    moved_to_us: int | None
    command: str | None
    created_by: str
    created_at_us: int
    reason: str
    run: int | None
    run_state: str | None
    cause: str | None
    resolution: str | None

    @property
    def is_open(self) -> bool:
        """Whether it is still to come, or nobody has said what became of it."""
        return self.run is None and self.cause is None


_OPEN = (
    " AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.schedule_id = e.schedule_id AND r.scheduled_for_us = e.instant_us)"
    " AND NOT EXISTS (SELECT 1 FROM missed m WHERE m.schedule_id = e.schedule_id AND m.scheduled_for_us = e.instant_us)"
)


def of_occurrence(connection: sqlite3.Connection, schedule_id: int, instant_us: int) -> ExceptionRow | None:
    """The exception of one occurrence, whatever became of it."""
    tail = "FROM exceptions WHERE schedule_id = ? AND instant_us = ?"
    return rows.first(connection, ExceptionRow, tail, (schedule_id, instant_us))


def open_of_schedule(connection: sqlite3.Connection, schedule_id: int, since_us: int) -> list[ExceptionRow]:
    """Those of a schedule that are not older than `since_us` and of which nothing became yet, by instant."""
    tail = (
        "FROM exceptions e WHERE schedule_id = ? AND max(instant_us, coalesce(moved_to_us, 0)) >= ?"
        f"{_OPEN} ORDER BY instant_us LIMIT ?"
    )
    return rows.every(connection, ExceptionRow, tail, (schedule_id, since_us, OPEN_MAX))


def lines(connection: sqlite3.Connection, job_id: int, since_us: int = 0, limit: int = 200) -> list[ExceptionLine]:
    """A job's exceptions of live schedules, due since then or still open, by instant."""
    query = (
        "SELECT e.id, e.schedule_id, s.cron, s.zone, e.instant_us, e.skipped, e.moved_to_us, e.command, e.created_by,"
        " e.created_at_us, e.reason, r.number, r.state, m.cause, m.resolution"
        " FROM exceptions e JOIN schedules s ON s.id = e.schedule_id AND s.deleted_at_us IS NULL"
        " LEFT JOIN runs r ON r.number = (SELECT max(number) FROM runs WHERE schedule_id = e.schedule_id"
        "   AND scheduled_for_us = e.instant_us)"
        " LEFT JOIN missed m ON m.schedule_id = e.schedule_id AND m.scheduled_for_us = e.instant_us"
        " WHERE e.job_id = ? AND max(e.instant_us, coalesce(e.moved_to_us, 0)) >= ? ORDER BY e.instant_us LIMIT ?"
    )
    found = connection.execute(query, (job_id, since_us, limit))
    return [rows.build(ExceptionLine, ExceptionLine.__struct_fields__, tuple(row)) for row in found]


def put(connection: sqlite3.Connection, **values: object) -> None:
    """Add one, in place of an earlier one of the same occurrence."""
    remove(connection, int(str(values["schedule_id"])), int(str(values["instant_us"])))
    rows.insert(connection, "exceptions", values)


def remove(connection: sqlite3.Connection, schedule_id: int, instant_us: int) -> bool:
    """Take one away; False when there was none."""
    query = "DELETE FROM exceptions WHERE schedule_id = ? AND instant_us = ?"
    return connection.execute(query, (schedule_id, instant_us)).rowcount == 1
