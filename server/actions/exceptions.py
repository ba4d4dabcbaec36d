"""Exceptions: skip, move or change one occurrence of a job. Permission: jobs.change.

The row changes nothing by itself: the job is planned again, its order gets a new version, and the agent that has that
version does as it says. Until then the agent goes by the version that it has.
"""

from __future__ import annotations

import sqlite3

import msgspec

from server.actions import variables
from server.actions.change import Change, Transaction, record, require
from server.actions.jobs import find as find_job
from server.core.groups import Policy
from server.core.model import DAY_US, SECOND_US, Job, Principal, Schedule
from server.core.schedule import BadSchedule
from server.core.timing import instants, next_instant
from server.core.workflow_runs import wrong_variables
from server.errors import Conflict, Invalid, NotFound
from server.storage import exceptions, groups, jobs, missed, runs, schedules
from server.storage.exceptions import ExceptionRow

AHEAD_US = 366 * DAY_US


class ExceptionSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One occurrence, named by the instant (microseconds UTC) that its schedule made, and what is different.

    Either `skip`, or at least one of the others. `schedule_id` is needed when several schedules are due at the instant.
    """

    instant_us: int
    skip: bool = False
    move_to_us: int | None = None
    command: str | None = None
    environment: dict[str, str] | None = None
    schedule_id: int | None = None


def put(job: str, spec: ExceptionSpec, by: Principal, now_us: int, reason: str = "") -> Change[ExceptionRow]:
    """Make an exception, in place of an earlier one of the same occurrence.

    Raises Invalid when the job is not due at that instant or nothing is changed by it, Conflict when it is too late.
    """
    require(by, "jobs.change")
    _validate(spec, now_us)

    def change(transaction: Transaction) -> ExceptionRow:
        connection = transaction.connection
        found = find_job(connection, job)
        group = groups.get(connection, found.agent_id)
        if group is not None and group.policy == Policy.ALL:
            raise Conflict(f"{job} runs on every member of the group {group.name}: hold the job instead.")
        if found.begins_workflow_id is not None and spec.command is not None:
            raise Conflict(f"{job} begins a workflow: an occurrence of it has no command. Give it another environment.")
        if found.begins_workflow_id is not None and (why := wrong_variables(spec.environment or {})):
            raise Invalid(why, field="environment")
        schedule = _schedule(connection, found, spec, now_us)
        texts = {"command": spec.command or "", "environment": "\n".join((spec.environment or {}).values())}
        variables.check_texts(connection, found.id, texts, ())
        before = exceptions.of_occurrence(connection, schedule.id, spec.instant_us)
        _check_open(connection, schedule.id, spec.instant_us, before, now_us)
        if before is None and len(exceptions.open_of_schedule(connection, schedule.id, now_us)) >= exceptions.OPEN_MAX:
            raise Conflict(f"{job} has {exceptions.OPEN_MAX} exceptions to come already. Change its schedule instead.")
        exceptions.put(
            connection,
            job_id=found.id,
            schedule_id=schedule.id,
            instant_us=spec.instant_us,
            skipped=int(spec.skip),
            moved_to_us=spec.move_to_us,
            command=spec.command,
            environment=msgspec.json.encode(spec.environment).decode(),
            created_by=by.name,
            created_at_us=now_us,
            reason=reason,
        )
        jobs.mark_unplanned(connection, found.id)
        made = exceptions.of_occurrence(connection, schedule.id, spec.instant_us)
        assert made is not None
        record(connection, by, now_us, "exceptions.put", job, before or "", made, reason)
        return made

    return change


def remove(
    job: str, instant_us: int, by: Principal, now_us: int, schedule_id: int | None = None, reason: str = ""
) -> Change[ExceptionRow]:
    """Take an exception back: the occurrence is due at its own instant again. Conflict when that is past."""
    require(by, "jobs.change")

    def change(transaction: Transaction) -> ExceptionRow:
        connection = transaction.connection
        found = find_job(connection, job)
        wanted = [schedule_id] if schedule_id is not None else [s.id for s in schedules.of_job(connection, found.id)]
        rows = [row for one in wanted if (row := exceptions.of_occurrence(connection, one, instant_us)) is not None]
        if not rows or rows[0].job_id != found.id:
            raise NotFound(f"{job} has no exception for that instant. `understudy job exceptions {job}` lists them.")
        before = rows[0]
        _check_open(connection, before.schedule_id, instant_us, before, now_us)
        if instant_us <= now_us:
            raise Conflict("Its own time is past: it cannot be due then again. Move it elsewhere, or skip it.")
        exceptions.remove(connection, before.schedule_id, instant_us)
        jobs.mark_unplanned(connection, found.id)
        record(connection, by, now_us, "exceptions.remove", job, before, "", reason)
        return before

    return change


def _validate(spec: ExceptionSpec, now_us: int) -> None:
    changes = [spec.move_to_us, spec.command, spec.environment]
    if spec.skip and any(value is not None for value in changes):
        raise Invalid("A skipped occurrence does not begin: it cannot be moved or changed too.", field="skip")
    if not spec.skip and all(value is None for value in changes):
        raise Invalid("Say what is different: skip it, move it, or give another command or environment.", field="skip")
    if spec.move_to_us is not None:
        if spec.move_to_us <= now_us or spec.move_to_us > now_us + AHEAD_US or spec.move_to_us % SECOND_US:
            raise Invalid("It can be moved to a whole second that is to come, within a year.", field="move_to_us")
        if spec.move_to_us == spec.instant_us:
            raise Invalid("That is when it is due anyhow.", field="move_to_us")
    if spec.command is not None and (not spec.command.strip() or "\0" in spec.command):
        raise Invalid("The command must not be empty or hold a NUL character.", field="command")
    if any("=" in name or not name or "\0" in name + value for name, value in (spec.environment or {}).items()):
        raise Invalid("Names must not be empty or hold =, values must not hold NUL.", field="environment")


def _schedule(connection: sqlite3.Connection, job: Job, spec: ExceptionSpec, now_us: int) -> Schedule:
    """The schedule of the job that makes the instant."""
    found = schedules.of_job(connection, job.id)
    if spec.schedule_id is not None:
        found = [schedule for schedule in found if schedule.id == spec.schedule_id]
    due = [schedule for schedule in found if is_due(schedule, spec.instant_us)]
    if len(due) == 1:
        return due[0]
    if due:
        numbers = ", ".join(f"{schedule.id} ({schedule.cron})" for schedule in due)
        raise Invalid(f"Several schedules are due then: name one of {numbers}.", field="schedule_id")
    following = [at for schedule in found if (at := _next(schedule, now_us)) is not None]
    if not following:
        raise Invalid(f"{job.name} has no schedule that is due again.", field="instant_us")
    raise Invalid(f"{job.name} is not due at that instant. It is due next at {min(following)}.", field="instant_us")


def is_due(schedule: Schedule, instant_us: int) -> bool:
    """Whether the schedule makes that instant."""
    try:
        return next(iter(instants(schedule.timing, instant_us - 1, instant_us, 1)), None) == instant_us
    except BadSchedule:
        return False


def _next(schedule: Schedule, now_us: int) -> int | None:
    try:
        return next_instant(schedule.timing, now_us)
    except BadSchedule:
        return None


def _check_open(
    connection: sqlite3.Connection, schedule_id: int, instant_us: int, before: ExceptionRow | None, now_us: int
) -> None:
    """Raise Conflict when the occurrence is due already, or something became of it."""
    run = runs.newest_of_occurrence(connection, schedule_id, instant_us)
    if run is not None:
        raise Conflict(f"It began already: see run {run}.")
    row = missed.of_occurrence(connection, schedule_id, instant_us)
    if row is not None:
        raise Conflict(f"It is in the ledger already: {row.cause}. Run or dismiss it there.")
    if (before.start_us if before is not None and not before.skipped else instant_us) <= now_us:
        raise Conflict("It is due already: what its agent made of it is not known here yet.")
