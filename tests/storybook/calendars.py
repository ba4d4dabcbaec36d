"""Calendars: the list, one with a year, and forms that fail."""

from __future__ import annotations

from server.core import calendar_days
from server.core.calendar_rules import CalendarSpec
from server.storage.calendars import CalendarLine, Use
from server.web.api.calendars import CalendarView
from server.web.pages.calendars import EMPTY, CalendarsPage, page_of, values_of
from tests.storybook.fixture import DAY_US, NOW_US, Story, frame

SPEC = CalendarSpec(
    name="DE-BY",
    description="Free days in Bavaria",
    country="DE",
    subdivision="BY",
    days=["Saturday", "Sunday", "12-24 # Christmas Eve", "12-31 # New Year's Eve"],
    without=["2026-09-26 # Stocktaking"],
)
HOLIDAYS = [
    "2026-01-01 # Neujahr", "2026-01-06 # Heilige Drei Könige", "2026-04-03 # Karfreitag", "2026-04-06 # Ostermontag",
    "2026-05-01 # Erster Mai", "2026-05-14 # Christi Himmelfahrt", "2026-05-25 # Pfingstmontag",
    "2026-06-04 # Fronleichnam", "2026-10-03 # Tag der Deutschen Einheit", "2026-11-01 # Allerheiligen",
    "2026-12-25 # Erster Weihnachtstag", "2026-12-26 # Zweiter Weihnachtstag",
]  # fmt: skip
USES = [
    Use(job_id=3, job="nightly-archive", schedule_id=3, cron="30 1 * * *", zone="Europe/Berlin"),
    Use(job_id=9, job="payroll", schedule_id=12, cron="last working day at 18:00", zone="Europe/Berlin"),
]
LINES = (
    CalendarLine(
        name="DE-BY", kind="free", description="Free days in Bavaria", country="DE", subdivision="BY",
        holidays_until=2036, lines=158, uses=2, updated_at_us=NOW_US - 12 * DAY_US,
    ),
    CalendarLine(
        name="quarter-ends", kind="list", description="", country="", subdivision="", holidays_until=0, lines=4, uses=0,
        updated_at_us=NOW_US - DAY_US,
    ),
)  # fmt: skip


def stories() -> list[Story]:
    """The pages of calendars."""
    found = CalendarView(SPEC, 4, HOLIDAYS, 2036, NOW_US - DAY_US, USES)
    days = calendar_days.read([*SPEC.days, *HOLIDAYS], SPEC.without, "DE-BY")
    whole, wrong = frame("DE-BY", "/calendars"), frame("Calendars", "/calendars", problem="The calendar is not right.")
    typed = {**EMPTY, "name": "de by", "country": "DE", "days": "Saturday\nSomeday"}
    errors = {"name": "must begin with a letter or digit", "days": "line 2: 'Someday' is no weekday"}
    return [
        Story("calendars", CalendarsPage(frame("Calendars", "/calendars"), LINES)),
        Story("calendars-empty", CalendarsPage(frame("Calendars", "/calendars"), ())),
        Story("calendars-wrong", CalendarsPage(wrong, LINES, typed, errors)),
        Story("calendar", page_of(whole, found, days, 2026, values_of(found), {})),
    ]
