"""The days that a calendar marks, and the text of its rules. Pure.

A calendar of free days marks these; a list marks the days on it. A line is a rule, then `#` and a name if it has one:

| line | marks |
|---|---|
| `2026-05-01 # Labour Day`, `2026-12-24 - 2027-01-02` | these days |
| `12-24` | this day of each year |
| `Saturday` or `Sat` | these weekdays |
| `last Friday of Nov`, `2nd Monday` | n-th weekdays, in these or all months |
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache

from server.core.expressions import MonthDays, local_moment, parse_days, weekday
from server.core.local_time import BadSchedule

LINES_MAX = 5_000
DAYS_MAX = 20_000
SPAN_MAX = 3_660

_DATE = re.compile(r"(\d{4}-\d{2}-\d{2})(?:\s*(?:-|\.\.|to)\s*(\d{4}-\d{2}-\d{2}))?\Z")
_YEARLY = re.compile(r"(\d{2})-(\d{2})\Z")


@dataclass(frozen=True, slots=True)
class Rules:
    """Lines that were read: names by day, by day of the year and by weekday, and n-th days with theirs."""

    dates: Mapping[int, str] = field(default_factory=dict)
    yearly: Mapping[tuple[int, int], str] = field(default_factory=dict)
    weekdays: Mapping[int, str] = field(default_factory=dict)
    nth: tuple[tuple[MonthDays, str], ...] = ()

    def name(self, day: int) -> str | None:
        """The name of the rule that a day (`date.toordinal`) falls under, "" when it has none; None for no rule."""
        if day in self.dates:
            return self.dates[day]
        when = date.fromordinal(day)
        if (when.month, when.day) in self.yearly:
            return self.yearly[when.month, when.day]
        for rule, name in self.nth:
            if when.month in rule.months and day in rule.days(when.year, when.month, _never):
                return name
        return self.weekdays.get(when.weekday())


@dataclass(frozen=True, slots=True)
class Days:
    """What a calendar marks, whole: own rules and holidays, less the days that are never marked.

    Two are equal when their text is (`key`), so that what was worked out for one is found again for the other.
    """

    key: str
    marked: Rules = field(compare=False)
    unmarked: Rules = field(compare=False)

    def __contains__(self, day: object) -> bool:
        """Whether a day (`date.toordinal`) is marked."""
        return isinstance(day, int) and _is_marked(self, day)

    def name(self, day: int) -> str:
        """Why a marked day is marked; "" when nobody said."""
        return self.marked.name(day) or ""


@lru_cache(maxsize=65_536)
def _is_marked(days: Days, day: int) -> bool:
    return days.marked.name(day) is not None and days.unmarked.name(day) is None


def read(marked: Sequence[str], unmarked: Sequence[str], key: str) -> Days:
    """The days of rules that `wrong` found nothing wrong with; `key` stands for both lists of lines."""
    return Days(key, read_rules(marked), read_rules(unmarked))


def read_rules(lines: Sequence[str]) -> Rules:
    """Rules of lines; raises BadSchedule with the first line that is none."""
    dates: dict[int, str] = {}
    yearly: dict[tuple[int, int], str] = {}
    weekdays: dict[int, str] = {}
    nth: list[tuple[MonthDays, str]] = []
    for line in lines:
        rule, _, name = (part.strip() for part in line.partition("#"))
        if found := _DATE.match(rule):
            dates.update(dict.fromkeys(_span(rule, found[1], found[2] or found[1]), name))
        elif found := _YEARLY.match(rule):
            yearly[_day_of_year(rule)] = name
        elif " " in rule:
            nth.append((_nth(rule), name))
        elif rule:
            weekdays[weekday(rule)] = name
    if len(dates) > DAYS_MAX:
        raise BadSchedule(f"a calendar has at most {DAYS_MAX} dates, not {len(dates)}")
    return Rules(dates, yearly, weekdays, tuple(nth))


def wrong_rules(lines: Sequence[str]) -> str:
    """What is wrong with the lines, naming the first one, or ""."""
    if len(lines) > LINES_MAX:
        return f"has at most {LINES_MAX} lines, not {len(lines)}"
    for number, line in enumerate(lines, 1):
        try:
            read_rules([line])
        except BadSchedule as error:
            return f"line {number}: {error}"
    try:
        read_rules(lines)
    except BadSchedule as error:
        return str(error)
    return ""


def _never(_: int) -> bool:
    return False


def _nth(rule: str) -> MonthDays:
    found = parse_days(rule)
    if found.kind == "working day":
        raise BadSchedule(f"{rule!r} cannot be a rule: what a working day is, the calendar itself says")
    return found


def _span(rule: str, first: str, last: str) -> range:
    begin, end = local_moment(first).toordinal(), local_moment(last).toordinal()
    if not 0 <= end - begin < SPAN_MAX:
        raise BadSchedule(f"{rule!r} must end after it begins, within {SPAN_MAX} days")
    return range(begin, end + 1)


def _day_of_year(rule: str) -> tuple[int, int]:
    month, day = int(rule[:2]), int(rule[3:])
    try:
        date(2024, month, day)
    except ValueError as error:
        raise BadSchedule(f"{rule!r} is no day of a year; write month and day like 12-24") from error
    return month, day


def days_of_year(days: Days, year: int) -> list[tuple[date, bool, str]]:
    """Each day of a year: (date, marked, name)."""
    first = date(year, 1, 1)
    found = (first + timedelta(days=k) for k in range(366))
    return [
        (when, when.toordinal() in days, days.name(when.toordinal()) if when.toordinal() in days else "")
        for when in found
        if when.year == year
    ]
