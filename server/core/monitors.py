"""Event monitors as people describe them and as an agent holds them, and the variables of an event. Pure (SKY-16)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import ClassVar

import msgspec

from server.core.model import Row, Specification

FILE, DIRECTORY, PROCESS, MANUAL = "file", "directory", "process", "manual"
KINDS: dict[str, tuple[str, ...]] = {
    FILE: ("created", "changed", "deleted", "steady"),
    DIRECTORY: ("changed", "count"),
    PROCESS: ("started", "ended"),
    MANUAL: (),
}
"""The kinds of monitors, and what each may be told to look for."""
INTERVAL_S_MAX = 3600
STEADY_S_MAX = 7 * 24 * 3600
VARIABLES_MAX = 32
VALUE_CHARACTERS_MAX = 4096
VARIABLES_CHARACTERS_MAX = 16 * 1024
RESERVED = frozenset({"MONITOR", "KIND", "WHAT", "NUMBER", "TIME"})
PREFIX = "UNDERSTUDY_EVENT_"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}\Z")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What is watched. `path`: absolute; a glob for files. `pattern`: glob over a process's name or command line.

    `on`: of `KINDS`. `steady_s`: for `steady`. `at_least`: for `count`, the entries of the directory. `existing`: what
    is there at the first look counts as new. `interval_s`: between two looks, at least.
    """

    path: str = ""
    on: list[str] = []
    steady_s: int = 0
    at_least: int = 0
    pattern: str = ""
    pid_file: str = ""
    existing: bool = False
    interval_s: int = 5


class Monitor(Row, frozen=True, kw_only=True):
    """Bound to one agent for ever: on another agent it is another monitor that has the name. `problem`: as told by it.

    `version` is what the agent is to hold, `acknowledged_version` what it said it holds.
    """

    JSON: ClassVar[frozenset[str]] = frozenset({"settings"})

    id: int
    name: str
    agent_id: str
    kind: str
    settings: Settings
    enabled: bool
    description: str
    version: int
    acknowledged_version: int
    problem: str
    created_at_us: int
    updated_at_us: int
    deleted_at_us: int | None = None

    @property
    def is_live(self) -> bool:
        """Whether its agent is to watch."""
        return self.enabled and self.deleted_at_us is None


class Event(Row, frozen=True, kw_only=True):
    """Something that a monitor saw or somebody fired. `token` names it in keys; `number` is None for one fired here."""

    JSON: ClassVar[frozenset[str]] = frozenset({"variables"})

    id: int
    monitor_id: int
    token: str
    number: int | None
    what: str
    at_us: int
    variables: dict[str, str]
    fired_by: str
    recorded_at_us: int


class Reaction(msgspec.Struct, frozen=True, array_like=True):
    """A job that the monitor's own agent runs at each event; while it is `held` the event is recorded as missed."""

    specification: Specification
    held: bool = False


class StandingMonitor(msgspec.Struct, frozen=True, array_like=True):
    """A monitor as its agent holds it. `elsewhere`: jobs of other agents, by id and name: for the master."""

    id: int
    version: int
    name: str
    kind: str
    settings: Settings
    reactions: tuple[Reaction, ...] = ()
    elsewhere: tuple[tuple[int, str], ...] = ()

    def watches_same(self, other: StandingMonitor) -> bool:
        """Whether what was observed for `other` counts for this one."""
        return self.kind == other.kind and _watched(self.settings) == _watched(other.settings)


def _watched(settings: Settings) -> tuple[object, ...]:
    """What the observation depends on: a file that nobody waited for may be steady for long."""
    return settings.path, settings.pattern, settings.pid_file, "steady" in settings.on


