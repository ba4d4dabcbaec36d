"""Calendars: the list, one with its days and who uses it, changes, and the import of .ics files."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

import msgspec

from server.actions import calendars
from server.actions.calendars import Changed
from server.core.calendar_days import days_of_year
from server.core.calendar_rules import CalendarSpec
from server.storage import calendars as rows
from server.storage.calendars import Calendar, CalendarLine, Use
from server.web.api.endpoint import Answer, Call, Endpoint, Number, shape


class CalendarView(msgspec.Struct, frozen=True):
    """One calendar. `holidays` are resolved, until the end of the year `holidays_until`; `uses` at most 100."""

    spec: CalendarSpec
    version: int
    holidays: list[str]
    holidays_until: int
    updated_at_us: int
    uses: list[Use]


class CalendarUpdate(msgspec.Struct, frozen=True):
    """New properties of a calendar; with `version` it is refused when somebody else changed it meanwhile."""

    spec: CalendarSpec
    version: int | None = None
    reason: str = ""


class CalendarFile(msgspec.Struct, frozen=True):
    """The text of an .ics file."""

    text: str
    reason: str = ""


class MarkedDay(msgspec.Struct, frozen=True):
    """A day that a calendar marks, as 2026-05-01, and its name or ""."""

    day: str
    name: str


async def list_calendars(call: Call) -> list[CalendarLine]:
    """Calendars by name, above `after`."""
    after, limit = call.query("after"), call.limit()
    return await call.read(lambda connection: rows.lines(connection, after, limit))


async def show_calendar(call: Call) -> CalendarView:
    """One calendar."""
    name = call.path("name")
    return await call.read(lambda connection: view(connection, calendars.find(connection, name)))


def view(connection: sqlite3.Connection, found: Calendar) -> CalendarView:
    """The calendar with who uses it."""
    uses = rows.uses(connection, found.id)
    spec = calendars.spec_of(found)
    return CalendarView(spec, found.version, found.holidays, found.holidays_until, found.updated_at_us, uses)


async def show_days(call: Call) -> list[MarkedDay]:
    """The days that a calendar marks in a year."""
    name, year = call.path("name"), call.query_number("year", 1970 + call.now_us // 31_556_952_000_000, 1970, 9998)
    found = await call.read(lambda connection: calendars.find(connection, name))
    return [MarkedDay(str(day), named) for day, is_marked, named in days_of_year(found.marks, year) if is_marked]


async def create_calendar(call: Call) -> Answer:
    """Add a calendar."""
    change = await asyncio.to_thread(calendars.create, call.body, call.by, call.now_us)
    return await call.write(change, status=201)


async def update_calendar(call: Call) -> Answer:
    """Give a calendar other properties; the jobs that use it are planned again."""
    name, body = call.path("name"), call.body
    change = await asyncio.to_thread(calendars.update, name, body.spec, call.by, call.now_us, body.version, body.reason)
    return await call.write(change)


async def import_calendar(call: Call) -> Answer:
    """Add the days of an .ics file."""
    name, body = call.path("name"), call.body
    change = await asyncio.to_thread(calendars.import_file, name, body.text, call.by, call.now_us, body.reason)
    return await call.write(change)


async def delete_calendar(call: Call) -> Answer:
    """Delete a calendar that no schedule uses."""
    name = call.path("name")
    change = calendars.delete(name, call.by, call.now_us, call.query("reason"))
    return await call.write(change, lambda _: _deleted(name))


def _deleted(name: str) -> dict[str, Any]:
    return {"name": name, "deleted": True}


PATH = "/api/v1/calendars"
ONE = PATH + "/{name}"
ENDPOINTS = (
    Endpoint("GET", PATH, list_calendars, "Calendars by name", answer=list[CalendarLine], query=("after", "limit")),
    Endpoint("POST", PATH, create_calendar, "Add a calendar", body=CalendarSpec, answer=Changed, status=201),
    Endpoint("GET", ONE, show_calendar, "One calendar", answer=CalendarView),
    Endpoint("PUT", ONE, update_calendar, "Change a calendar", body=CalendarUpdate, answer=Changed),
    Endpoint(
        "DELETE", ONE, delete_calendar, "Delete a calendar", answer=shape(name=str, deleted=bool), query=("reason",)
    ),
    Endpoint(
        "GET",
        ONE + "/days",
        show_days,
        "What it marks in a year",
        answer=list[MarkedDay],
        query=(Number("year", 1970, 9998),),
    ),
    Endpoint("POST", ONE + "/import", import_calendar, "Add days of an .ics file", body=CalendarFile, answer=Changed),
)
