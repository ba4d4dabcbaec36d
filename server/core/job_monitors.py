"""Job monitors as people set them: what is late, too long or too short of a job's runs. Pure."""

from __future__ import annotations

import re
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

SECONDS_MAX = 30 * 86400
MORE_MAX = 20
WATCHER = "job_monitors"
"""Its name among those who watch a job's runs."""
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}\Z")
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\Z")


class MonitorKind(StrEnum):
    """What a job monitor looks for: the status of its happenings."""

    LATE_START = "late start"
    OVERRUN = "overrun"
    COMPLETE_BY = "must complete by"
    UNDERRUN = "underrun"


SLUGS = {
    MonitorKind.LATE_START: "late-start",
    MonitorKind.OVERRUN: "overrun",
    MonitorKind.COMPLETE_BY: "complete-by",
    MonitorKind.UNDERRUN: "underrun",
}
"""How people write a kind in one word."""


class NamedMonitor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A further monitor of a kind: `after_s` seconds, or `complete_by` in `zone`, as those of `JobMonitors`."""

    name: str
    kind: MonitorKind
    after_s: int = 0
    complete_by: str = ""
    zone: str = "UTC"


class JobMonitors(msgspec.Struct, frozen=True, kw_only=True):
    """What people want to be told of a job's runs; 0 and "" are off.

    `late_start_s`: not begun so long after its due time. `overrun_s`: still open so long after its start.
    `complete_by`: `HH:MM` in `zone`, the first one after its due time; for runs at their scheduled time and their
    retries, not for what people ask for. `underrun_s`: ended by itself sooner. `notify`: notification lists that are
    told of all these; `notify_failed`: of runs that failed for good. `more`: further ones, by name.
    """

    late_start_s: int = 0
    overrun_s: int = 0
    complete_by: str = ""
    zone: str = "UTC"
    underrun_s: int = 0
    notify: list[str] = []
    notify_failed: list[str] = []
    more: list[NamedMonitor] = []

    @property
    def kinds(self) -> list[str]:
        """The monitors that are on, by label: the kind, and behind a `/` the name of a further one of it."""
        return list(self.rules)

    @property
    def rules(self) -> dict[str, NamedMonitor]:
        """The same with what each looks for; the first of a kind has no name."""
        first = (
            NamedMonitor(name="", kind=MonitorKind.LATE_START, after_s=self.late_start_s),
            NamedMonitor(name="", kind=MonitorKind.OVERRUN, after_s=self.overrun_s),
            NamedMonitor(name="", kind=MonitorKind.COMPLETE_BY, complete_by=self.complete_by, zone=self.zone),
            NamedMonitor(name="", kind=MonitorKind.UNDERRUN, after_s=self.underrun_s),
        )
        found = {one.kind.value: one for one in first if one.after_s or one.complete_by}
        return found | {f"{one.kind.value}/{one.name}": one for one in self.more}


def kind_of(label: str) -> MonitorKind:
    """The kind of a monitor by its label."""
    return MonitorKind(label.partition("/")[0])


def slug(label: str) -> str:
    """How people write a label: `late-start`, `overrun/slow`."""
    kind, slash, name = label.partition("/")
    return f"{SLUGS[MonitorKind(kind)]}{slash}{name}"


def label_of(text: str) -> str | None:
    """The label that people wrote, None when it says no kind."""
    kind, slash, name = text.partition("/")
    found = next((one for one, word in SLUGS.items() if word == kind), None)
    return None if found is None or (slash and not name) else f"{found.value}{slash}{name}"


def read_named(text: str) -> NamedMonitor:
    """One further monitor as people write it: `slow overrun 7200`, `early complete-by 05:00 Europe/Berlin`.

    Raises ValueError saying what is wrong.
    """
    words = text.split()
    kind = next((one for one, word in SLUGS.items() if len(words) > 1 and word == words[1]), None)
    is_clock = kind is MonitorKind.COMPLETE_BY
    if kind is None or len(words) not in ((3, 4) if is_clock else (3,)):
        raise ValueError(
            f"{text!r}: write NAME KIND SECONDS, or NAME complete-by HH:MM ZONE; {', '.join(SLUGS.values())}"
        )
    if is_clock:
        return NamedMonitor(name=words[0], kind=kind, complete_by=words[2], zone=words[3] if len(words) == 4 else "UTC")
    if not words[2].isdigit():
        raise ValueError(f"{text!r}: {words[2]} is no number of seconds")
    return NamedMonitor(name=words[0], kind=kind, after_s=int(words[2]))


def write_named(one: NamedMonitor) -> str:
    """The same as text."""
    when = f"{one.complete_by} {one.zone}" if one.kind is MonitorKind.COMPLETE_BY else str(one.after_s)
    return f"{one.name} {SLUGS[one.kind]} {when}"


def wrong_job_monitors(monitors: JobMonitors) -> dict[str, str]:
    """What is not right, by field; empty when all is."""
    wrong: dict[str, str] = {}
    for field in ("late_start_s", "overrun_s", "underrun_s"):
        if not 0 <= getattr(monitors, field) <= SECONDS_MAX:
            wrong[f"job_monitors.{field}"] = f"must be from 0 (off) to {SECONDS_MAX} (30 days)"
    if monitors.overrun_s and monitors.underrun_s >= monitors.overrun_s:
        wrong["job_monitors.underrun_s"] = "must be less than overrun_s: every run would be one or the other"
    if monitors.complete_by and not _CLOCK.match(monitors.complete_by):
        wrong["job_monitors.complete_by"] = "must be a time of day like 06:30, or empty"
    if not _is_zone(monitors.zone):
        wrong["job_monitors.zone"] = f"{monitors.zone} is no time zone; write one like Europe/Berlin"
    more = [f"{one.name}: {said}" for one in monitors.more if (said := _wrong_named(one))]
    names = [(one.kind, one.name) for one in monitors.more]
    more += [f"{name} is there twice" for kind, name in sorted({one for one in names if names.count(one) > 1})]
    if len(names) > MORE_MAX:
        more.append(f"at most {MORE_MAX}")
    return wrong | ({"job_monitors.more": "; ".join(more)} if more else {})


def _wrong_named(one: NamedMonitor) -> str:
    if not _NAME.match(one.name):
        return "a name has small letters, digits and -, at most 31"
    if one.kind is not MonitorKind.COMPLETE_BY:
        return "" if 0 < one.after_s <= SECONDS_MAX else f"must be from 1 to {SECONDS_MAX} seconds (30 days)"
    if not _CLOCK.match(one.complete_by):
        return "must be a time of day like 06:30"
    return "" if _is_zone(one.zone) else f"{one.zone} is no time zone; write one like Europe/Berlin"


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
