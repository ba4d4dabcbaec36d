"""Standing orders and the ledger of what they suppressed.

By the program itself: for the scheduler and the fleet.

Every function here is safe to repeat: an occurrence has at most one row in the ledger and one run.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from functools import partial

import msgspec

from server.actions import job_monitors, order_content, prerequisite_runs
from server.actions.change import Change, Transaction
from server.actions.missed import apply_policy
from server.actions.order_ledger import account_span, record_missed
from server.actions.quarantine import guarded, is_of_the_disk, put_aside
from server.core import planning
from server.core.gates import SCHEDULER_STOPPED, Verdict, on_occurrence
from server.core.groups import Policy
from server.core.model import DAY_US, Gate, Job, Order, Schedule
from server.core.schedule import expand
from server.core.silence import DEAD
from server.core.tenancy import tenant_of
from server.storage import (
    agents,
    asides,
    debts,
    gates,
    groups,
    jobs,
    missed,
    monitors,
    orders,
    schedules,
    settings,
    specifications,
)
from server.storage.rows import Unreadable

RELEASED = "moved to another agent"
REPLACED = "agent replaced, its new machine has not joined yet"


class Subject(msgspec.Struct, frozen=True):
    """A changed job with its live schedules and orders, and the validity of orders."""

    job: Job
    schedules: list[Schedule]
    orders: list[Order]
    validity_us: int
    suppressed: str = ""
    """Why the master itself suppresses all of it, beside the job's own hold."""
    is_group: bool = False
    is_bounded: bool = False
    """Whether the runs at once of its group are limited."""


class Plan(msgspec.Struct, frozen=True):
    """What to do with the orders of one job, in the version that was planned."""

    job: Job
    steps: list[planning.Step]
    error: Exception | None = None
    """Why it could not be planned."""


class Unread(msgspec.Struct, frozen=True):
    """A job that cannot be read, or something that planning it needs, and why."""

    job_id: int
    error: Exception


class Unrenewed(msgspec.Struct, frozen=True):
    """An order that could not be renewed, and why."""

    order_id: int
    job_id: int
    error: Exception


def validity_us(connection: sqlite3.Connection) -> int:
    """For how long agents hold orders in advance."""
    return int(settings.get(connection, "order_validity_days", "7")) * DAY_US


def read_changed(connection: sqlite3.Connection, limit: int = 50) -> list[Subject | Unread]:
    """A query: changed jobs with what planning them needs."""
    validity = validity_us(connection)
    return [_read(connection, job_id, validity) for job_id in jobs.to_plan(connection, limit)]


def _read(connection: sqlite3.Connection, job_id: int, validity_us: int) -> Subject | Unread:
    try:
        job = jobs.get(connection, job_id)
        assert job is not None, "its id was read just now"
        return Subject(
            job,
            _planned(connection, job),
            orders.of_job(connection, job.id),
            validity_us,
            gone(connection, job.agent_id),
            groups.is_group(connection, job.agent_id),
            groups.is_bounded(connection, job.agent_id),
        )
    except Exception as error:  # whatever it is: the other jobs are planned all the same
        if is_of_the_disk(error):
            raise
        return Unread(job_id, error)


def _planned(connection: sqlite3.Connection, job: Job) -> list[Schedule]:
    """The schedules that make orders: for a group with the policy `all` those of its members."""
    group = groups.get(connection, job.agent_id)
    of_members = group is not None and group.policy == Policy.ALL
    return [s for s in schedules.with_members(connection, job.id) if bool(s.member_id) == of_members]


def gone(connection: sqlite3.Connection, agent_id: str) -> str:
    """Why nothing is given to the job's agent, "" when it is there."""
    if agents.is_dead(connection, agent_id):
        return DEAD
    return REPLACED if agents.is_gone(connection, agent_id) else ""


