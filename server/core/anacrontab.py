"""Read an anacrontab (anacrontab(5)), line by line: `period delay name command`, and environment lines. Pure.

Anacron has no time of day: it starts a command once in so many days, when the machine is on. Here each is due at one
time: the beginning of START_HOURS_RANGE, or 07:30 as Debian starts anacron, and the delay after that; what was missed
is made up for within the period. RANDOM_DELAY becomes jitter.
"""

from __future__ import annotations

import re

from server.core.crontab import environment_line
from server.core.foreign_jobs import ForeignJob, Line

START_MINUTE = 7 * 60 + 30
DAY_MINUTES = 24 * 60
DAY_S = 86_400
_NAMED = {"@daily": 1, "@weekly": 7, "@monthly": 30, "@yearly": 365, "@annually": 365}
_HOURS = re.compile(r"(\d{1,2})\s*-\s*\d{1,2}\Z")
_SETTINGS = ("START_HOURS_RANGE", "RANDOM_DELAY", "MAILTO", "LOGNAME")


def parse(text: str) -> list[Line]:
    """Every line of the text, in order; nothing is left out and nothing raises."""
    environment: dict[str, str] = {}
    return [_line(number, line, environment) for number, line in enumerate(text.splitlines(), start=1)]


def _line(number: int, raw: str, environment: dict[str, str]) -> Line:
    text = raw.strip()
    if not text or text.startswith("#"):
        return Line(number, raw, "comment")
    known = environment_line(number, raw, environment)
    if known is not None:
        return known
    parts = text.split(None, 3)
    if len(parts) < 4:
        return Line(number, raw, "refused", "it has fewer than four fields: period, delay, name and command")
    period, delay, name, command = parts
    if period.lower() not in _NAMED and not (period.isdigit() and 1 <= int(period) <= 3650):
        return Line(number, raw, "refused", f"the period {period!r} is no number of days, @daily, @weekly or @monthly")
    if not delay.isdigit() or int(delay) >= DAY_MINUTES:
        return Line(number, raw, "refused", f"the delay {delay!r} is no number of minutes below a day")
    return _job_line(number, raw, period.lower(), int(delay), name, command, environment)


def _job_line(
    number: int, raw: str, period: str, delay: int, name: str, command: str, environment: dict[str, str]
) -> Line:
    minute = (_start(environment) + delay) % DAY_MINUTES
    days = _NAMED.get(period) or int(period)
    random = environment.get("RANDOM_DELAY", "")
    job = ForeignJob(
        (_expression(period, days, minute),),
        command,
        environment={key: value for key, value in environment.items() if key not in _SETTINGS},
        name=name,
        jitter_s=60 * int(random) if random.isdigit() and int(random) < DAY_MINUTES else 0,
        misfire_policy="once",
        misfire_grace_s=days * DAY_S,
    )
    reason = f"due at {minute // 60:02}:{minute % 60:02}, and made up for when the machine was off"
    return Line(number, raw, "job", reason, job)


def _start(environment: dict[str, str]) -> int:
    """The minute of the day at which anacron would begin."""
    found = _HOURS.match(environment.get("START_HOURS_RANGE", ""))
    return int(found[1]) % 24 * 60 if found else START_MINUTE


def _expression(period: str, days: int, minute: int) -> str:
    hour, minute = divmod(minute, 60)
    if period == "@monthly":
        return f"{minute} {hour} 1 * *"
    if period in ("@yearly", "@annually"):
        return f"{minute} {hour} 1 1 *"
    return f"{minute} {hour} * * *" if days == 1 else f"every {days} days from 2000-01-01 {hour:02}:{minute:02}"
