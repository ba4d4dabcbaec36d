"""What a schedule should do, found by stepping through real minutes: without the product and any cron library.

It reads the few forms that the tests make: numbers, lists, ranges, `*` and `*/n` in the fields minute, hour, weekday.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo


def oracle(cron: str, zone: str, start: datetime, days: int) -> list[datetime]:
    """Step through real minutes. A fixed time: once per local time; a skipped one at the first minute after it."""
    where = ZoneInfo(zone)
    is_fixed = not cron.split()[0].startswith("*") and not cron.split()[1].startswith("*")
    found, seen = [], set[datetime]()
    before = _local(start, where)
    for k in range(1, days * 24 * 60 + 1):
        now = start + timedelta(minutes=k)
        local = _local(now, where)
        if not is_fixed:
            hit = matches(cron, local)
        else:
            skipped = [before + timedelta(minutes=m) for m in range(1, int((local - before).total_seconds()) // 60)]
            hit = any(matches(cron, time) for time in skipped) or (matches(cron, local) and local not in seen)
            seen.add(local)
        if hit:
            found.append(now)
        before = local
    return found


def matches(cron: str, local: datetime) -> bool:
    """Whether a wall-clock minute is one of the expression's."""
    minute, hour, _, _, weekday = cron.split()
    return _in(minute, local.minute) and _in(hour, local.hour) and _in(weekday, (local.weekday() + 1) % 7)


def _in(field: str, value: int) -> bool:
    if field == "*":
        return True
    if field.startswith("*/"):
        return value % int(field[2:]) == 0
    low, _, high = field.partition("-")
    if high:
        return int(low) <= value <= int(high)
    return value in {int(part) for part in field.split(",")}


def _local(now: datetime, where: ZoneInfo) -> datetime:
    return now.replace(tzinfo=UTC).astimezone(where).replace(tzinfo=None, fold=0)
