"""Days from elsewhere, as lines of a calendar: public holidays of a country, and .ics files.

The libraries belong to the extra `calendars` and are imported when they are needed. What they say is written into rows
by the action that asked, so that both nodes and the next release go by the same days. Both functions take a while:
call them in a thread.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from importlib import import_module
from typing import Any

from server.core.calendar_days import LINES_MAX
from server.errors import Invalid

YEARS_BACK, YEARS_AHEAD = 1, 10
FILE_CHARACTERS_MAX = 2 * 1024 * 1024
_EXTRA = "This needs the extra `calendars`, which this installation does not have: pip install 'understudy[calendars]'."
_TOO_OFTEN = re.compile(r"^RRULE[^\n]*FREQ=(SECONDLY|MINUTELY|HOURLY)", re.M | re.I)


def holiday_lines(country: str, subdivision: str, year: int) -> tuple[list[str], int]:
    """The public holidays from the year before `year` to ten years after it, and that last year.

    Raises Invalid for a country or subdivision that is not known (naming those that are), and without the extra.
    """
    try:
        holidays = import_module("holidays")
    except ImportError as error:
        raise Invalid(f"Holidays of {country} cannot be looked up. {_EXTRA}", field="country") from error
    known: dict[str, list[str]] = holidays.list_supported_countries()
    if country not in known:
        text = f"There are no holidays for the country {country!r}. Write its two letters, such as DE, FR or US."
        raise Invalid(text, field="country")
    if subdivision and subdivision not in known[country]:
        there = " ".join(known[country]) or "none"
        raise Invalid(f"{country} has no subdivision {subdivision!r}. Known: {there}.", field="subdivision")
    last = year + YEARS_AHEAD
    found = holidays.country_holidays(country, subdiv=subdivision or None, years=range(year - YEARS_BACK, last + 1))
    return [f"{when:%Y-%m-%d} # {_name(name)}" for when, name in sorted(found.items())], last


def file_lines(text: str, year: int) -> list[str]:
    """The days of the events of an .ics file, from the year before `year` to ten years after it, repetitions included.

    Raises Invalid when it is none, repeats more often than daily, or has too many days, and without the extra.
    """
    try:
        icalendar = import_module("icalendar")
        recurring = import_module("recurring_ical_events")
    except ImportError as error:
        raise Invalid(f"An .ics file cannot be read. {_EXTRA}", field="text") from error
    if len(text) > FILE_CHARACTERS_MAX:
        raise Invalid(f"The file has more than {FILE_CHARACTERS_MAX} characters. Cut it into parts.", field="text")
    if _TOO_OFTEN.search(text):
        raise Invalid("The file has an event that repeats more often than daily: it names no days.", field="text")
    try:
        read: Any = icalendar.Calendar.from_ical(text)
        span = date(year - YEARS_BACK, 1, 1), date(year + YEARS_AHEAD + 1, 1, 1)
        events = recurring.of(read).between(*span)
        days = {day: _name(str(event.get("SUMMARY", ""))) for event in events for day in _days(event)}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise Invalid(f"The text is no .ics file: {error}.", field="text") from error
    if not days:
        raise Invalid(f"The file has no event from {span[0].year} to {span[1].year - 1}.", field="text")
    if len(days) > LINES_MAX:
        raise Invalid(f"The file names {len(days)} days; a calendar has at most {LINES_MAX} lines.", field="text")
    return [f"{day:%Y-%m-%d} # {name}" if name else f"{day:%Y-%m-%d}" for day, name in sorted(days.items())]


def _days(event: Any) -> list[date]:
    """The days that an event touches, on its own clock; the end is excluded."""
    begin = event["DTSTART"].dt
    end = event["DTEND"].dt if "DTEND" in event else begin
    if isinstance(begin, datetime):
        first = begin.date()
        last = (end - timedelta(microseconds=1)).date() if end > begin else first
    else:
        first, last = begin, (end - timedelta(days=1) if end > begin else begin)
    return [first + timedelta(days=k) for k in range(min((last - first).days + 1, 3_660))]


def _name(text: str) -> str:
    return " ".join(text.replace("#", "").split())[:100]
