"""Every form of cron in zones whose clocks move in every way, held against the oracle; and the long run of it."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from zoneinfo import ZoneInfo

from server.core.model import DAY_US, SECOND_US
from server.core.timing import GAPS, OVERLAPS, Timing, TimingRules, instants, next_instant
from tests.oracles.cron_oracle import NICKNAMES, Rule, read, walk
from tests.process.checker import Verdict

ZONES = (
    "Australia/Lord_Howe",  # half an hour
    "Africa/Cairo",  # at midnight, the last Thursday of October
    "Asia/Beirut",  # at midnight
    "America/Havana",  # at midnight, back to the day before
    "America/Santiago",  # at midnight, southern
    "Asia/Kathmandu",  # no change, 5:45
    "Europe/Dublin",  # winter time is the one that is set back
    "America/St_Johns",  # half an hour from its neighbours
    "Antarctica/Troll",  # two hours
    "Pacific/Apia",  # no change since 2021, on the other side of the date line
    "Pacific/Chatham",  # 12:45 and 13:45
    "America/New_York",
)
SPARSE = (
    "5 * * * *", "0 */2 * * *", "30 2 * * *", "0 0 * * *", "0 1 * * *", "15,45 0,2,3 * * *", "0-30/10 1-3 * * *",
    "10/15 2 * * *", "7 8/5 * * *", "0 12 L * *", "30 0 LW * *", "30 1 1 * 1", "30 1 */2 * 1", "30 1 5-25/4 * SAT,2",
    "0 3 * * 5L", "0 2 * * 0#2", "0 3 * jan,MAR-oct/2 sun", "59 23 31 12 *", "0 0 29 2 *", "20 2 * * 7",
    "45 23 * 3,4,10,11 6-7", "30 0 * * 1-5", "15 30 2 * * *", "0,30 59 23 * * 6", "*/20 0 0 * * *", "10 5 0-3 * * *",
    *NICKNAMES,
)  # fmt: skip
DENSE = ("* * * * *", "*/7 * * * *", "0-59 * * * *", "0-59/3 0-23 * * *", "30 */5 * * * *", "*/15 1-3 * * *")
ASKED = 1
FIRST, LAST = datetime(2024, 1, 1), datetime(2033, 1, 1)


def rules_of(forms: tuple[str, ...]) -> list[Rule]:
    """Each form that names times of day with each rule of gap and overlap, the others once."""
    rules = [Rule(form, gap, overlap) for form, gap, overlap in product(forms, GAPS, OVERLAPS)]
    return [rule for rule in rules if read(rule.cron).is_fixed or rule == Rule(rule.cron)]


def timing(rule: Rule, zone: str) -> Timing:
    """The rule as the product has it."""
    return Timing(rule.cron, zone, TimingRules(gap=rule.gap, overlap=rule.overlap))


def compare(rules: list[Rule], zone: str, start: datetime, days: int, seed: int) -> tuple[int, list[str]]:
    """Hold the product against the oracle over `days` days: (instants compared, what differs).

    Beside the list, the next instant after some random moments is asked for.
    """
    count, faults, drawn = 0, [], random.Random(seed)
    after_us = _micros(start)
    until_us = after_us + days * DAY_US
    for rule, due in zip(rules, walk(rules, zone, start, days), strict=True):
        expected = [_micros(at) for at in due if at <= start + timedelta(days=days)]
        found = list(instants(timing(rule, zone), after_us, until_us))
        count += len(expected)
        if found != expected:
            wrong = min(set(found) ^ set(expected))
            when = datetime.fromtimestamp(wrong // SECOND_US, UTC)
            who = "the product alone" if wrong in set(found) else "the oracle alone"
            faults.append(f"{rule} in {zone}: {who} has {when:%Y-%m-%d %H:%M:%S} UTC")
            continue
        for _ in range(ASKED if expected else 0):
            moment = drawn.randrange(after_us, expected[-1])
            following = expected[bisect(expected, moment)]
            if next_instant(timing(rule, zone), moment) != following:
                faults.append(f"{rule} in {zone}: the next one after {moment} is not {following}")
    return count, faults


def changes(zone: str) -> list[datetime]:
    """The days (UTC midnight before) on which the clocks of a zone move, in 2024 to 2032."""
    where, day = ZoneInfo(zone), timedelta(days=1)
    found, at = [], FIRST
    while at < LAST:
        now, then = (one.replace(tzinfo=UTC).astimezone(where).utcoffset() for one in (at, at + day))
        if now != then:
            found.append(at)
        at += day
    return found


def soak(directory: Path, count: int, say: Callable[[str], None]) -> Verdict:
    """Each round: all of 2024 to 2032 in one zone, every minute of it; twelve rounds are every zone once."""
    total, every = 0, []
    for number in range(count):
        zone = ZONES[number % len(ZONES)]
        found, faults = compare(rules_of(SPARSE), zone, FIRST, (LAST - FIRST).days, number)
        for change in [*changes(zone), datetime(2028, 2, 28)]:
            some, more = compare(rules_of(DENSE), zone, change - timedelta(days=1), 3, number)
            found, faults = found + some, faults + more
        total += found
        say(f"{zone}: {found} instants, {len(changes(zone))} changes of the clocks, {len(faults)} differ")
        every += faults
    return Verdict({"zones": count, "rules": len(rules_of(SPARSE + DENSE)), "instants": total}, tuple(every))


def _micros(at: datetime) -> int:
    return int(at.replace(tzinfo=UTC).timestamp()) * SECOND_US
