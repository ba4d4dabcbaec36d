"""Calendars: the list, one as a picture of a year with who uses it, and the forms."""

from __future__ import annotations

import asyncio
import calendar as months
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

from aiohttp import web

from server.actions import calendars as actions
from server.actions.change import Change
from server.core.calendar_days import Days, days_of_year
from server.core.calendar_rules import CalendarSpec
from server.core.model import SECOND_US, Principal
from server.errors import UnderstudyError
from server.ports.numbers import is_number
from server.storage import calendars
from server.storage.calendars import CalendarLine
from server.web.api.calendars import CalendarView, view
from server.web.frame import Frame
from server.web.pages import serve
from server.web.session import principal

LIMIT = 500
KINDS = (
    ("free", "Free days: the others are working days"),
    ("list", "A list: days to run on, or not to"),
)
EMPTY = {
    "name": "", "kind": "free", "description": "", "country": "", "subdivision": "", "days": "Saturday\nSunday",
    "without": "", "version": "", "text": "",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Day:
    """A day of a month's picture; `number` 0 is a gap before the first or after the last."""

    number: int
    is_marked: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class Month:
    """A month as weeks of seven days from Monday."""

    name: str
    weeks: tuple[tuple[Day, ...], ...]


@dataclass(frozen=True, slots=True)
class CalendarsPage:
    """The list with the form for a new one: `values` as typed, `errors` by field."""

    template: ClassVar[str] = "pages/calendar_list.html"
    frame: Frame
    calendars: tuple[CalendarLine, ...]
    values: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    errors: Mapping[str, str] = field(default_factory=dict)
    kinds: tuple[tuple[str, str], ...] = KINDS
    words: Mapping[str, str] = field(default_factory=lambda: {"free": "free days", "list": "list"})


@dataclass(frozen=True, slots=True)
class CalendarPage:
    """One calendar in one year. `word`: what a marked day is. `named`: (day, name) of those that have one."""

    template: ClassVar[str] = "pages/calendar_show.html"
    frame: Frame
    calendar: CalendarView
    year: int
    months: tuple[Month, ...]
    named: tuple[tuple[str, str], ...]
    marked: int
    values: Mapping[str, str]
    errors: Mapping[str, str] = field(default_factory=dict)
    kinds: tuple[tuple[str, str], ...] = KINDS

    @property
    def word(self) -> str:
        """What a marked day is called."""
        return "free" if self.calendar.spec.kind == "free" else "listed"


def picture(days: Days, year: int) -> tuple[Month, ...]:
    """The twelve months of a year."""
    known = {when: (is_marked, name) for when, is_marked, name in days_of_year(days, year)}
    found = []
    for number in range(1, 13):
        weeks = months.Calendar().monthdatescalendar(year, number)
        cells = (tuple(Day(d.day, *known[d]) if d.month == number else Day(0) for d in week) for week in weeks)
        found.append(Month(months.month_name[number], tuple(cells)))
    return tuple(found)


def values_of(found: CalendarView) -> dict[str, str]:
    """The form's values of a calendar that exists."""
    spec = found.spec
    return {
        **EMPTY,
        "name": spec.name, "kind": spec.kind, "description": spec.description, "country": spec.country,
        "subdivision": spec.subdivision, "days": "\n".join(spec.days), "without": "\n".join(spec.without),
        "version": str(found.version),
    }  # fmt: skip


def spec_from(values: Mapping[str, str]) -> CalendarSpec:
    """What the form says."""
    days, without = (
        [line.strip() for line in values[name].splitlines() if line.strip()] for name in ("days", "without")
    )
    return CalendarSpec(
        name=values["name"],
        kind=values["kind"],
        description=values["description"],
        country=values["country"].upper(),
        subdivision=values["subdivision"],
        days=days,
        without=without,
    )


def page_of(
    frame: Frame, found: CalendarView, days: Days, year: int, values: Mapping[str, str], errors: Mapping[str, str]
) -> CalendarPage:
    """The page of a calendar in a year."""
    marked = [(when, name) for when, is_marked, name in days_of_year(days, year) if is_marked]
    named = tuple((f"{when:%A}, {when.day} {when:%B}", name) for when, name in marked if name)
    return CalendarPage(frame, found, year, picture(days, year), named, len(marked), values, errors)


async def show_all(request: web.Request) -> web.Response:
    """`GET /calendars`."""
    return serve.html(await _list(request, EMPTY))


async def create(request: web.Request) -> web.Response:
    """`POST /calendars`: makes the calendar, or shows the form again with what was typed and what is wrong."""
    values = {**EMPTY, "days": "", **await serve.form(request)}
    spec = spec_from(values)
    try:
        await _write(request, actions.create, spec)
    except UnderstudyError as error:
        return serve.html(await _list(request, values, _told(error), str(error)), 422)
    return serve.back(f"/calendars/{spec.name}", "calendar-saved")


async def show(request: web.Request) -> web.Response:
    """`GET /calendars/{name}?year=`."""
    return serve.html(await _one(request))


async def update(request: web.Request) -> web.Response:
    """`POST /calendars/{name}`: refused when somebody else changed it since the form was opened."""
    name, values = request.match_info["name"], {**EMPTY, "days": "", **await serve.form(request)}
    spec = spec_from({**values, "name": values["name"] or name})
    version = int(values["version"]) if is_number(values["version"]) else None
    try:
        await _write(request, lambda by, now_us: actions.update(name, spec, by, now_us, version))
    except UnderstudyError as error:
        return serve.html(await _one(request, values, _told(error), str(error)), 422)
    return serve.back(f"/calendars/{spec.name}", "calendar-saved")


async def import_file(request: web.Request) -> web.Response:
    """`POST /calendars/{name}/import`: adds the days of the text of an .ics file."""
    name, fields = request.match_info["name"], await serve.form(request)
    text = fields.get("text", "")
    try:
        await _write(request, lambda by, now_us: actions.import_file(name, text, by, now_us))
    except UnderstudyError as error:
        return serve.html(await _one(request, None, _told(error), str(error), text), 422)
    return serve.back(f"/calendars/{name}", "calendar-imported")


async def delete(request: web.Request) -> web.Response:
    """`POST /calendars/{name}/delete`."""
    name, reason = request.match_info["name"], (await serve.form(request)).get("reason", "")
    try:
        await serve.write(request, lambda by, now_us: actions.delete(name, by, now_us, reason))
    except UnderstudyError as error:
        return serve.html(await _one(request, None, _told(error), str(error)), 422)
    return serve.back("/calendars", "calendar-deleted")


async def _write(request: web.Request, make: Callable[..., Change[Any]], *given: object) -> None:
    """Carry out an action that may look holidays up or read a file, which a thread does."""
    by = principal(request)
    assert by is not None, "a guarded route has a principal"

    def prepare(who: Principal, now_us: int) -> Change[Any]:
        return make(*given, who, now_us)

    change = await asyncio.to_thread(prepare, by, serve.site(request).clock.utc_us())
    await serve.write(request, lambda _, __: change)


def _told(error: UnderstudyError) -> Mapping[str, str]:
    """The errors by field; raises what is no mistake of the person's."""
    if error.status not in (400, 409):
        raise error
    return error.fields


async def _list(
    request: web.Request, values: Mapping[str, str], errors: Mapping[str, str] | None = None, problem: str = ""
) -> CalendarsPage:
    frame, found = await serve.load(request, "Calendars", lambda c: calendars.lines(c, "", LIMIT))
    return CalendarsPage(frame.with_problem(problem) if problem else frame, tuple(found), values, errors or {})


async def _one(
    request: web.Request,
    typed: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
    problem: str = "",
    text: str = "",
) -> CalendarPage:
    name, wanted = request.match_info["name"], request.query.get("year", "")
    frame, (found, days) = await serve.load(request, name, lambda c: (view(c, row := actions.find(c, name)), row.marks))
    this = datetime.fromtimestamp(frame.now_us // SECOND_US, UTC).year
    year = int(wanted) if is_number(wanted) and 1970 <= int(wanted) <= 9998 else this
    values = typed if typed is not None else {**values_of(found), "text": text}
    return page_of(frame.with_problem(problem) if problem else frame, found, days, year, values, errors or {})


ROUTES = (
    serve.get("/calendars", show_all),
    serve.post("/calendars", create),
    serve.get("/calendars/{name}", show),
    serve.post("/calendars/{name}", update),
    serve.post("/calendars/{name}/import", import_file),
    serve.post("/calendars/{name}/delete", delete),
)
