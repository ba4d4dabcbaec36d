"""Expressions: what a schedule says of times, read from text. Pure; times on the wall clock unless said otherwise.

| text | is due |
|---|---|
| `*/5 * * * *`, `30 0 2 * * 1`, `@daily` | cron: 5 fields, 6 with seconds first, or a nickname |
| `every 90 minutes from 2026-01-01 00:00` | minutes or hours after the anchor, in real time |
| `every 2 days from 2026-01-01 06:00` | the same wall-clock time each so many days or weeks |
| `2nd Tuesday at 06:00`, `1st,last Friday of Mar, Sep at 06:00, 18:00` | n-th weekdays of months |
| `3rd working day at 07:00`, `last working day at 18:00`, `last day at 23:00` | n-th days of months, from the end too |
| `on 2026-12-24 10:00, 2026-12-31 10:00` | at these times and no other |

An expression is *fixed* when it names times of day, and follows the wall clock: the rules of gap and overlap are for
these. The others (cron whose minute or hour begins with `*`, as Debian's; minutes and hours) follow real time.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from typing import ClassVar

from cronsim import CronSim, CronSimError

from server.core import local_time
from server.core.local_time import BadSchedule

NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
ANCHOR = datetime(2000, 1, 1)
"""From when intervals count when no anchor is given: midnight in the schedule's zone."""
LISTED_MAX = 500

IsWorking = Callable[[int], bool]
"""Whether the day of that number (`date.toordinal`) is a working day."""

_FIELDS = ("second", "minute", "hour", "day-of-month", "month", "day-of-week")
_PROBE = datetime(2024, 1, 1)
_DATE = r"\d{4}-\d{2}-\d{2}"
_TIME = r"\d{1,2}:\d{2}(?::\d{2})?"
_EVERY = re.compile(rf"every (?:(\d+) )?(minute|hour|day|week)s?(?: from ({_DATE})(?:[ T]({_TIME}))?)?\Z", re.I)
_NTH = re.compile(r"(?:the )?(.+?) (working day|day|[a-z]+day|mon|tue|wed|thu|fri|sat|sun)(?: of (.+))?\Z", re.I)
_COUNTED = re.compile(r"(?:the |last |\d{1,2}(?:st|nd|rd|th)\b)", re.I)
_ORDINAL = re.compile(r"(\d{1,2})(?:st|nd|rd|th)\Z")


@dataclass(frozen=True, slots=True)
class Cron:
    """Six fields, seconds first."""

    text: str
    is_fixed: bool

    def ticks(self, after: datetime, until: datetime, is_working: IsWorking) -> Iterator[datetime]:
        """Local times after `after`; the end when the expression names no day that exists."""
        simulation = CronSim(self.text, after)
        while True:
            try:
                yield next(simulation)
            except (StopIteration, RuntimeError, OverflowError, ValueError):
                return

    def flow(self, zone: tzinfo, after: datetime, until: datetime) -> Iterator[datetime]:
        """UTC times in (after, until]: within a stretch of one offset, local time is UTC plus a constant."""
        for begin, end, offset in local_time.stretches(zone, after, until):
            for local in self.ticks(begin + offset, end + offset, _never):
                if local - offset > end:
                    break
                yield local - offset