def plan_all(subjects: Sequence[Subject | Unread], now_us: int) -> list[Plan | Unread]:
    """Plan changed jobs: pure, but takes about 60 ms for a new schedule of every minute. Run it in a thread."""
    return [one if isinstance(one, Unread) else _plan(one, now_us) for one in subjects]


def _plan(s: Subject, now_us: int) -> Plan:
    try:
        held_by = (s.suppressed, s.is_group, s.is_bounded)
        steps = planning.plan(s.job, s.schedules, s.orders, now_us, s.validity_us, *held_by)
    except Exception as error:  # whatever it is: the other jobs are planned all the same
        return Plan(s.job, [], error)
    return Plan(s.job, steps)


Ending = tuple[Order, Schedule, int]
"""An order that is to be renewed, its schedule and the validity."""


def read_ending(connection: sqlite3.Connection, now_us: int) -> list[Ending | Unrenewed]:
    """A query: orders that are to be renewed, with what it takes."""
    validity, found = validity_us(connection), list[Ending | Unrenewed]()
    for order in orders.to_renew(connection, now_us):
        if isinstance(order, Unreadable):
            found.append(Unrenewed(order.row["id"], order.row["job_id"], order.error))
            continue
        try:
            schedule = schedules.get(connection, order.schedule_id)
        except msgspec.MsgspecError as error:
            found.append(Unrenewed(order.id, order.job_id, error))
            continue
        if schedule is not None:
            found.append((order, schedule, validity))
    return found


def renew_all(ending: Sequence[Ending | Unrenewed], now_us: int) -> list[planning.Revise | Unrenewed]:
    """The renewals of orders: pure, run it in a thread."""
    return [one if isinstance(one, Unrenewed) else _renew(*one, now_us) for one in ending]


def _renew(order: Order, schedule: Schedule, validity_us: int, now_us: int) -> planning.Revise | Unrenewed:
    try:
        return planning.revise(order, schedule, order.suppressed, now_us, validity_us)
    except Exception as error:  # whatever it is: the other orders are renewed all the same
        return Unrenewed(order.id, order.job_id, error)


def put_plans(plans: Sequence[Plan | Unread], now_us: int) -> Change[int]:
    """Write plans of jobs that did not change meanwhile; returns how many. The others are planned again."""

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        written = 0
        for made in plans:
            if isinstance(made, Unread):
                put_aside(connection, "plan", str(made.job_id), made.job_id, made.error, now_us)
                continue
            job = jobs.get(connection, made.job.id)
            if job is None or not _is_same(job, made.job) or not _is_current(connection, made.steps):
                continue
            do = partial(_put_plan, connection, made, job, now_us)
            written += guarded(connection, "plan", job.id, job.id, now_us, do)
        return written

    return change


def _put_plan(connection: sqlite3.Connection, made: Plan, job: Job, now_us: int) -> None:
    if made.error is not None:
        raise made.error
    jobs.mark_planned(connection, job.id, job.version)
    for step in made.steps:
        _put_step(connection, step, job, now_us)
    monitors.touch_of_job(connection, job.id)
    job_monitors.expect(connection, job, now_us)
    prerequisite_runs.settle(connection, job.id, now_us)
    asides.clear_orders(connection, job.id)
    if job.deleted_at_us is None and _may_decide(connection, job):
        for schedule in schedules.with_members(connection, job.id):
            apply_policy(connection, job, schedule.id, now_us)


def put_renewals(renewals: Sequence[planning.Revise | Unrenewed], now_us: int) -> Change[int]:
    """Write renewals of orders that did not change meanwhile; returns how many."""

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        written = 0
        for step in renewals:
            if isinstance(step, Unrenewed):
                put_aside(connection, "renewal", str(step.order_id), step.job_id, step.error, now_us)
            elif _is_current(connection, [step]):
                do = partial(_put_renewal, connection, step, now_us)
                written += guarded(connection, "renewal", step.order.id, step.order.job_id, now_us, do)
        return written

    return change


