"""Runs that prerequisites begin or hold back. By the program itself: a follower of the outbox, and for the scheduler.

A job without a schedule is submitted when its expression becomes true. A job with one is submitted at its instant: if
the expression is true then, at once; else the run waits and says what is missing. Either way what was met is cleared
in the change that lets the run go, so that each satisfaction lets one go, whatever crashes in between. A run asked for
by a person waits for nothing and clears nothing.
"""

from __future__ import annotations

import hashlib
import sqlite3

import msgspec

from server.actions import runs as run_actions
from server.actions.prerequisites import words_of
from server.core.groups import Policy
from server.core.happenings import Happening, Kind
from server.core.model import Job, Run
from server.core.prerequisites import UNMET, WAITS, Standing, Status, judge, missing, status_of
from server.core.run_keys import request_key
from server.core.run_states import RunEvent, step
from server.storage import agents, events, groups, job_monitors, jobs, missed, prerequisites, runs, schedules
from server.storage.prerequisites import ConditionRow

REQUESTED_BY = "prerequisites"
NO_MEMBERS = "prerequisites met; the group had no members"
GONE = "prerequisites met; its machine was declared dead or replaced"
_NOT_FINAL = (Status.FAILED, Status.CANCELLED, Status.SKIPPED)


def follow(connection: sqlite3.Connection, happening: Happening, now_us: int) -> None:
    """Note what a happening means for every job that waits for its source, and let go what has all it needs.

    The end of a run that is tried again says nothing: the retries are the follower before this one.
    """
    waiting = prerequisites.of_source(connection, happening.kind, happening.source_id)
    if not waiting:
        return
    run = runs.get(connection, happening.subject) if happening.kind == Kind.RUN else None
    asked = run is not None and run.cancel_requested_at_us is not None
    status = status_of(happening.kind, happening.status, asked)
    if status is None or (status in _NOT_FINAL and run is not None and runs.has_later_attempt(connection, run)):
        return
    instance = run.instance if run is not None else ""
    changed = [row.job_id for row in waiting if _note(connection, row, status, happening, instance)]
    for job_id in dict.fromkeys(changed):
        settle(connection, job_id, now_us)


def settle(connection: sqlite3.Connection, job_id: int, now_us: int) -> int:
    """Let go what has all it needs; also after a change of the job. Returns how many runs were let go."""
    job = jobs.get(connection, job_id)
    waiting = runs.awaiting(connection, job_id)
    if job is None or (not job.prerequisites.is_set and not waiting):
        return 0
    met = prerequisites.met(connection, job_id)
    if job.deleted_at_us is not None or not job.prerequisites.is_set:
        return _let_go(connection, waiting, now_us)
    if not job.prerequisites.is_met(met):
        _say_missing(connection, job, met, waiting, now_us)
        return 0
    if waiting:
        first_us = min(run.scheduled_for_us or 0 for run in waiting)
        prerequisites.clear(connection, job_id, met)
        return _let_go(connection, [run for run in waiting if (run.scheduled_for_us or 0) == first_us], now_us)
    if schedules.of_job(connection, job_id):
        return 0
    made = _submit(connection, job, met, now_us)
    prerequisites.clear(connection, job_id, met)
    return made


def submit_due(
    connection: sqlite3.Connection, job: Job, schedule_id: int, at_us: int, requested_by: str, now_us: int
) -> Run:
    """Submit an occurrence as the scheduler does: with prerequisites it waits for those, unless they are met.

    The runs of earlier instants that still wait are missed. Members of a group are let go together.
    """
    if not job.prerequisites.is_set:
        return run_actions.submit_occurrence(connection, job, schedule_id, at_us, requested_by, now_us)
    waiting = runs.awaiting(connection, job.id)
    old = [run for run in waiting if (run.scheduled_for_us or 0) < at_us]
    if old:
        _miss(connection, job, old, now_us)
    met = prerequisites.met(connection, job.id)
    if job.prerequisites.is_met(met):
        prerequisites.clear(connection, job.id, met)
        _let_go(connection, [run for run in waiting if run.scheduled_for_us == at_us], now_us)
    elif not runs.was_let_go(connection, job.id, at_us):
        why = _waits(connection, job, met)
        return run_actions.submit_occurrence(connection, job, schedule_id, at_us, requested_by, now_us, why)
    return run_actions.submit_occurrence(connection, job, schedule_id, at_us, requested_by, now_us)


