"""Calendars: which days are free, or on a list (SKY-17). Permission: jobs.change.

A change of the days plans the jobs that use the calendar again: their orders get the new instants. What was due before
the change, and is not on record yet, is accounted for by the new days.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from server.actions.calendar_sources import file_lines, holiday_lines
from server.actions.change import Change, Transaction, record, require
from server.core.calendar_days import wrong_rules
from server.core.calendar_rules import CalendarSpec, wrong
from server.core.model import SECOND_US, Principal
from server.errors import Conflict, Invalid, NotFound
from server.storage import calendars
from server.storage.calendars import Calendar


class Changed(msgspec.Struct, frozen=True):
    """What a change came to. `planned`: jobs that are planned again; `added`: lines that a file added."""

    name: str
    version: int
    planned: int = 0
    added: int = 0


def create(spec: CalendarSpec, by: Principal, now_us: int) -> Change[Changed]:
    """Add a calendar. Looks holidays up, so call it in a thread; the change it returns does not.

    Raises Invalid naming the fields, Conflict for the name.
    """
    require(by, "jobs.change")
    columns = _resolved(spec, now_us)

    def change(transaction: Transaction) -> Changed:
        connection = transaction.connection
        if calendars.by_name(connection, spec.name) is not None:
            raise Conflict(f"There is a calendar {spec.name} already. Choose another name.")
        calendars.insert(connection, **columns, created_at_us=now_us, updated_at_us=now_us)
        record(connection, by, now_us, "calendars.create", spec.name, "", spec)
        return Changed(spec.name, 1)

    return change


def update(
    name: str, spec: CalendarSpec, by: Principal, now_us: int, version: int | None = None, reason: str = ""
) -> Change[Changed]:
    """Give a calendar these properties, and its country's holidays as they are known now. As `create`, in a thread.

    Conflict when `version` is given and somebody else has changed the calendar since it was read.
    """
    require(by, "jobs.change")
    columns = _resolved(spec, now_us)

    def change(transaction: Transaction) -> Changed:
        connection = transaction.connection
        before = find(connection, name)
        if version is not None and version != before.version:
            raise Conflict(f"{name} was changed by somebody else meanwhile. Read it again and repeat the change.")
        if spec.name != name and calendars.by_name(connection, spec.name) is not None:
            raise Conflict(f"There is a calendar {spec.name} already. Choose another name.")
        if spec.name != name:
            _refuse_instances(connection, name)
        planned = _put(connection, before, columns, now_us)
        record(connection, by, now_us, "calendars.update", name, spec_of(before), spec, reason)
        return Changed(spec.name, before.version + 1, planned)

    return change


def import_file(name: str, text: str, by: Principal, now_us: int, reason: str = "") -> Change[Changed]:
    """Add the days of an .ics file to those of a calendar; days that are there already stay. In a thread."""
    require(by, "jobs.change")
    lines = file_lines(text, _year(now_us))

    def change(transaction: Transaction) -> Changed:
        connection = transaction.connection
        before = find(connection, name)
        there = {line.partition("#")[0].strip() for line in before.days}
        added = [line for line in lines if line.partition("#")[0].strip() not in there]
        days = [*before.days, *added]
        if text := wrong_rules(days):
            raise Invalid(f"{name} cannot have these days beside its own: {text}.", field="text")
        digest = _digest(days, before.without, before.holidays)
        planned = _put(connection, before, {"days": days, "digest": digest}, now_us)
        record(connection, by, now_us, "calendars.import", name, len(before.days), added, reason)
        return Changed(name, before.version + 1, planned, len(added))

    return change


def delete(name: str, by: Principal, now_us: int, reason: str = "") -> Change[None]:
    """Delete a calendar. Conflict, naming jobs, while a schedule uses it."""
    require(by, "jobs.change")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        found = find(connection, name)
        uses = calendars.uses(connection, found.id, 5)
        if uses:
            count = calendars.count_uses(connection, found.id)
            named = ", ".join(dict.fromkeys(use.job for use in uses)) + (", …" if count > len(uses) else "")
            used = "1 schedule uses" if count == 1 else f"{count} schedules use"
            raise Conflict(f"{used} the calendar {name}, of {named}. Change that first.")
        _refuse_instances(connection, name)
        calendars.delete(connection, found.id)
        record(connection, by, now_us, "calendars.delete", name, spec_of(found), "", reason)

    return change


def _refuse_instances(connection: sqlite3.Connection, name: str) -> None:
    """Conflict while a special instance of a job is on the days of the calendar: it knows it by name."""
    jobs = calendars.of_instances(connection, name)
    if jobs:
        raise Conflict(f"Special instances of {', '.join(jobs[:5])} are on days of {name}. Change that first.")


def find(connection: sqlite3.Connection, name: str) -> Calendar:
    """The calendar of that name; raises NotFound."""
    found = calendars.by_name(connection, name)
    if found is None:
        raise NotFound(f"There is no calendar {name}. `understudy calendar list` shows those there are.")
    return found


def spec_of(found: Calendar) -> CalendarSpec:
    """What people said about a calendar."""
    return CalendarSpec(
        name=found.name,
        kind=found.kind,
        description=found.description,
        country=found.country,
        subdivision=found.subdivision,
        days=found.days,
        without=found.without,
    )


def _resolved(spec: CalendarSpec, now_us: int) -> dict[str, object]:
    """The columns of a calendar to be."""
    fields = wrong(spec)
    if fields:
        said = "; ".join(f"{name} {text}" for name, text in fields.items())
        raise Invalid(f"The calendar is not right: {said}. Correct it and try again.", fields=fields)
    holidays, until = holiday_lines(spec.country, spec.subdivision, _year(now_us)) if spec.country else ([], 0)
    days, without = (list(filter(None, (line.strip() for line in lines))) for lines in (spec.days, spec.without))
    given = msgspec.structs.asdict(spec) | {"days": days, "without": without}
    return {**given, "holidays": holidays, "holidays_until": until, "digest": _digest(days, without, holidays)}


def _put(connection: sqlite3.Connection, before: Calendar, columns: dict[str, object], now_us: int) -> int:
    """Write the columns; when other days are marked by them, plan the jobs again and return how many there are."""
    calendars.update(connection, before.id, **columns, version=before.version + 1, updated_at_us=now_us)
    if columns["digest"] == before.digest:
        return 0
    return calendars.plan_jobs_again(connection, before.id, now_us)


def _digest(days: Sequence[str], without: Sequence[str], holidays: Sequence[str]) -> str:
    return hashlib.sha256(msgspec.json.encode([days, without, holidays])).hexdigest()


def _year(now_us: int) -> int:
    return datetime.fromtimestamp(now_us // SECOND_US, UTC).year
