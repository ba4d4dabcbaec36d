"""Between wall clocks and UTC, through every change of the clocks. Pure; naive datetimes, in UTC unless named local."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

SECOND_US = 1_000_000
_STEP = timedelta(hours=6)
_STRETCH_MAX = timedelta(days=4)
"""So that who wants the next instant only does not wait for the next change of the clocks to be found."""
_SECOND = timedelta(seconds=1)


class BadSchedule(ValueError):
    """A schedule is wrong; the text names what of it and says what is allowed."""


@lru_cache(maxsize=256)
def find_zone(name: str) -> ZoneInfo:
    """The zone of that name; raises BadSchedule."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BadSchedule(f"there is no time zone {name!r}; write it like Europe/Berlin or UTC") from error


def to_local(at: datetime, zone: tzinfo) -> datetime:
    """The wall clock of the zone at a time in UTC."""
    return at.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None, fold=0)


def first_valid(local: datetime, zone: tzinfo) -> datetime:
    """UTC of a wall-clock time: the first one when it is repeated, the next valid minute when it is skipped."""
    while True:
        at = _utc(local, zone, 0)
        if to_local(at, zone) == local:
            return at
        local = local.replace(second=0) + timedelta(minutes=1)


def every_valid(local: datetime, zone: tzinfo) -> tuple[datetime, ...]:
    """UTC of a wall-clock time: twice when it is repeated, never when it is skipped."""
    found = dict.fromkeys(_utc(local, zone, fold) for fold in (0, 1))
    return tuple(at for at in found if to_local(at, zone) == local)


def last_valid(local: datetime, zone: tzinfo) -> datetime:
    """UTC of a wall-clock time: the second one when it is repeated, the next valid minute when it is skipped."""
    found = every_valid(local, zone)
    return found[-1] if found else first_valid(local, zone)


def stretches(zone: tzinfo, after: datetime, until: datetime) -> Iterator[tuple[datetime, datetime, timedelta]]:
    """(after, until] in UTC cut at least where the offset changes: each (begin, end, offset) holds begin < t <= end."""
    begin, here = after, after
    offset = to_local(after + _SECOND, zone) - (after + _SECOND)
    while here < until:
        there = min(here + _STEP, until)
        if to_local(there, zone) - there != offset:
            there = _change(zone, here, there, offset)
            last = there - _SECOND
            if last > begin:
                yield begin, last, offset
                begin = last
            offset = to_local(there, zone) - there
        elif there - begin >= _STRETCH_MAX:
            yield begin, there, offset
            begin = there
        here = there
    if until > begin:
        yield begin, until, offset


def moment(at_us: int) -> datetime:
    """Naive UTC of microseconds, cut to the whole second."""
    return datetime.fromtimestamp(at_us // SECOND_US, UTC).replace(tzinfo=None)


def micros(at: datetime) -> int:
    """Microseconds of naive UTC, cut to the whole second."""
    return int(at.replace(tzinfo=UTC).timestamp()) * SECOND_US


def _utc(local: datetime, zone: tzinfo, fold: int) -> datetime:
    return local.replace(tzinfo=zone, fold=fold).astimezone(UTC).replace(tzinfo=None)


def _change(zone: tzinfo, low: datetime, high: datetime, offset: timedelta) -> datetime:
    """The first whole second in (low, high] with another offset."""
    while high - low > _SECOND:
        middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2)
        if to_local(middle, zone) - middle == offset:
            low = middle
        else:
            high = middle
    return high