def _put_renewal(connection: sqlite3.Connection, step: planning.Revise, now_us: int) -> None:
    job = jobs.get(connection, step.order.job_id)
    if job is not None:
        _revise(connection, step, job, now_us)
        job_monitors.expect(connection, job, now_us)


def resolve_missed(now_us: int, after: int, since_id: int = 0, limit: int = 50) -> Change[int | None]:
    """Let misfire policies decide open rows, by schedule above `after`; returns the schedule to go on after.

    None at the end. Nothing is decided while a stop stands or is not all in the ledger, or the job is held.
    """

    def change(transaction: Transaction) -> int | None:
        connection = transaction.connection
        if not may_resolve(connection):
            return None
        here = after
        for _ in range(limit):
            found = missed.next_open_schedule(connection, here, since_id)
            if found is None:
                return None
            here = found
            do = partial(_decide, connection, here, now_us)
            guarded(connection, "misfire", here, schedules.job_of(connection, here), now_us, do)
        return here

    return change


def _decide(connection: sqlite3.Connection, schedule_id: int, now_us: int) -> None:
    schedule = schedules.get(connection, schedule_id)
    job = jobs.get(connection, schedule.job_id) if schedule else None
    if job is not None and job.deleted_at_us is None and _may_decide(connection, job):
        apply_policy(connection, job, schedule_id, now_us)


def released(
    connection: sqlite3.Connection, order: Order, started: Iterable[int], now_us: int, cause: str = RELEASED
) -> int:
    """The agent gave an order back and named the instants it started; the others that are past stay open.

    Inside the caller's change. Returns how many rows were written; the job is planned again. Of a dead machine's order
    only what it may have started is open.
    """
    begun = set(started)
    until_us = min(now_us, order.valid_until_us) if order.state == "dead" else now_us
    past_us = now_us - planning.PAST_US
    job = jobs.get(connection, order.job_id)
    written = 0
    moved = {one.instant_us for one in order.exceptions if one.start_us > now_us}
    early = {one.instant_us for one in order.exceptions if one.start_us <= until_us < one.instant_us}
    for at_us in sorted({*expand(order.instants), *early}):
        is_past = max(order.accounted_until_us, past_us) < at_us <= until_us and at_us not in moved
        if (is_past or at_us in early) and at_us not in begun and job is not None and job.deleted_at_us is None:
            written += record_missed(connection, order, at_us, cause, now_us)
    schedule = schedules.get(connection, order.schedule_id)
    if schedule is not None and schedule.member_id and schedule.deleted_at_us is not None:
        missed.dismiss_of_schedule(connection, schedule.id, "deployment", now_us)
    orders.finish_release(connection, order, now_us)
    return written


def _is_same(job: Job, planned: Job) -> bool:
    """The job was neither changed nor marked to be planned again since it was read."""
    return (job.version, job.planned_version) == (planned.version, planned.planned_version)


def _is_current(connection: sqlite3.Connection, steps: Sequence[planning.Step]) -> bool:
    """The orders that the steps were made from are still in that version and state."""
    for step in steps:
        if not isinstance(step, planning.Give):
            now = orders.get(connection, step.order.id)
            if now is None or (now.version, now.state) != (step.order.version, step.order.state):
                return False
    return True


def _put_step(connection: sqlite3.Connection, step: planning.Step, job: Job, now_us: int) -> None:
    if isinstance(step, planning.Revise):
        _revise(connection, step, job, now_us)
    elif isinstance(step, planning.Release):
        _release(connection, step.order, now_us)
    else:
        _give(connection, step, job, now_us)