@dataclass(frozen=True, slots=True)
class Interval:
    """So many seconds of real time apart, from the anchor (local) on."""

    step: timedelta
    anchor: datetime
    is_fixed: ClassVar[bool] = False

    def flow(self, zone: tzinfo, after: datetime, until: datetime) -> Iterator[datetime]:
        """UTC times in (after, until]."""
        first = local_time.first_valid(self.anchor, zone)
        at = first + max(0, (after - first) // self.step + 1) * self.step
        while at <= until:
            yield at
            at += self.step


@dataclass(frozen=True, slots=True)
class DayStep:
    """The same wall-clock time each so many days, from the anchor (local) on."""

    step: timedelta
    anchor: datetime
    is_fixed: ClassVar[bool] = True

    def ticks(self, after: datetime, until: datetime, is_working: IsWorking) -> Iterator[datetime]:
        """Local times in (after, until]."""
        at = self.anchor + max(0, (after - self.anchor) // self.step + 1) * self.step
        while at <= until:
            yield at
            at += self.step


@dataclass(frozen=True, slots=True)
class MonthDays:
    """N-th days of months. `kind`: 0 to 6 for a weekday (0 is Monday), "day" or "working day"; -1 is the last one."""

    ordinals: tuple[int, ...]
    kind: int | str
    months: tuple[int, ...]
    times: tuple[timedelta, ...]
    is_fixed: ClassVar[bool] = True

    def ticks(self, after: datetime, until: datetime, is_working: IsWorking) -> Iterator[datetime]:
        """Local times in (after, until]."""
        year, month = after.year, after.month
        while (year, month) <= (until.year, until.month):
            if month in self.months:
                for day in self.days(year, month, is_working):
                    found = (datetime.fromordinal(day) + time for time in self.times)
                    yield from (at for at in found if after < at <= until)
            year, month = (year + 1, 1) if month == 12 else (year, month + 1)

    def days(self, year: int, month: int, is_working: IsWorking) -> list[int]:
        """The days of one month, by number, in order."""
        first, length = datetime(year, month, 1).toordinal(), calendar.monthrange(year, month)[1]
        found = [day for day in range(first, first + length) if self._counts(day, is_working)]
        wanted = {n - 1 if n > 0 else len(found) + n for n in self.ordinals}
        return [day for k, day in enumerate(found) if k in wanted]

    def _counts(self, day: int, is_working: IsWorking) -> bool:
        if self.kind == "working day":
            return is_working(day)
        return self.kind == "day" or (day + 6) % 7 == self.kind


@dataclass(frozen=True, slots=True)
class Listed:
    """Times (local) that are written down, in order."""

    moments: tuple[datetime, ...]
    is_fixed: ClassVar[bool] = True

    def ticks(self, after: datetime, until: datetime, is_working: IsWorking) -> Iterator[datetime]:
        """Local times in (after, until]."""
        return (at for at in self.moments if after < at <= until)


Expression = Cron | Interval | DayStep | MonthDays | Listed


@lru_cache(maxsize=4096)
def parse(text: str) -> Expression:
    """The expression that the text says; raises BadSchedule naming what is wrong and what is allowed."""
    words = " ".join(text.split())
    lower = words.lower()
    if lower.startswith("every "):
        return _every(words)
    if lower.startswith("on "):
        return _listed(words[3:])
    if _COUNTED.match(words):
        days, at, times = words.rpartition(" at ")
        if not at:
            raise BadSchedule(f"{words!r} names days and no time: end it like `at 06:00`")
        return parse_days(days, tuple(sorted(_time(one) for one in _parts(times))))
    return _cron(words)


def parse_days(text: str, times: tuple[timedelta, ...] = (timedelta(0),)) -> MonthDays:
    """`2nd Tuesday`, `1st,last working day of Mar, Sep`: n-th days of months; raises BadSchedule."""
    found = _NTH.match(" ".join(text.split()))
    if found is None:
        raise BadSchedule(
            f"{text!r} is no day of a month; write it like `2nd Tuesday`, `last working day`, `1st Monday of Mar, Sep`"
        )
    numbers, kind, months = found.groups()
    ordinals = tuple(dict.fromkeys(_ordinal(one) for one in _parts(numbers)))
    wanted = kind.lower()
    what = wanted if wanted in ("day", "working day") else weekday(wanted)
    return MonthDays(ordinals, what, _months(months), times)


def weekday(text: str) -> int:
    """0 for Monday or `Mon`, 6 for Sunday; raises BadSchedule."""
    for number, name in enumerate(WEEKDAYS):
        if text.lower() in (name.lower(), name[:3].lower()):
            return number
    raise BadSchedule(f"{text!r} is no weekday; use {', '.join(WEEKDAYS)} or Mon to Sun")


def local_moment(date: str, time: str = "") -> datetime:
    """`2026-12-24` and `10:00` as a local time; raises BadSchedule."""
    try:
        return datetime.strptime(date, "%Y-%m-%d") + (_time(time) if time else timedelta(0))
    except ValueError as error:
        raise BadSchedule(f"{date!r} is no date; write it like 2026-12-24") from error


def _never(_: int) -> bool:
    return False


def _parts(text: str) -> list[str]:
    return [part.strip() for part in re.split(r",| and ", text) if part.strip()]


def _every(words: str) -> Interval | DayStep:
    found = _EVERY.match(words)
    if found is None:
        raise BadSchedule(
            f"{words!r} is no interval; write it like `every 90 minutes from 2026-01-01 00:00`"
            " (minutes, hours, days or weeks)"
        )
    number, unit, date, time = found.groups()
    count = int(number or 1)
    if not 1 <= count <= 100_000:
        raise BadSchedule(f"an interval is 1 to 100000 {unit}s, not {count}")
    anchor = local_moment(date, time or "") if date else ANCHOR
    unit = unit.lower()
    if unit in ("minute", "hour"):
        return Interval(timedelta(minutes=count) if unit == "minute" else timedelta(hours=count), anchor)
    return DayStep(timedelta(days=count * (7 if unit == "week" else 1)), anchor)


def _listed(text: str) -> Listed:
    found = []
    for part in _parts(text):
        pieces = re.split(r"[ T]", part)
        if len(pieces) != 2:
            raise BadSchedule(f"{part!r} is no date with a time; write it like 2026-12-24 10:00")
        found.append(local_moment(pieces[0], pieces[1]))
    if not 1 <= len(found) <= LISTED_MAX:
        raise BadSchedule(f"a list has 1 to {LISTED_MAX} times, not {len(found)}: put days into a calendar instead")
    return Listed(tuple(sorted(set(found))))


def _time(text: str) -> timedelta:
    pieces = text.split(":")
    if re.fullmatch(_TIME, text) and int(pieces[0]) < 24 and all(int(piece) < 60 for piece in pieces[1:]):
        hours, minutes, seconds = (*map(int, pieces), 0)[:3]
        return timedelta(hours=hours, minutes=minutes, seconds=seconds)
    raise BadSchedule(f"{text!r} is no time of day; write it like 06:00, 00:00 to 23:59")


def _ordinal(text: str) -> int:
    """2 for `2nd`, -1 for `last`, -2 for `2nd last`."""
    words = text.lower().split()
    is_from_end = words[-1:] == ["last"]
    number = " ".join(words[:-1] if is_from_end else words)
    found = _ORDINAL.match(number)
    count = int(found.group(1)) if found else (1 if is_from_end and not number else 0)
    if not 1 <= count <= 31:
        raise BadSchedule(f"{text!r} counts nothing; write 1st, 2nd, 3rd, last, 2nd last")
    return -count if is_from_end else count


def _months(text: str | None) -> tuple[int, ...]:
    if text is None or text.lower() in ("month", "every month"):
        return tuple(range(1, 13))
    found = []
    for part in _parts(text):
        named = [number for number, name in enumerate(MONTHS, 1) if part.lower().startswith(name.lower())]
        if not named:
            raise BadSchedule(f"{part!r} is no month; use {', '.join(MONTHS)}")
        found += named
    return tuple(sorted(set(found)))


def _cron(text: str) -> Cron:
    text = NICKNAMES.get(text.lower(), text)
    if text.startswith("@"):
        known = ", ".join(NICKNAMES)
        raise BadSchedule(f"the nickname {text} is not known; use {known} or five fields")
    parts = text.split()
    if len(parts) not in (5, 6):
        raise BadSchedule(
            f"a schedule has 5 or 6 fields (minute hour day month weekday), not {len(parts)};"
            " or it begins with `every`, `on`, `2nd Tuesday at`"
        )
    try:
        CronSim(text, _PROBE)
    except CronSimError as error:
        raise BadSchedule(_explain(str(error), parts)) from error
    minute, hour = parts[-5], parts[-4]
    is_fixed = not minute.startswith("*") and not hour.startswith("*")
    return Cron(text if len(parts) == 6 else f"0 {text}", is_fixed)


def _explain(message: str, parts: list[str]) -> str:
    """Name the wrong field and its text. cronsim says `Bad hour`."""
    name = message.removeprefix("Bad ")
    names = _FIELDS[-len(parts) :]
    if name in names:
        return f"the field {name} is wrong: {parts[names.index(name)]!r}"
    return f"the schedule is wrong: {message}"
