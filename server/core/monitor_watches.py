"""What job monitors look at, when, and what they find. Pure; times in microseconds UTC.

A monitor that has to look at a clock has a *watch*: a row with the moment at which it judges. What is expected of a
schedule is watched by its instant, so that a run of which nobody heard is late as well; how long a run may take is
watched from its start. An underrun is judged at the end. Decisions: docs/decisions/0114.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from server.core.job_monitors import JobMonitors, MonitorKind, NamedMonitor
from server.core.model import SECOND_US, Row, Run
from server.core.run_states import ENDED

SETTLE_US = 20 * SECOND_US
"""For so long after a node took office agents may still have to tell what they began before."""


class JobMonitor(Row, frozen=True, kw_only=True):
    """One monitor of one job: its id is what a prerequisite names, and stays while it is switched off and on again.

    `kind`: its label, see `JobMonitors.kinds`.
    """

    id: int
    job_id: int
    kind: str
    deleted_at_us: int | None = None


class Watch(Row, frozen=True, kw_only=True):
    """When a monitor is to look: at what is expected at `instant_us` of a schedule, or at the run with that key.

    `is_ahead`: the instant has not come yet; when it does, the next one is expected too.
    """

    monitor_id: int
    run_key: str
    due_us: int
    schedule_id: int | None = None
    instant_us: int | None = None
    is_ahead: bool = False


class Trip(Row, frozen=True, kw_only=True):
    """A job monitor found something, once for each run and monitor; `run` is None while nobody heard of the run."""

    id: int
    monitor_id: int
    run_key: str
    job_id: int
    kind: str
    run: int | None
    at_us: int
    text: str


def due_us(rule: NamedMonitor, start_us: int) -> int:
    """When a monitor judges what is due at `start_us` (late start, must complete by) or began then (overrun)."""
    if rule.kind is MonitorKind.COMPLETE_BY:
        return complete_by_us(rule.complete_by, rule.zone, start_us)
    return start_us + rule.after_s * SECOND_US


def complete_by_us(clock: str, zone: str, due_us: int) -> int:
    """The first time after `due_us` at which clocks in the zone show `clock`: on a day that lacks it, as much later."""
    hour, minute = map(int, clock.split(":"))
    there = ZoneInfo(zone)
    day = datetime.fromtimestamp(due_us // SECOND_US, there)
    for days in range(3):
        wall = (day + timedelta(days=days)).replace(hour=hour, minute=minute, second=0, microsecond=0, fold=0)
        at_us = int(wall.astimezone(UTC).timestamp()) * SECOND_US
        if at_us > due_us:
            return at_us
    raise AssertionError("of three days one has that time after now")


def counts_for_complete_by(run: Run) -> bool:
    """Whether it runs at its scheduled time, or is a retry of such a run: not what somebody or a policy asked for."""
    return run.scheduled_for_us is not None and run.requested_by in ("schedule", "retry", "")


def judge_expected(kind: str, attempts: Sequence[Run], by_us: int) -> bool:
    """Whether what was expected by `by_us` did not happen; `attempts` of the occurrence, none: nobody heard of it.

    The look may come later than that, after a time without a master.
    """
    if not attempts:
        return True
    newest = attempts[-1]
    if kind == MonitorKind.COMPLETE_BY:
        is_late = newest.state not in ENDED or (newest.ended_at_us or 0) > by_us
        return is_late and counts_for_complete_by(newest)
    begun = [run.started_at_us for run in attempts if run.started_at_us is not None]
    return min(begun) > by_us if begun else newest.state not in ENDED


def judge_end(monitors: JobMonitors, run: Run) -> list[str]:
    """The labels that an ended run trips by how long it took: too short, or too long when nobody could look in time."""
    if run.started_at_us is None or run.ended_at_us is None:
        return []
    took_us = run.ended_at_us - run.started_at_us
    is_own_end = run.state in ("succeeded", "failed")
    found = []
    for label, rule in monitors.rules.items():
        is_short = rule.kind is MonitorKind.UNDERRUN and is_own_end and took_us < rule.after_s * SECOND_US
        is_long = rule.kind is MonitorKind.OVERRUN and run.state in ENDED and took_us > rule.after_s * SECOND_US
        if is_short or is_long:
            found.append(label)
    return found


def is_clear(kind: MonitorKind, attempts: Sequence[Run], by_us: int | None) -> bool:
    """Whether the last of `attempts`, ended for good, is one that the monitor looks at and found nothing of.

    `by_us`: when what was expected is still to be judged, None when it was. A run that never began says nothing.
    """
    run = attempts[-1]
    if run.started_at_us is None or run.state not in ENDED:
        return False
    if kind in (MonitorKind.OVERRUN, MonitorKind.UNDERRUN):
        return True
    return counts_for_complete_by(run) and (by_us is None or not judge_expected(kind, attempts, by_us))


def sentence(job: str, rule: NamedMonitor, run: Run | None, why: str = "") -> str:
    """What happened, for people. `why`: what is known of a run that nobody heard of."""
    name = f"run {run.number} of {job}" if run is not None else f"a run of {job}"
    if rule.kind is MonitorKind.LATE_START:
        text = f"{name} has not begun {_span(rule.after_s)} after its due time"
        return f"{text}: {why or (run.reason if run is not None else '') or 'nobody knows why'}"
    if rule.kind is MonitorKind.OVERRUN:
        return f"{name} takes longer than {_span(rule.after_s)}"
    if rule.kind is MonitorKind.COMPLETE_BY:
        return f"{name} was not complete by {rule.complete_by} {rule.zone}{f': {why}' if why else ''}"
    return f"{name} ended sooner than {_span(rule.after_s)} after its start"


def _span(seconds: int) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
