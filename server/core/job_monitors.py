"""Job monitors as people set them: what is late, too long or too short of a job's runs. Pure."""

from __future__ import annotations

import re
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

SECONDS_MAX = 30 * 86400
WATCHER = "job_monitors"
"""Its name among those who watch a job's runs."""
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\Z")


class MonitorKind(StrEnum):
    """What a job monitor looks for: the status of its happenings."""

    LATE_START = "late start"
    OVERRUN = "overrun"
    COMPLETE_BY = "must complete by"
    UNDERRUN = "underrun"


class JobMonitors(msgspec.Struct, frozen=True, kw_only=True):
    """What people want to be told of a job's runs; 0 and "" are off.

    `late_start_s`: not begun so long after its due time. `overrun_s`: still open so long after its start.
    `complete_by`: `HH:MM` in `zone`, the first one after its due time; for runs at their scheduled time and their
    retries, not for what people ask for. `underrun_s`: ended by itself sooner. `notify`: notification lists that are
    told of all these; `notify_failed`: of runs that failed for good.
    """

    late_start_s: int = 0
    overrun_s: int = 0
    complete_by: str = ""
    zone: str = "UTC"
    underrun_s: int = 0
    notify: list[str] = []
    notify_failed: list[str] = []

    @property
    def kinds(self) -> list[MonitorKind]:
        """The monitors that are on."""
        on = (self.late_start_s, self.overrun_s, self.complete_by, self.underrun_s)
        return [kind for kind, is_on in zip(MonitorKind, on, strict=True) if is_on]


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
    try:
        ZoneInfo(monitors.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        wrong["job_monitors.zone"] = f"{monitors.zone} is no time zone; write one like Europe/Berlin"
    return wrong