def wrong_settings(kind: str, settings: Settings) -> dict[str, str]:
    """What is wrong, by field; {} when the settings fit the kind."""
    if kind not in KINDS:
        return {"kind": "must be one of " + ", ".join(KINDS)}
    wrong: dict[str, str] = {}
    if kind != MANUAL and (not settings.on or any(word not in KINDS[kind] for word in settings.on)):
        wrong["on"] = f"must be one or more of {', '.join(KINDS[kind])} for the kind {kind}"
    if not 1 <= settings.interval_s <= INTERVAL_S_MAX:
        wrong["interval_s"] = f"must be from 1 to {INTERVAL_S_MAX}"
    if "steady" in settings.on and not 1 <= settings.steady_s <= STEADY_S_MAX:
        wrong["steady_s"] = f"must be from 1 to {STEADY_S_MAX}: for how many seconds size and time stay the same"
    if "count" in settings.on and not 1 <= settings.at_least <= 1_000_000:
        wrong["at_least"] = "must be from 1 to 1000000: the event is that so many entries are there"
    if kind in (FILE, DIRECTORY):
        wrong |= _wrong_path(kind, settings.path)
    if kind == PROCESS and bool(settings.pattern) == bool(settings.pid_file):
        wrong["pattern"] = "give either a pattern of the command line or a pid file"
    if settings.pid_file and not settings.pid_file.startswith("/"):
        wrong["pid_file"] = "must be an absolute path"
    if any("\0" in text or len(text) > VALUE_CHARACTERS_MAX for text in (settings.pattern, settings.pid_file)):
        wrong["pattern"] = f"must have at most {VALUE_CHARACTERS_MAX} characters and no NUL"
    return wrong


def _wrong_path(kind: str, path: str) -> dict[str, str]:
    if not path.startswith("/") or "\0" in path or len(path) > VALUE_CHARACTERS_MAX:
        return {"path": f"must be an absolute path of at most {VALUE_CHARACTERS_MAX} characters"}
    if "**" in path:
        return {"path": "** is not understood: name each level, for example /data/*/*.csv"}
    if kind == FILE and path.endswith("/"):
        return {"path": "must name files: end it with a name or *"}
    return {}


def wrong_variables(given: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with the variables of a manual event, by name; {} when they can reach a job."""
    wrong: dict[str, str] = {}
    if len(given) > VARIABLES_MAX:
        wrong["variables"] = f"at most {VARIABLES_MAX}"
    if sum(len(name) + len(value) for name, value in given.items()) > VARIABLES_CHARACTERS_MAX:
        wrong["variables"] = f"at most {VARIABLES_CHARACTERS_MAX} characters in all"
    seen: set[str] = set()
    for name, value in given.items():
        upper = name.upper()
        if not _NAME.match(name):
            wrong[name or "variables"] = "a name has a letter, then up to 63 letters, digits and _"
        elif upper in RESERVED or upper in seen:
            wrong[name] = "the name is taken" if upper in seen else "the name is one of the event's own"
        elif "\0" in value or len(value) > VALUE_CHARACTERS_MAX:
            wrong[name] = f"a value has at most {VALUE_CHARACTERS_MAX} characters and no NUL"
        elif not _is_text(value):
            wrong[name] = "the value is no UTF-8 text"
        seen.add(upper)
    return wrong


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def variables_of(name: str, kind: str, what: str, token: str, at_us: int, more: Mapping[str, str]) -> dict[str, str]:
    """All variables of an event, without the prefix."""
    moment = datetime.fromtimestamp(at_us / 1e6, UTC).isoformat().replace("+00:00", "Z")
    own = {"MONITOR": name, "KIND": kind, "WHAT": what, "NUMBER": token, "TIME": moment}
    return {**{key.upper(): value for key, value in more.items()}, **own}


def with_event(specification: Specification, variables: Mapping[str, str]) -> Specification:
    """The job as it runs for an event: `UNDERSTUDY_EVENT_*` in its environment."""
    named = {PREFIX + key: value for key, value in variables.items()}
    return msgspec.structs.replace(specification, environment={**specification.environment, **named})