def _note(
    connection: sqlite3.Connection, row: ConditionRow, status: Status, happening: Happening, instance: str
) -> bool:
    """Judge one condition; True when it became met, or is no more."""
    job = jobs.get(connection, row.job_id)
    found = job.prerequisites.conditions() if job is not None and job.deleted_at_us is None else iter(())
    condition = next((one for one in found if one.number == row.number), None)
    if condition is None:
        return False
    now = Standing(met=row.met, status=row.status, subject=row.subject)
    after = judge(condition, now, status, happening.subject, instance)
    if after is now:
        return False
    since_us = row.since_us if row.met and after.met else happening.at_us
    values = {"met": after.met, "status": after.status, "subject": after.subject, "since_us": since_us}
    prerequisites.put(connection, msgspec.structs.replace(row, **values))
    return after.met != row.met


def _submit(connection: sqlite3.Connection, job: Job, met: set[int], now_us: int) -> int:
    """Submit the job once for what met it: the same again, by a master that lost that it had done so, is the same key.

    With the policy `all` it is a run for each member.
    """
    request = f"p-{_satisfaction(connection, job, met)}"
    group = groups.get(connection, job.agent_id)
    members = [""]
    if group is not None and group.policy == Policy.ALL:
        members = [member.agent_id for member in groups.members(connection, group.id)]
        if not members:
            _insert_missed(connection, job, request_key(job.id, request), NO_MEMBERS, now_us)
    made = 0
    for member in members:
        key = request_key(job.id, request, member=member)
        if runs.by_key(connection, key) is not None:
            continue
        made += 1
        if agents.is_gone(connection, member or job.agent_id):
            _insert_missed(connection, job, key, GONE, now_us)
        else:
            run_actions.submit(connection, job, key, REQUESTED_BY, now_us, member)
    return made


def _insert_missed(connection: sqlite3.Connection, job: Job, key: str, why: str, now_us: int) -> None:
    """What cannot go anywhere is a run that was missed: it is seen, and can be run again."""
    if runs.by_key(connection, key) is None:
        values = {"reason": why, "requested_by": REQUESTED_BY, "ended_at_us": now_us}
        runs.insert(connection, key, job.id, job.agent_id, job.command, "missed", now_us, **values)


def _satisfaction(connection: sqlite3.Connection, job: Job, met: set[int]) -> str:
    """The name of what met the expression: by the keys of its runs and events, which no other satisfaction has."""
    found = []
    for row in prerequisites.of_job(connection, job.id):
        if row.number in met:
            found.append(f"{row.kind} {row.source_id} {_subject(connection, row)} {row.status}")
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()[:32]


def _subject(connection: sqlite3.Connection, row: ConditionRow) -> str:
    if row.kind == Kind.RUN:
        run = runs.get(connection, row.subject)
        return run.key if run is not None else str(row.subject)
    if row.kind == Kind.MONITOR:
        return _monitored(connection, row)
    event = events.get(connection, row.subject) if row.kind == Kind.EVENT else None
    return event.token if event is not None else f"{row.subject} {row.since_us}"


def _monitored(connection: sqlite3.Connection, row: ConditionRow) -> str:
    """The key of the run of which a job monitor said it."""
    trip = job_monitors.get_trip(connection, row.subject) if row.status == Status.TRIPPED else None
    run = runs.get(connection, row.subject) if row.status == Status.CLEAR else None
    return trip.run_key if trip is not None else run.key if run is not None else str(row.subject)


def _let_go(connection: sqlite3.Connection, waiting: list[Run], now_us: int) -> int:
    """From now on they are waiting runs like any other (`retries.begin_due`)."""
    for run in waiting:
        runs.update(connection, run.number, begin_after_us=now_us)
    return len(waiting)


def _miss(connection: sqlite3.Connection, job: Job, old: list[Run], now_us: int) -> None:
    """The next instant is due: the runs of earlier ones are missed, what was met for them is cleared."""
    for run in old:
        runs.update(connection, run.number, begin_after_us=None)
        runs.set_state(connection, run.number, step(run.state, RunEvent.MISSED), now_us, UNMET)
        if run.schedule_id is not None and run.scheduled_for_us is not None:
            missed.record(connection, job.id, run.schedule_id, run.scheduled_for_us, UNMET, now_us, beside_run=True)
    kept = {one.number for one in job.prerequisites.conditions() if one.dont_clear}
    prerequisites.clear(connection, job.id, prerequisites.met(connection, job.id) - kept)


def _waits(connection: sqlite3.Connection, job: Job, met: set[int]) -> str:
    return f"{WAITS}: {missing(job.prerequisites, met, lambda one: words_of(connection, one))}"


def _say_missing(connection: sqlite3.Connection, job: Job, met: set[int], waiting: list[Run], now_us: int) -> None:
    why = _waits(connection, job, met) if waiting else ""
    for run in waiting:
        if run.reason != why:
            runs.update(connection, run.number, reason=why)
