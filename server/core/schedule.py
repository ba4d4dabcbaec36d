"""When a schedule is due: cron in a named zone, as instants in UTC, and standing orders' spans of them.

Times are microseconds since 1970 UTC. Expressions have 5 or 6 fields (seconds first) or a nickname. Daylight
saving: a fixed time of day that the clocks skip is run at the next valid minute, one that they repeat is run
once, the first time; an expression whose minute or hour begins with `*` follows real time and runs in both
hours (as Debian's cron).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from server.core.model import DAY_US, SECOND_US, Span

NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
HORIZON_US = 5 * 366 * DAY_US
"""How far `next_instant` looks: a 29th of February is found."""

_FIELDS = ("second", "minute", "hour", "day-of-month", "month", "day-of-week")
_PROBE = datetime(2024, 1, 1)
_STEP = timedelta(hours=6)


class BadSchedule(ValueError):
    """The expression or the zone is wrong; the text names the field and says what is allowed."""


def check(cron: str, zone: str) -> None:
    """Raise BadSchedule when `instants` would."""
    find_zone(zone)
    _expression(cron)


def find_zone(name: str) -> ZoneInfo:
    """The zone of that name; raises BadSchedule."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BadSchedule(f"there is no time zone {name!r}; write it like Europe/Berlin or UTC") from error


def instants(cron: str, zone: str, after_us: int, until_us: int, limit: int | None = None) -> Iterator[int]:
    """The instants of a schedule with after_us < instant <= until_us, strictly increasing, at most `limit`.

    Raises BadSchedule before the first one.
    """
    where = find_zone(zone)
    expression, is_fixed = _expression(cron)
    found = _fixed if is_fixed else _flowing
    bounded = found(expression, where, _moment(after_us), _moment(until_us))
    return islice((_micros(at) for at in bounded), limit)


def next_instant(cron: str, zone: str, after_us: int) -> int | None:
    """The first instant after `after_us`, or None when there is none within five years."""
    return next(instants(cron, zone, after_us, after_us + HORIZON_US, 1), None)


def forecast(
    schedules: Iterable[tuple[int, str, str]], after_us: int, until_us: int, limit: int
) -> list[tuple[int, int]]:
    """What is due in (after_us, until_us]: (instant, schedule id), in order of time, at most `limit`.

    `schedules` are (id, cron, zone). Schedules that can no longer be read are left out.
    """
    due: list[tuple[int, int]] = []
    for schedule_id, cron, zone in schedules:
        try:
            due.extend((at, schedule_id) for at in instants(cron, zone, after_us, until_us, limit))
        except BadSchedule:
            continue
    return sorted(due)[:limit]


def compress(found: Sequence[int]) -> list[Span]:
    """Strictly increasing instants as spans (first, step, count), in order; greedy, so at most one per
    instant.
    """
    spans: list[Span] = []
    index = 0
    while index < len(found):
        first = found[index]
        step = found[index + 1] - first if index + 1 < len(found) else 0
        count = 1
        while step and index + count < len(found) and found[index + count] == first + count * step:
            count += 1
        spans.append((first, step if count > 1 else 0, count))
        index += count
    return spans


def expand(spans: Iterable[Span]) -> Iterator[int]:
    """The instants of spans, in order: the inverse of `compress`."""
    for first, step, count in spans:
        for k in range(count):
            yield first + k * step


def _expression(cron: str) -> tuple[str, bool]:
    """The expression as 6 fields, and whether it names a fixed time of day."""
    text = NICKNAMES.get(cron.strip().lower(), cron.strip())
    if text.startswith("@"):
        known = ", ".join(NICKNAMES)
        raise BadSchedule(f"the nickname {text} is not known; use {known} or five fields")
    parts = text.split()
    if len(parts) not in (5, 6):
        raise BadSchedule(f"a schedule has 5 or 6 fields (minute hour day month weekday), not {len(parts)}")
    try:
        CronSim(text, _PROBE)
    except CronSimError as error:
        raise BadSchedule(_explain(str(error), parts)) from error
    minute, hour = parts[-5], parts[-4]
    is_fixed = not minute.startswith("*") and not hour.startswith("*")
    return (text if len(parts) == 6 else f"0 {text}"), is_fixed


def _explain(message: str, parts: list[str]) -> str:
    """Name the wrong field and its text. cronsim says `Bad hour`."""
    name = message.removeprefix("Bad ")
    names = _FIELDS[-len(parts) :]
    if name in names:
        return f"the field {name} is wrong: {parts[names.index(name)]!r}"
    return f"the schedule is wrong: {message}"


def _flowing(cron: str, zone: tzinfo, after: datetime, until: datetime) -> Iterator[datetime]:
    """Follow real time: within a stretch of one UTC offset, local time is UTC plus a constant."""
    for begin, end, offset in _stretches(zone, after, until):
        for local in _ticks(cron, begin + offset):
            if local - offset > end:
                break
            yield local - offset


def _fixed(cron: str, zone: tzinfo, after: datetime, until: datetime) -> Iterator[datetime]:
    """Follow the wall clock; skipped times come at the next valid minute, repeated ones the first time only."""
    last = after
    for local in _ticks(cron, _local(after, zone)):
        at = _first_valid(local, zone)
        if at > until:
            return
        if at > last:
            last = at
            yield at


def _ticks(cron: str, after: datetime) -> Iterator[datetime]:
    """Local times after `after`; the end when the expression names no day that exists."""
    simulation = CronSim(cron, after)
    while True:
        try:
            yield next(simulation)
        except (StopIteration, RuntimeError, OverflowError, ValueError):
            return


def _first_valid(local: datetime, zone: tzinfo) -> datetime:
    """UTC of a wall-clock time: the first one when it is repeated, the next valid minute when it is skipped."""
    while True:
        at = local.replace(tzinfo=zone, fold=0).astimezone(UTC).replace(tzinfo=None)
        if _local(at, zone) == local:
            return at
        local = local.replace(second=0) + timedelta(minutes=1)


def _stretches(zone: tzinfo, after: datetime, until: datetime) -> Iterator[tuple[datetime, datetime, timedelta]]:
    """(after, until] in UTC cut where the offset changes: each (begin, end, offset) holds begin < t <= end."""
    begin, here = after, after
    offset = _local(after + timedelta(seconds=1), zone) - (after + timedelta(seconds=1))
    while here < until:
        there = min(here + _STEP, until)
        if _local(there, zone) - there != offset:
            there = _change(zone, here, there, offset)
            last = there - timedelta(seconds=1)
            if last > begin:
                yield begin, last, offset
                begin = last
            offset = _local(there, zone) - there
        here = there
    if until > begin:
        yield begin, until, offset


def _change(zone: tzinfo, low: datetime, high: datetime, offset: timedelta) -> datetime:
    """The first whole second in (low, high] with another offset."""
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2)
        if _local(middle, zone) - middle == offset:
            low = middle
        else:
            high = middle
    return high


def _local(at: datetime, zone: tzinfo) -> datetime:
    return at.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None, fold=0)


def _moment(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us // SECOND_US, UTC).replace(tzinfo=None)


def _micros(at: datetime) -> int:
    return int(at.replace(tzinfo=UTC).timestamp()) * SECOND_US
