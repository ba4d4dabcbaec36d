"""When a schedule is due: one value that holds all it depends on, and one expansion of it. Pure.

`instants` is what planning, forecasts, the ledger and the pages use: they cannot disagree. Times are microseconds since
1970 UTC, always whole seconds. What is done to a time that the expression names, in this order:

1. **Calendar.** On a day that the calendar does not allow it is left out, or moved to the same time of the next,
   previous or nearest day that is allowed, at most SHIFT_DAYS away.
2. **Clock changes.** Of an expression that names times of day: skipped by the clocks, it is at the next valid minute or
   left out; repeated, it is the first one or both (BEY-8).
3. **Jitter.** A delay of up to `jitter_s` whole seconds, by schedule and time, and before its next time.
4. **Blackout windows.** Inside one it is left out (`blacked_out` has it, for the ledger), or at the window's end.

Two that fall on one instant are one.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

import msgspec

from server.core import blackouts, expressions
from server.core.calendar_days import Days
from server.core.expressions import Cron, Expression, Interval
from server.core.local_time import SECOND_US, BadSchedule, every_valid, find_zone, first_valid, micros, moment, to_local

HORIZON_US = 5 * 366 * 86_400 * SECOND_US
"""How far `next_instant` looks: a 29th of February is found."""
SHIFT_DAYS = 31
JITTER_S_MAX = 86_400

CALENDAR_USES = ("not", "only")
SHIFTS = ("skip", "next", "previous", "nearest")
IN_BLACKOUT = ("skip", "move")
GAPS = ("next", "skip")
OVERLAPS = ("once", "twice")

_DAY = timedelta(days=1)
_ONE_WORD = {
    "calendar_use": CALENDAR_USES, "shift": SHIFTS, "in_blackout": IN_BLACKOUT, "gap": GAPS, "overlap": OVERLAPS,
}  # fmt: skip


class TimingRules(msgspec.Struct, frozen=True):
    """What a schedule says beside its expression, zone and calendar; the column `rules` of `schedules`.

    calendar_use: not | only (on the days that the calendar marks). shift: skip | next | previous | nearest, for a day
    that the calendar does not allow. blackouts: windows as text (core.blackouts). in_blackout: skip | move.
    gap: next | skip. overlap: once | twice. jitter_s: seconds.
    """

    calendar_use: str = "not"
    shift: str = "skip"
    blackouts: tuple[str, ...] = ()
    in_blackout: str = "skip"
    gap: str = "next"
    overlap: str = "once"
    jitter_s: int = 0


PLAIN = TimingRules()


@dataclass(frozen=True, slots=True)
class Timing:
    """All that the instants of a schedule depend on. Equal ones are due at the same instants: a key for caches.

    `days`: what the calendar marks, or None without one. `seed`: the schedule's id when it has jitter, else 0.
    """

    expression: str
    zone: str = "UTC"
    rules: TimingRules = PLAIN
    days: Days | None = None
    seed: int = 0


def check(expression: str, zone: str) -> None:
    """Raise BadSchedule when the expression or the zone cannot be read."""
    find_zone(zone)
    expressions.parse(expression)


def wrong(expression: str, zone: str, rules: TimingRules, has_calendar: bool) -> dict[str, str]:
    """What is wrong with a schedule to be, by field of `actions.jobs.When`, saying what is allowed."""
    found: dict[str, str] = {}
    for name, allowed in _ONE_WORD.items():
        if getattr(rules, name) not in allowed:
            found[name] = f"must be one of {', '.join(allowed)}, not {getattr(rules, name)!r}"
    if not 0 <= rules.jitter_s <= JITTER_S_MAX:
        found["jitter_s"] = f"must be 0 to {JITTER_S_MAX} seconds, not {rules.jitter_s}"
    for name, attempt in (
        ("zone", lambda: find_zone(zone)),
        ("cron", lambda: expressions.parse(expression)),
        ("blackouts", lambda: blackouts.check(rules.blackouts)),
    ):
        try:
            attempt()
        except BadSchedule as error:
            found[name] = str(error)
    if rules.shift in SHIFTS[1:] and not has_calendar:
        found["shift"] = "needs a calendar, which says what a working day is"
    elif rules.shift in SHIFTS[1:] and "cron" not in found and not expressions.parse(expression).is_fixed:
        found["shift"] = "needs an expression with a time of day; this one follows real time"
    return found


def instants(timing: Timing, after_us: int, until_us: int, limit: int | None = None) -> Iterator[int]:
    """The instants with after_us < instant <= until_us, strictly increasing, at most `limit`.

    Raises BadSchedule before the first one when the expression, the zone or a window cannot be read.
    """
    check(timing.expression, timing.zone)
    blackouts.check(timing.rules.blackouts)
    return islice((micros(at) for at in _open(timing, moment(after_us), moment(until_us))), limit)


def next_instant(timing: Timing, after_us: int) -> int | None:
    """The first instant after `after_us`, or None when there is none within five years."""
    return next(instants(timing, after_us, after_us + HORIZON_US, 1), None)


def blacked_out(timing: Timing, after_us: int, until_us: int, limit: int | None = None) -> Iterator[int]:
    """What blackout windows leave out of (after_us, until_us], increasing; empty where they move instead."""
    rules = timing.rules
    if not rules.blackouts or rules.in_blackout != "skip":
        return iter(())
    blackouts.check(rules.blackouts)
    return islice((micros(at) for at in _closed(timing, moment(after_us), moment(until_us))), limit)


def _open(timing: Timing, after: datetime, until: datetime) -> Iterator[datetime]:
    """4: outside of blackout windows."""
    windows, zone = timing.rules.blackouts, timing.zone
    if not windows:
        yield from _spread(timing, after, until)
        return
    moves, last = timing.rules.in_blackout == "move", after
    for at in _spread(timing, blackouts.begins(windows, zone, after) if moves else after, until):
        end = blackouts.ends(windows, zone, at)
        if end is not None and not moves:
            continue
        at = end or at
        if at > until:
            return
        if at > last:
            last = at
            yield at


def _closed(timing: Timing, after: datetime, until: datetime) -> Iterator[datetime]:
    """4: inside of blackout windows; what is between them is not looked at."""
    second = timedelta(seconds=1)
    for begin, end in blackouts.spans(timing.rules.blackouts, timing.zone, after, until):
        yield from _spread(timing, max(after, begin - second), min(until, end - second))


def _spread(timing: Timing, after: datetime, until: datetime) -> Iterator[datetime]:
    """3: with jitter."""
    width_s = timing.rules.jitter_s
    if not width_s:
        yield from _valid(timing, after, until)
        return
    found = _valid(timing, after - timedelta(seconds=width_s), until + timedelta(seconds=width_s))
    here = next(found, None)
    while here is not None and here <= until:
        following = next(found, None)
        room_s = width_s if following is None else min(width_s, int((following - here).total_seconds()) - 1)
        at = here + timedelta(seconds=_draw(timing.seed, here) % (room_s + 1))
        if after < at <= until:
            yield at
        here = following


def _valid(timing: Timing, after: datetime, until: datetime) -> Iterator[datetime]:
    """1 and 2: on allowed days, in UTC."""
    expression, zone = expressions.parse(timing.expression), find_zone(timing.zone)
    if isinstance(expression, Interval) or (isinstance(expression, Cron) and not expression.is_fixed):
        for at in expression.flow(zone, after, until):
            if timing.days is None or _allows(timing, to_local(at, zone).toordinal()):
                yield at
        return
    yield from _fixed(timing, expression, after, until)


def _fixed(timing: Timing, expression: Expression, after: datetime, until: datetime) -> Iterator[datetime]:
    """The wall clock's times. They come in order but for what is shifted or repeated: `ahead` puts these in place.

    A time of the expression ends up between `early` before and `late` after its own instant.
    """
    assert not isinstance(expression, Interval)
    zone, rules = find_zone(timing.zone), timing.rules
    shifts = timing.days is not None and rules.shift != "skip"
    early = (SHIFT_DAYS + 1) * _DAY if shifts and rules.shift != "next" else timedelta(0)
    late = (SHIFT_DAYS + 1) * _DAY if shifts and rules.shift != "previous" else timedelta(0)
    late += _DAY if rules.overlap == "twice" else timedelta(0)
    ahead: list[datetime] = []
    last = after
    horizon = to_local(until + early, zone) + _DAY
    for local in expression.ticks(to_local(after - late, zone), horizon, lambda day: is_working(timing, day)):
        own = first_valid(local, zone)
        while ahead and ahead[0] <= min(own - early, until):
            at = heapq.heappop(ahead)
            if at > last:
                last = at
                yield at
        if own - early > until:
            return
        moved = _shifted(timing, local)
        for at in () if moved is None else _resolved(moved, own, moved == local, timing):
            heapq.heappush(ahead, at)
    for at in sorted(set(ahead)):
        if last < at <= until:
            yield at


def _resolved(local: datetime, own: datetime, is_own: bool, timing: Timing) -> tuple[datetime, ...]:
    """2: the instants of a local time; `own` is its first one when it was not shifted."""
    zone, rules = find_zone(timing.zone), timing.rules
    if rules.gap == "next" and rules.overlap == "once":
        return (own,) if is_own else (first_valid(local, zone),)
    found = every_valid(local, zone)
    if not found:
        return (first_valid(local, zone),) if rules.gap == "next" else ()
    return found if rules.overlap == "twice" else found[:1]


def _shifted(timing: Timing, local: datetime) -> datetime | None:
    """1: the time on an allowed day; the nearest of two at one distance is the later one."""
    if timing.days is None:
        return local
    day = local.toordinal()
    if _allows(timing, day):
        return local
    for k in range(1, SHIFT_DAYS + 1) if timing.rules.shift != "skip" else ():
        if timing.rules.shift in ("next", "nearest") and _allows(timing, day + k):
            return local + k * _DAY
        if timing.rules.shift in ("previous", "nearest") and _allows(timing, day - k):
            return local - k * _DAY
    return None


def _allows(timing: Timing, day: int) -> bool:
    """Whether the calendar lets the schedule be due on that day."""
    return timing.days is None or (day in timing.days) == (timing.rules.calendar_use == "only")


def is_working(timing: Timing, day: int) -> bool:
    """A working day is one that the calendar allows; without a calendar Monday to Friday."""
    return _allows(timing, day) if timing.days is not None else (day + 6) % 7 < 5


def _draw(seed: int, at: datetime) -> int:
    """A number that depends on the schedule and the time alone, for master, forecast and tests alike."""
    digest = hashlib.blake2b(f"{seed} {at.isoformat()}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")
