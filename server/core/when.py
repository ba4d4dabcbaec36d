"""A schedule as people say it: as fields, as a line of text, and as a sentence. Pure.

A line is the expression, its zone if it has another than the job's, and clauses after semicolons, in any order:

    2nd Tuesday at 06:00 Europe/Berlin; not on DE; else next day; except Sat 22:00 - Mon 06:00; jitter 5m

| clause | means |
|---|---|
| `not on NAME`, `only on NAME` | not on, or only on, the days that this calendar marks |
| `else next day`, `else previous day`, `else nearest day` | on a day that is not allowed: moved there, not left out |
| `except WINDOW, WINDOW` | what falls into a blackout window is left out, and is in the ledger |
| `wait out WINDOW, WINDOW` | what falls into a blackout window is due at its end |
| `skip the gap` | a time that the clocks skip is left out; else it is due at the next valid minute |
| `twice in the overlap` | a time that the clocks repeat is due twice; else the first time only |
| `jitter 300s`, `jitter 5m`, `jitter 1h` | up to so much later |
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from server.core import expressions
from server.core.local_time import BadSchedule
from server.core.timing import TimingRules, wrong

_CLAUSES = (
    "not on NAME, only on NAME, else next day, else previous day, else nearest day, except WINDOW, wait out WINDOW,"
    " skip the gap, twice in the overlap, jitter 5m"
)
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_JITTER = re.compile(r"(\d{1,7})\s*([smh])\Z")
_ZONE = re.compile(r"[A-Za-z][A-Za-z_]*/\S*\Z")
_FORMS = ("every ", "on ")


class When(msgspec.Struct, frozen=True):
    """A schedule to be: an expression of any form (core.expressions) in a named zone, and what else it says.

    `calendar` is a name, "" for none; the others are those of core.timing.TimingRules.
    """

    cron: str
    zone: str = "UTC"
    calendar: str = ""
    calendar_use: str = "not"
    shift: str = "skip"
    blackouts: tuple[str, ...] = ()
    in_blackout: str = "skip"
    gap: str = "next"
    overlap: str = "once"
    jitter_s: int = 0

    @property
    def rules(self) -> TimingRules:
        """What it says beside expression, zone and calendar."""
        return TimingRules(
            self.calendar_use, self.shift, self.blackouts, self.in_blackout, self.gap, self.overlap, self.jitter_s
        )

    def wrong(self) -> dict[str, str]:
        """What is wrong, by field; whether the calendar is there is not known here."""
        found = wrong(self.cron, self.zone, self.rules, bool(self.calendar))
        if self.calendar_use == "only" and not self.calendar:
            found["calendar"] = "name the calendar on whose days it is due"
        return found


def of_rules(cron: str, zone: str, calendar: str, rules: TimingRules) -> When:
    """The schedule of a row; `calendar` is the name of its calendar."""
    return When(cron, zone, calendar, *msgspec.structs.astuple(rules))


def read_line(line: str, zone: str) -> When:
    """The schedule that a line says, in `zone` when it names none; raises BadSchedule for a clause that is none.

    What the expression and the windows say is checked by `When.wrong`.
    """
    head, *clauses = (part.strip() for part in line.split(";"))
    first, _, last = head.rpartition(" ")
    named = bool(first) and (last == "UTC" or _ZONE.match(last) is not None)
    words: dict[str, Any] = {}
    for clause in filter(None, clauses):
        for name, value in _clause(clause).items():
            if name in words:
                raise BadSchedule(f"{clause!r} says for the second time what another clause says")
            words[name] = value
    return When(" ".join((first if named else head).split()), (last if named else zone) or "UTC", **words)


def as_json(when: When) -> dict[str, Any]:
    """The fields that are not at their defaults, as the API takes them."""
    plain = When("")
    given = {name: getattr(when, name) for name in When.__struct_fields__}
    return {name: value for name, value in given.items() if value != getattr(plain, name) or name == "zone"}


def from_json(fields: dict[str, Any]) -> When:
    """A schedule as the API gives it."""
    return msgspec.convert(fields, When)


def write_line(when: When, zone: str) -> str:
    """The line of a schedule: `read_line` of it gives the same."""
    parts = [when.cron if when.zone == zone else f"{when.cron} {when.zone}"]
    if when.calendar:
        parts.append(f"{when.calendar_use} on {when.calendar}")
    if when.shift != "skip":
        parts.append(f"else {when.shift} day")
    if when.blackouts:
        parts.append(("except " if when.in_blackout == "skip" else "wait out ") + ", ".join(when.blackouts))
    if when.gap == "skip":
        parts.append("skip the gap")
    if when.overlap == "twice":
        parts.append("twice in the overlap")
    if when.jitter_s:
        parts.append(f"jitter {_duration(when.jitter_s)}")
    return "; ".join(parts)


def sentence(when: When) -> str:
    """The schedule in plain English, without a full stop."""
    said = f"{_expression(when.cron)} in {when.zone}"
    if when.calendar:
        said += f", {'not' if when.calendar_use == 'not' else 'only'} on days of {when.calendar}"
        where = {"next": "on the next", "previous": "on the previous", "nearest": "on the nearest"}.get(when.shift)
        said += f" ({where} day that is allowed instead)" if where else ""
    if when.blackouts:
        closed = " and ".join(when.blackouts)
        said += f", left out {closed}" if when.in_blackout == "skip" else f", waiting for the end of {closed}"
    if when.gap == "skip":
        said += ", left out when the clocks skip it"
    if when.overlap == "twice":
        said += ", both times when the clocks repeat it"
    if when.jitter_s:
        said += f", up to {_duration(when.jitter_s)} later"
    return said


def _clause(text: str) -> dict[str, object]:
    words = " ".join(text.split())
    lower = words.lower()
    for use in ("not", "only"):
        if lower.startswith(f"{use} on "):
            return {"calendar": words[len(use) + 4 :].strip(), "calendar_use": use}
    if found := re.fullmatch(r"else (?:the )?(next|previous|nearest)(?: working| allowed)?(?: day)?", lower):
        return {"shift": found[1]}
    for start, rule in (("except ", "skip"), ("wait out ", "move")):
        if lower.startswith(start):
            windows = re.split(r",\s+| and ", words[len(start) :])
            return {"blackouts": tuple(part.strip() for part in windows if part.strip()), "in_blackout": rule}
    if lower in ("skip the gap", "skip gap", "gap skip"):
        return {"gap": "skip"}
    if lower in ("twice in the overlap", "overlap twice"):
        return {"overlap": "twice"}
    if lower.startswith("jitter ") and (found := _JITTER.match(lower[7:].strip())):
        return {"jitter_s": int(found[1]) * _SECONDS[found[2]]}
    raise BadSchedule(f"{words!r} is no clause; use {_CLAUSES}")


def _duration(seconds: int) -> str:
    for unit in ("h", "m"):
        if seconds % _SECONDS[unit] == 0:
            return f"{seconds // _SECONDS[unit]}{unit}"
    return f"{seconds}s"


def _expression(text: str) -> str:
    lower = text.lower()
    if lower.startswith(_FORMS):
        return text
    try:
        parsed = expressions.parse(text)
    except BadSchedule:
        return text
    if isinstance(parsed, expressions.MonthDays):
        return f"every {text}" if " of " not in text else text
    return _cron(parsed.text) if isinstance(parsed, expressions.Cron) else text


def _cron(text: str) -> str:
    """Six cron fields in words: the common ones as people say them, the others field by field."""
    second, minute, hour, day, month, weekday = text.split()
    if second != "0":
        return f"at second {second} of what {' '.join((minute, hour, day, month, weekday))} names"
    clock = _clock(minute, hour)
    dates = _dates(day, month, weekday)
    return clock + (dates or (" every day" if clock.startswith("at ") and not clock.endswith("hour") else ""))


def _clock(minute: str, hour: str) -> str:
    if minute.isdigit() and hour.isdigit():
        return f"at {int(hour):02}:{int(minute):02}"
    if minute.isdigit() and re.fullmatch(r"\d+(,\d+)+", hour):
        return "at " + " and ".join(f"{int(one):02}:{int(minute):02}" for one in hour.split(","))
    when = {"*": "every minute"}.get(minute)
    if when is None:
        step = re.fullmatch(r"\*/(\d+)", minute)
        when = f"every {step[1]} minutes" if step else f"at minute {minute}"
    if hour == "*":
        return when if when.startswith("every") else f"{when} of every hour"
    step = re.fullmatch(r"\*/(\d+)", hour)
    return f"{when} of every {_nth(int(step[1]))} hour" if step else f"{when} of hour {hour}"


def _dates(day: str, month: str, weekday: str) -> str:
    said = []
    if weekday != "*":
        said.append(_weekday_words(weekday))
    if day != "*":
        said.append("on the last day" if day.upper() == "L" else f"on day {day}")
    joined = " or ".join(said)
    if month != "*":
        named = (expressions.MONTHS[int(one) - 1] if one.isdigit() else one for one in month.split(","))
        joined += f" in {','.join(named)}"
    elif day != "*":
        joined += " of the month"
    return f" {joined.strip()}" if joined else ""


def _weekday_words(weekday: str) -> str:
    found = re.fullmatch(r"(\d)(?:-(\d))?", weekday)
    if found is None:
        return f"on weekday {weekday}"
    names = [expressions.WEEKDAYS[(int(one) - 1) % 7] for one in found.groups() if one]
    return "on " + " to ".join(names)


def _nth(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
