"""What a schedule should do, found by stepping through real minutes: without the product and any cron library.

It reads the fields of crontab(5) itself, and the usual additions: seconds first, names, `L`, `LW`, `5L`, `5#2`.
A day must be in both day fields when one of them begins with `*`, else in either. An expression whose minute or hour
begins with `*` is due at each real minute that matches; any other names times of day, and the rules of gap and overlap
hold for it: `next` | `skip`, and `once` | `twice`.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]


@dataclass(frozen=True)
class Reading:
    """A cron expression, read. `minutes` are minutes of the day."""

    seconds: tuple[int, ...]
    minutes: frozenset[int]
    is_on: Callable[[date], bool]
    is_fixed: bool


@dataclass(frozen=True)
class Rule:
    """An expression with its rules of gap and overlap."""

    cron: str
    gap: str = "next"
    overlap: str = "once"


def oracle(cron: str, zone: str, start: datetime, days: int) -> list[datetime]:
    """The times (naive UTC) in `days` days after `start`, by the default rules."""
    return walk([Rule(cron)], zone, start, days)[0]


def walk(rules: Sequence[Rule], zone: str, start: datetime, days: int) -> list[list[datetime]]:
    """Step through the minutes of UTC from `start` to `days` days later; the times after `start`, of each rule."""
    where, readings = ZoneInfo(zone), [read(rule.cron) for rule in rules]
    found: list[list[datetime]] = [[] for _ in rules]
    table = _Table(readings)
    begin = int(start.replace(tzinfo=UTC).timestamp())
    before = highest = _index(datetime.fromtimestamp(begin - 60, where))
    for second in range(begin, begin + days * 86_400 + 1, 60):
        index = _index(datetime.fromtimestamp(second, where))
        skipped = {k for missing in range(before + 1, index) for k in table.at(missing)}
        now = datetime.fromtimestamp(second, UTC).replace(tzinfo=None)
        for k in {*table.at(index), *skipped}:
            due = _due(rules[k], readings[k], now, k in skipped, k in table.at(index), index <= highest)
            found[k] += [at for at in due if at > start]
        before, highest = index, max(highest, index)
    return found


def _due(
    rule: Rule, reading: Reading, now: datetime, is_after_gap: bool, is_here: bool, is_repeated: bool
) -> list[datetime]:
    """The times of one rule within one real minute."""
    seconds: set[int] = set()
    if is_here and not (reading.is_fixed and is_repeated and rule.overlap == "once"):
        seconds |= set(reading.seconds)
    if is_after_gap and reading.is_fixed and rule.gap == "next":
        seconds.add(0)
    return [now + timedelta(seconds=second) for second in sorted(seconds)]


class _Table:
    """Which readings match which minute of which day; kept for the day that was asked for last."""

    def __init__(self, readings: Sequence[Reading]) -> None:
        self._readings = readings
        self._day = 0
        self._minutes: list[list[int]] = []
        self._by_days: dict[tuple[int, ...], list[list[int]]] = {}

    def at(self, index: int) -> list[int]:
        day, minute = divmod(index, 1440)
        if day != self._day:
            self._day, when = day, date.fromordinal(day)
            here = tuple(k for k, reading in enumerate(self._readings) if reading.is_on(when))
            if here not in self._by_days:
                minutes = ([k for k in here if minute in self._readings[k].minutes] for minute in range(1440))
                self._by_days[here] = list(minutes)
            self._minutes = self._by_days[here]
        return self._minutes[minute]


def read(cron: str) -> Reading:
    """Read an expression of 5 or 6 fields, or a nickname."""
    fields = NICKNAMES.get(cron, cron).upper().split()
    second, minute, hour, day, month, weekday = fields if len(fields) == 6 else ["0", *fields]
    hours, minutes, months = _numbers(hour, 0, 23), _numbers(minute, 0, 59), _numbers(month, 1, 12, _MONTHS, 1)

    def is_on(when: date) -> bool:
        by_day, by_weekday = _on_day(day, when), _on_weekday(weekday, when)
        both = day.startswith("*") or weekday.startswith("*")
        return when.month in months and ((by_day and by_weekday) if both else (by_day or by_weekday))

    return Reading(
        tuple(sorted(_numbers(second, 0, 59))),
        frozenset(60 * h + m for h in hours for m in minutes),
        is_on,
        not minute.startswith("*") and not hour.startswith("*"),
    )


def _numbers(field: str, low: int, high: int, names: Sequence[str] = (), first: int = 0) -> set[int]:
    """`*`, `5`, `MON`, `1-5`, `*/n`, `1-5/n`, `5/n`, and lists of these."""
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        begin, hyphen, end = span.partition("-")
        if span == "*":
            numbers = range(low, high + 1)
        else:
            start = names.index(begin) + first if begin in names else int(begin)
            stop = (names.index(end) + first if end in names else int(end)) if hyphen else start
            numbers = range(start, (high if step and not hyphen else stop) + 1)
        found.update(numbers[:: int(step or 1)])
    return found


def _on_day(field: str, when: date) -> bool:
    last = monthrange(when.year, when.month)[1]
    if field == "L":
        return when.day == last
    if field == "LW":
        workdays = [d for d in range(1, last + 1) if when.replace(day=d).weekday() < 5]
        return when.day == workdays[-1]
    return when.day in _numbers(field, 1, 31)


def _on_weekday(field: str, when: date) -> bool:
    weekday = (when.weekday() + 1) % 7
    last = monthrange(when.year, when.month)[1]
    for part in field.split(","):
        if part.endswith("L"):
            if int(part[:-1]) % 7 == weekday and when.day + 7 > last:
                return True
        elif "#" in part:
            name, _, number = part.partition("#")
            wanted = _WEEKDAYS.index(name) if name in _WEEKDAYS else int(name) % 7
            if wanted == weekday and (when.day - 1) // 7 + 1 == int(number):
                return True
        elif weekday in {number % 7 for number in _numbers(part, 0, 7, _WEEKDAYS)}:
            return True
    return False


def _index(local: datetime) -> int:
    """The minute of the wall clock, counted from the first day there is."""
    return local.toordinal() * 1440 + local.hour * 60 + local.minute
