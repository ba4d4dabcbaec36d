"""Special instances: runs of a job that go by a name on certain days, as `month-end` does (SKY-17). Pure.

An occurrence whose local day, in the zone of its schedule, is one of an instance's days is that instance; the first one
of the list that says so. Written as text, each begins with its name in brackets:

    [month-end]
    on last working day
    on calendar closing-days
    run ./close-books --month
    set MODE=full

`on` names days (core.calendar_days, and working days of the schedule's own calendar) or a calendar, whose marked days
are meant; `run` is the command instead of the job's, several lines are one command; `set` adds to its environment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from server.core.calendar_days import Days, Rules, read_rules
from server.core.expressions import MonthDays, parse_days
from server.core.local_time import BadSchedule, find_zone, moment, to_local
from server.core.timing import Timing, is_working

if TYPE_CHECKING:
    from server.core.model import Job

VARIABLE = "UNDERSTUDY_INSTANCE"
"""Holds the name, in the environment of such a run."""
INSTANCES_MAX = 20
DAYS_MAX = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")


class SpecialInstance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of them. `calendar`: a name, "" for none. Without days or a calendar it runs on request only.

    `command` "": the job's; `environment` is added to the job's.
    """

    name: str
    days: list[str] = []
    calendar: str = ""
    command: str = ""
    environment: dict[str, str] = {}


def find(instances: Sequence[SpecialInstance], name: str) -> SpecialInstance | None:
    """The one of that name."""
    return next((one for one in instances if one.name == name), None)


def applied(job: Job, name: str) -> Job:
    """The job as it is in a run of that instance: the job itself for "" and for one that it has no more."""
    found = find(job.special_instances, name)
    if found is None:
        return job
    environment = {**job.environment, **found.environment}
    return msgspec.structs.replace(job, command=found.command or job.command, environment=environment)


def name_at(
    instances: Sequence[SpecialInstance], timing: Timing, at_us: int, marks: Callable[[str], Days | None]
) -> str:
    """Which one the occurrence at `at_us` of a schedule is, "" for none. `marks`: the days of a calendar by name."""
    day = to_local(moment(at_us), find_zone(timing.zone)).toordinal()
    for one in instances:
        marked = marks(one.calendar) if one.calendar else None
        if (marked is not None and day in marked) or any(_is_on(line, timing, day) for line in one.days):
            return one.name
    return ""


def wrong_special_instances(instances: Sequence[SpecialInstance]) -> dict[str, str]:
    """What is wrong, by field."""
    said = ""
    names = [one.name for one in instances]
    if len(instances) > INSTANCES_MAX:
        said = f"at most {INSTANCES_MAX}"
    elif len(set(names)) != len(names):
        said = "each name may be there once"
    for one in instances:
        said = said or _wrong(one)
    return {"special_instances": said} if said else {}


def read_text(text: str) -> list[SpecialInstance]:
    """What a text says, "" for none; raises BadSchedule naming the line that says nothing."""
    found: list[SpecialInstance] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            if line.strip().startswith("[") and line.strip().endswith("]"):
                found.append(SpecialInstance(name=line.strip()[1:-1].strip()))
            elif found:
                found[-1] = _with(found[-1], line.strip())
            else:
                raise BadSchedule("begin with a name in brackets, for example [month-end]")
        except BadSchedule as error:
            raise BadSchedule(f"line {number}: {error}") from error
    return found


def write_text(instances: Sequence[SpecialInstance]) -> str:
    """The text that says the same."""
    lines: list[str] = []
    for one in instances:
        lines += [f"[{one.name}]", *(f"on {day}" for day in one.days)]
        lines += [f"on calendar {one.calendar}"] if one.calendar else []
        lines += [f"run {line}" for line in one.command.split("\n")] if one.command else []
        lines += [f"set {name}={value}" for name, value in one.environment.items()]
    return "\n".join(lines)


def _with(one: SpecialInstance, line: str) -> SpecialInstance:
    """With what a line says beside what it says already."""
    word, _, rest = line.partition(" ")
    name, equals, value = rest.partition("=")
    if word == "on" and rest.startswith("calendar "):
        if one.calendar:
            raise BadSchedule("name one calendar")
        return msgspec.structs.replace(one, calendar=rest.removeprefix("calendar ").strip())
    if word == "on" and rest.strip():
        return msgspec.structs.replace(one, days=[*one.days, " ".join(rest.split())])
    if word == "run":
        return msgspec.structs.replace(one, command=f"{one.command}\n{rest}" if one.command else rest)
    if word == "set" and equals and name:
        return msgspec.structs.replace(one, environment={**one.environment, name: value})
    raise BadSchedule("write on DAYS, on calendar NAME, run COMMAND or set NAME=VALUE")


def _wrong(one: SpecialInstance) -> str:
    if not _NAME.match(one.name):
        return f"{one.name!r}: a name begins with a letter or digit and has up to 63 letters, digits, . _ -"
    if len(one.days) > DAYS_MAX:
        return f"{one.name}: at most {DAYS_MAX} lines of days"
    if "\0" in one.command or any(
        "=" in key or not key or "\0" in key + value for key, value in one.environment.items()
    ):
        return f"{one.name}: names of variables must not be empty or hold =, and nothing may hold NUL"
    for line in one.days:
        try:
            _read(line)
        except BadSchedule as error:
            return f"{one.name}: {error}"
        if not line.partition("#")[0].strip():
            return f"{one.name}: {line!r} names no day"
    return ""


@lru_cache(maxsize=4096)
def _read(line: str) -> Rules | MonthDays:
    rule = line.partition("#")[0].strip()
    return parse_days(rule) if "working day" in rule.lower() else read_rules([line])


def _is_on(line: str, timing: Timing, day: int) -> bool:
    rule = _read(line)
    if isinstance(rule, Rules):
        return rule.name(day) is not None
    when = date.fromordinal(day)
    return when.month in rule.months and day in rule.days(when.year, when.month, lambda one: is_working(timing, one))
