"""Blackout windows: when a schedule starts nothing. Pure; times on the schedule's wall clock, ends excluded.

| text | closed |
|---|---|
| `Mon-Fri 09:00-17:00`, `Sat,Sun 22:00-06:00`, `daily 12:00-13:00` | on each of these days, or into the next one |
| `Sat 22:00 - Mon 06:00` | once a week, over days |
| `2026-12-24 18:00 - 2026-12-27 06:00` | once |
| `2026-12-24 - 2026-12-26`, `2026-12-24` | once, whole days, the last one included |

A repeated hour of the wall clock belongs to a window as a whole: it ends at the second time of its end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from server.core.expressions import WEEKDAYS, local_moment, weekday
from server.core.local_time import BadSchedule, find_zone, first_valid, last_valid, to_local

WINDOWS_MAX = 50
WEEK = timedelta(days=7)
LENGTH_MAX = timedelta(days=366)

_TIME = r"(\d{1,2}:\d{2})"
_DAY = r"([A-Za-z]+)"
_DATE = r"(\d{4}-\d{2}-\d{2})"
_DAILY = re.compile(rf"([A-Za-z][A-Za-z,-]*) {_TIME}\s*-\s*{_TIME}\Z")
_OVER = re.compile(rf"{_DAY} {_TIME}\s*-\s*{_DAY} {_TIME}\Z")
_DATED = re.compile(rf"{_DATE} {_TIME}\s*-\s*{_DATE} {_TIME}\Z")
_DAYS = re.compile(rf"{_DATE}(?:\s*-\s*{_DATE})?\Z")
_SECOND = timedelta(seconds=1)
_CHAIN = 1_000
"""Windows that touch are followed this often; `check` refuses windows that leave nothing open."""


@dataclass(frozen=True, slots=True)
class Weekly:
    """Begins on each of `weekdays` (0 is Monday) at `start` and lasts `length`."""

    weekdays: frozenset[int]
    start: timedelta
    length: timedelta


@dataclass(frozen=True, slots=True)
class Once:
    """From one local time to another."""

    begin: datetime
    end: datetime


Window = Weekly | Once


@lru_cache(maxsize=1024)
def parse(text: str) -> Window:
    """The window that the text says; raises BadSchedule."""
    words = " ".join(text.split())
    if found := _DATED.match(words):
        return _once(words, local_moment(found[1], found[2]), local_moment(found[3], found[4]))
    if found := _DAYS.match(words):
        return _once(words, local_moment(found[1]), local_moment(found[2] or found[1]) + timedelta(days=1))
    if found := _OVER.match(words):
        begin = timedelta(days=weekday(found[1])) + _time(found[2])
        end = timedelta(days=weekday(found[3])) + _time(found[4])
        length = (end - begin) % WEEK
        if length:
            return Weekly(frozenset([weekday(found[1])]), _time(found[2]), length)
    elif found := _DAILY.match(words):
        start, end = _time(found[2]), _time(found[3])
        length = (end - start) % timedelta(days=1) or timedelta(days=1)
        return Weekly(_weekdays(found[1]), start, length)
    raise BadSchedule(
        f"{text!r} is no window; write it like `Mon-Fri 09:00-17:00`, `daily 22:00-06:00`, `Sat 22:00 - Mon 06:00`"
        " or `2026-12-24 18:00 - 2026-12-27 06:00`"
    )


def check(texts: Sequence[str]) -> None:
    """Raise BadSchedule for a window that cannot be read, for too many, or when a week has nothing open."""
    if len(texts) > WINDOWS_MAX:
        raise BadSchedule(f"at most {WINDOWS_MAX} windows, not {len(texts)}")
    closed: set[int] = set()
    for window in map(parse, texts):
        if isinstance(window, Weekly):
            length = int(window.length.total_seconds()) // 60
            for day in window.weekdays:
                begin = day * 1440 + int(window.start.total_seconds()) // 60
                closed.update(minute % 10_080 for minute in range(begin, begin + length))
    if len(closed) == 10_080:
        raise BadSchedule("the windows leave nothing open in any week")


def ends(texts: tuple[str, ...], zone: str, at: datetime) -> datetime | None:
    """When what is closed at a time (UTC) opens again, over windows that touch; None when it is open then."""
    end = at
    for _ in range(_CHAIN):
        here = [until for begin, until in _around(texts, zone, end) if begin <= end < until]
        if not here:
            break
        end = max(here)
    return None if end == at else end


def begins(texts: tuple[str, ...], zone: str, at: datetime) -> datetime:
    """The last time (UTC) not after `at` from which nothing is moved past `at`: `at` itself when it is open then."""
    for _ in range(_CHAIN):
        here = [begin for begin, until in _around(texts, zone, at) if begin <= at < until]
        if not here:
            break
        at = min(here) - _SECOND
    return at


def spans(texts: tuple[str, ...], zone: str, after: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """What is closed between two times (UTC), as (begin, end), in order; windows that touch are one."""
    where = find_zone(zone)
    first, last = (to_local(at, where).toordinal() for at in (after, until))
    found = [span for day in range(first - 8, last + 2) for span in _weekly_of(texts, zone, day)]
    merged: tuple[datetime, datetime] | None = None
    for begin, end in sorted(span for span in (*found, *_dated(texts, zone)) if span[1] > after and span[0] <= until):
        if merged is not None and begin <= merged[1]:
            merged = (merged[0], max(merged[1], end))
            continue
        if merged is not None:
            yield merged
        merged = (begin, end)
    if merged is not None:
        yield merged


def _around(texts: tuple[str, ...], zone: str, at: datetime) -> list[tuple[datetime, datetime]]:
    """The windows that may hold a time, as (begin, end) in UTC."""
    today = to_local(at, find_zone(zone)).toordinal()
    weekly = (found for day in range(today - 8, today + 2) for found in _weekly_of(texts, zone, day))
    return [*weekly, *_dated(texts, zone)]


@lru_cache(maxsize=8192)
def _weekly_of(texts: tuple[str, ...], zone: str, day: int) -> tuple[tuple[datetime, datetime], ...]:
    """The weekly windows that begin on a local day."""
    where, midnight = find_zone(zone), datetime.fromordinal(day)
    windows = [w for w in map(parse, texts) if isinstance(w, Weekly) and midnight.weekday() in w.weekdays]
    starts = [(midnight + w.start, w.length) for w in windows]
    return tuple((first_valid(start, where), last_valid(start + length, where)) for start, length in starts)


@lru_cache(maxsize=1024)
def _dated(texts: tuple[str, ...], zone: str) -> tuple[tuple[datetime, datetime], ...]:
    where = find_zone(zone)
    windows = [w for w in map(parse, texts) if isinstance(w, Once)]
    return tuple((first_valid(w.begin, where), last_valid(w.end, where)) for w in windows)


def _once(words: str, begin: datetime, end: datetime) -> Once:
    if not timedelta(0) < end - begin <= LENGTH_MAX:
        raise BadSchedule(f"the window {words!r} must end after it begins, within {LENGTH_MAX.days} days")
    return Once(begin, end)


def _time(text: str) -> timedelta:
    hours, minutes = map(int, text.split(":"))
    if (hours, minutes) == (24, 0) or (hours < 24 and minutes < 60):
        return timedelta(hours=hours, minutes=minutes)
    raise BadSchedule(f"{text!r} is no time of day; write it like 06:00, 00:00 to 24:00")


def _weekdays(text: str) -> frozenset[int]:
    """`daily`, `Mon-Fri`, `Sat,Sun`."""
    if text.lower() in ("daily", "every"):
        return frozenset(range(len(WEEKDAYS)))
    found: set[int] = set()
    for part in text.split(","):
        first, hyphen, last = part.partition("-")
        begin, end = weekday(first), weekday(last if hyphen else first)
        found.update((begin + k) % 7 for k in range((end - begin) % 7 + 1))
    return frozenset(found)