def _give(connection: sqlite3.Connection, step: planning.Give, job: Job, now_us: int) -> None:
    """Make an order, from where the schedule's last one ended: what was due since then is missed, or the master's."""
    open_ones = order_content.told(connection, job, step.schedule.id, step.suppressed, now_us)
    told = [one for one in open_ones if one.start_us > now_us]  # others were the order's before: it may have begun
    is_group = groups.is_group(connection, planning.holder(job, step.schedule))
    by_master = planning.is_by_master(job, is_group or groups.is_bounded(connection, job.agent_id))
    since_us = orders.released_at_us(connection, step.schedule.id)
    specification = specifications.of_job(connection, job, planning.holder(job, step.schedule))
    order = order_content.first(step, job, specification, by_master, told, now_us)
    order = msgspec.structs.replace(order, id=orders.insert(connection, order))
    orders.note_held(connection, order.id, step.content.valid_until_us)
    if not by_master and debts.may_be_elsewhere(connection, step.schedule, order.agent_id):
        orders.update(connection, order.id, withheld=1)
    elif now_us - planning.PAST_US < since_us < now_us:
        before = msgspec.structs.replace(order, valid_from_us=since_us, accounted_until_us=since_us)
        if by_master and not step.suppressed:
            next_us = planning.unaccounted(before, step.schedule, 0, since_us + 1, 1)[2]
            values = {"next_instant_us": min(order.next_instant_us, next_us)}
            orders.update(connection, order.id, valid_from_us=since_us, accounted_until_us=since_us, **values)
        else:
            span = (since_us + 1, now_us + 1, now_us, planning.AHEAD_MAX)
            account_span(connection, before, step.suppressed or RELEASED, *span)


def _release(connection: sqlite3.Connection, order: Order, now_us: int) -> None:
    """Take an order back. What a dead machine was never given is free at once, and so is the master's own."""
    if order.by_master:
        released(connection, order, (), now_us)
    elif agents.is_gone(connection, order.agent_id):
        span = (order.accounted_until_us + 1, now_us + 1, now_us)
        account_span(connection, order, order.suppressed or RELEASED, *span, planning.AHEAD_MAX)
        orders.finish_release(connection, order, now_us)
    else:
        orders.begin_release(connection, order)


def _revise(connection: sqlite3.Connection, step: planning.Revise, job: Job, now_us: int) -> None:
    order, fresh = step.order, step.content
    told = order_content.told(connection, job, order.schedule_id, step.suppressed, now_us)
    values: dict[str, object] = {}
    if order.by_master:
        next_us = min([order.next_instant_us, *(one.start_us for one in told if one.moved_to_us is not None)])
        values = {"acknowledged_version": order.version + 1, "next_instant_us": next_us}
    if order.suppressed != step.suppressed:
        cause = step.suppressed or order.suppressed
        from_us = order.accounted_until_us + 1 if order.suppressed else now_us - planning.PAST_US
        account_span(connection, order, cause, from_us, now_us + 1, now_us, planning.AHEAD_MAX)
        values |= {"accounted_until_us": now_us, "next_instant_us": fresh.next_instant_us}
    orders.update(
        connection,
        order.id,
        version=order.version + 1,
        instants=fresh.spans,
        specification=specifications.of_job(connection, job, order.agent_id),
        valid_until_us=fresh.valid_until_us,
        renew_at_us=fresh.renew_at_us,
        suppressed=step.suppressed,
        exceptions=told,
        **values,
    )
    orders.note_held(connection, order.id, fresh.valid_until_us)


def may_resolve(connection: sqlite3.Connection) -> bool:
    """Misfire policies decide when no stop stands and what the last one suppressed is all in the ledger."""
    return stop_in_force(connection) is None and not gates.stops(connection, 1)


def _may_decide(connection: sqlite3.Connection, job: Job) -> bool:
    """Not while the job is held or its machine is dead, or due instants of its agent are missed because of a gate."""
    kinds = (gate.kind for gate in gates.for_agent(connection, job.agent_id))
    if job.held or agents.is_gone(connection, job.agent_id):
        return False
    return on_occurrence(kinds, tenant_of(job.name))[0] is not Verdict.MISS and may_resolve(connection)


def stop_in_force(connection: sqlite3.Connection) -> Gate | None:
    """The stop of the scheduler, while it stands."""
    return gates.get(connection, SCHEDULER_STOPPED)
