"""What the standing orders of a job should be, and what is to be accounted for.

Pure; times in microseconds UTC.

A schedule has at most one order that an agent may act on. Moving it takes the order back first; the next one
is given when the agent has said what it started of the old one. Past instants stay in a renewed order as long
as they may still be open at a silent agent, so that none is lost by the renewal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from server.core.gates import HELD
from server.core.model import DAY_US, Job, Order, Schedule, Span
from server.core.schedule import BadSchedule, compress, expand
from server.core.timing import Timing, instants, next_instant

AHEAD_MAX = 11_000
"""Instants that an order holds ahead at most (a week of minutes): for denser schedules it is shorter."""
PAST_MAX = 9_000
PAST_US = 7 * DAY_US
"""How far back an order still holds instants that may be open at a silent agent."""
RENEWED_FROM, RENEWED_UNTIL = 3 / 8, 5 / 8
"""Between which parts of its time an order is renewed: the last is the bound, whatever the order."""
SLOTS = 1024
"""Orders are renewed at full slots of their time (ten minutes of a week): neighbours share a look and a commit."""


@dataclass(frozen=True, slots=True)
class Content:
    """What of an order depends on time and schedule."""

    spans: list[Span]
    valid_until_us: int
    renew_at_us: int
    next_instant_us: int


@dataclass(frozen=True, slots=True)
class Give:
    """Make a new order for a schedule."""

    schedule: Schedule
    content: Content
    suppressed: str


@dataclass(frozen=True, slots=True)
class Revise:
    """Give an order a new version."""

    order: Order
    content: Content
    suppressed: str


@dataclass(frozen=True, slots=True)
class Release:
    """Take an order back."""

    order: Order


Step = Give | Revise | Release


def plan(
    job: Job,
    schedules: Sequence[Schedule],
    orders: Sequence[Order],
    now_us: int,
    validity_us: int,
    suppressed: str = "",
    is_group: bool = False,
    is_bounded: bool = False,
) -> list[Step]:
    """What to do with the live orders of a job. `schedules` are its live ones; a deleted job has none.

    A schedule whose order is still being released gets its new one when that has ended (the job is planned
    again); one that is the master's to act on and should be the agent's, or the other way round, is taken back like
    one that moves. The master's own are released at once. `suppressed`: why the master itself lets nothing of it start,
    beside the job's hold. `is_group`: the job's holder is a group; `is_bounded`: one whose runs at
    once are limited.
    """
    live = {} if job.deleted_at_us is not None else {schedule.id: schedule for schedule in schedules}
    suppressed = HELD if job.held else suppressed
    steps: list[Step] = []
    for order in orders:
        wanted = live.pop(order.schedule_id, None)
        if order.state == "releasing":
            continue
        is_moved = wanted is not None and (order.agent_id, order.by_master) != (
            holder(job, wanted),
            is_by_master(job, is_bounded or (is_group and not wanted.member_id)),
        )
        if wanted is None or is_moved:
            steps.append(Release(order))
        else:
            steps.append(revise(order, wanted, suppressed, now_us, validity_us))
    for schedule in live.values():
        given = _content(schedule, (), now_us, validity_us, suppressed)
        steps.append(Give(schedule, given, suppressed))
    return steps


def holder(job: Job, schedule: Schedule) -> str:
    """Whose order a schedule makes: the member's that it names, else the job's agent or group."""
    return schedule.member_id or job.agent_id


def is_by_master(job: Job, is_group: bool) -> bool:
    """Whether the master itself submits what is due: a group's run, or a job whose runs need the whole picture.

    `is_group`: whoever would hold the order is a group, or a member of one whose runs at once are limited. Every other
    order its agent acts on, connected or not.
    """
    needs_all = job.prerequisites.is_set or job.limits.is_set or bool(job.special_instances)
    return is_group or needs_all or job.begins_workflow_id is not None


def revise(order: Order, schedule: Schedule, suppressed: str, now_us: int, validity_us: int) -> Revise:
    """The next version of an order. After a suppression it begins anew: nothing of that time is started."""
    past: Sequence[int] = ()
    if not order.suppressed and not suppressed:
        earliest = max(order.valid_from_us + 1, now_us - PAST_US)
        past = [at for at in expand(order.instants) if earliest <= at <= now_us][-PAST_MAX:]
    return Revise(order, _content(schedule, past, now_us, validity_us, suppressed), suppressed)


def unaccounted(
    order: Order, schedule: Schedule, from_us: int, until_us: int, limit: int
) -> tuple[list[int], int, int]:
    """Instants of a schedule in [from_us, until_us) above what is accounted for, at most `limit`.

    Returns (instants, accounted until, next instant). Instants before `from_us` are the agent's to report.
    """
    after_us = max(order.accounted_until_us, order.valid_from_us, from_us - 1)
    try:
        found = list(instants(schedule.timing, after_us, until_us - 1, limit))
        done_us = found[-1] if len(found) == limit else max(until_us - 1, order.accounted_until_us)
        following = next_instant(schedule.timing, done_us)
    except BadSchedule:
        return [], until_us, until_us + PAST_US
    return found, done_us, following if following is not None else done_us + PAST_US


def _content(schedule: Schedule, past: Sequence[int], now_us: int, validity_us: int, suppressed: str) -> Content:
    """Past instants and those ahead until now + validity; nothing while suppressed, and of a bad schedule."""
    until_us = now_us + validity_us
    try:
        ahead = _ahead(schedule.timing, now_us, until_us)
        next_us = ahead[0] if ahead else next_instant(schedule.timing, now_us) or until_us
    except BadSchedule:
        return Content([], until_us, until_us, until_us)
    if len(ahead) == AHEAD_MAX:
        until_us = ahead[-1]
    spans = [] if suppressed else compress([*past, *ahead])
    return Content(spans, until_us, renewal_us(schedule.id, now_us, until_us), next_us)


def renewal_us(schedule_id: int, now_us: int, until_us: int) -> int:
    """When an order that is made now and is valid until `until_us` is renewed.

    Orders that are planned together are not renewed together: schedules with neighbouring ids, of which each has one
    order that an agent may act on, lie as far apart as the golden section lays them. It is the same on every node.
    """
    length_us = until_us - now_us
    first_us, last_us = (now_us + int(length_us * part) for part in (RENEWED_FROM, RENEWED_UNTIL))
    part = (schedule_id * 0x9E3779B1 % 2**32) / 2**32
    at_us = first_us + int((last_us - first_us) * part)
    slot_us = max(1, length_us // SLOTS)
    return max(first_us, at_us - at_us % slot_us)


@lru_cache(maxsize=256)
def _ahead(timing: Timing, now_us: int, until_us: int) -> tuple[int, ...]:
    """Many jobs share a schedule, and a batch shares its `now_us`."""
    return tuple(instants(timing, now_us, until_us, AHEAD_MAX))
