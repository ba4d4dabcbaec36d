"""Jobs and their schedules. Permission: jobs.change.

The scheduler plans standing orders from the rows written here.

Every change raises the job's version, which marks it as not planned. A schedule is never edited: one that says
anything else is another schedule, because a run's key names the schedule that made it.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from server.actions import agents, job_uses, job_workflows, prerequisites, special_instances
from server.actions import groups as group_actions
from server.actions.change import Change, Transaction, record, require
from server.core import checkpoints
from server.core.checkpoints import CheckpointRule, wrong_checkpoints
from server.core.exit_rules import ExitRules, wrong_exit_rules
from server.core.giving_up import wrong_give_up
from server.core.groups import Policy
from server.core.happenings import Kind
from server.core.job_monitors import WATCHER as MONITORS
from server.core.job_monitors import JobMonitors, wrong_job_monitors
from server.core.job_uses import Uses, wrong_tags
from server.core.limits import Limits, wrong_limits
from server.core.model import Job, Principal, ScheduleRow
from server.core.prerequisites import Prerequisites
from server.core.retry import WATCHER as RETRIES
from server.core.retry import RetryRule, wrong_retry
from server.core.special_instances import SpecialInstance, wrong_special_instances
from server.core.when import When as When
from server.core.when import of_rules
from server.errors import Conflict, Invalid, NotFound
from server.storage import calendars, groups, happenings, job_monitors, jobs, missed, notifications, schedules, tags
from server.storage import job_workflows as job_workflow_rows
from server.storage import variables as variable_rows

SCHEDULES_MAX = 50
POLICIES = ("skip", "once", "all", "ask")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What people say about a job. It has a `command` and runs on an `agent` or a `group`, or it begins a `workflow`.

    All by name; `schedules` replace those it has.
    """

    name: str
    command: str = ""
    agent: str = ""
    group: str = ""
    schedules: list[When] = []
    environment: dict[str, str] = {}
    working_directory: str = ""
    run_as: str = ""
    timeout_s: int = 0
    output_bytes_max: int = 10 * 1024 * 1024
    misfire_policy: str = "once"
    misfire_grace_s: int = 3600
    may_run_twice: bool = False
    skip_if_running: bool = False
    description: str = ""
    standard_input: str = ""
    give_up_after_s: int = 0
    retry: RetryRule = RetryRule()
    exit_rules: ExitRules = ExitRules()
    job_monitors: JobMonitors = JobMonitors()
    uses: Uses = Uses()
    tags: list[str] = []
    checkpoints: CheckpointRule = CheckpointRule()
    prerequisites: str = ""
    limits: Limits = Limits()
    workflow: str = ""
    special_instances: list[SpecialInstance] = []


def create(spec: JobSpec, by: Principal, now_us: int) -> Change[Job]:
    """Add a job with its schedules.

    Raises Invalid naming the fields, NotFound for the agent or group, Conflict for the name.
    """
    require(by, "jobs.change")
    validate(spec)

    def change(transaction: Transaction) -> Job:
        return insert(transaction.connection, spec, by, now_us)

    return change


def update(name: str, spec: JobSpec, by: Principal, now_us: int, version: int | None = None) -> Change[Job]:
    """Give a job these properties and schedules; schedules that stay the same stay the same rows.

    Conflict when `version` is given and somebody else has changed the job since it was read.
    """
    require(by, "jobs.change")
    validate(spec)

    def change(transaction: Transaction) -> Job:
        connection = transaction.connection
        job = find(connection, name)
        if version is not None and version != job.version:
            raise Conflict(f"{name} was changed by somebody else meanwhile. Read it again and repeat the change.")
        if spec.name != name and jobs.by_name(connection, spec.name) is not None:
            raise Conflict(f"There is a job {spec.name} already. Choose another name.")
        columns = _columns(connection, spec, _place(connection, spec, now_us), name)
        values = columns | job_uses.columns(connection, job.id, spec)
        special_instances.check(connection, spec.special_instances, job.id)
        prerequisites.put(connection, job.id, values["prerequisites"])
        jobs.update(connection, job.id, **values, version=job.version + 1, updated_at_us=now_us)
        job_uses.note(connection, job.id, spec)
        _set_schedules(connection, job.id, spec.schedules, now_us)
        _set_members(connection, job.id, now_us)
        _set_watches(connection, job.id, spec, now_us)
        record(connection, by, now_us, "jobs.update", name, job, spec)
        return find(connection, spec.name)

    return change


def delete(name: str, by: Principal, now_us: int, reason: str = "") -> Change[None]:
    """Delete a job: its orders are taken back, open missed runs are dismissed, its runs stay.

    The name becomes free. Runs that wait for a gate are cancelled when it is lifted.
    """
    require(by, "jobs.change")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        job = find(connection, name)
        prerequisites.refuse_needed(connection, job.id, name)
        prerequisites.put(connection, job.id, Prerequisites())
        _set_schedules(connection, job.id, (), now_us)
        schedules.set_members(connection, job.id, (), now_us)
        missed.dismiss_of_job(connection, job.id, by.name, now_us)
        variable_rows.delete_of_job(connection, job.id)
        tags.put(connection, "job", job.id, ())
        jobs.update(
            connection,
            job.id,
            name=f"{name} (deleted {job.id})",
            deleted_at_us=now_us,
            updated_at_us=now_us,
            version=job.version + 1,
        )
        record(connection, by, now_us, "jobs.delete", name, job, "", reason)

    return change


def hold(name: str, by: Principal, now_us: int, reason: str = "") -> Change[bool]:
    """Hold a job: its due times are recorded as missed, runs on request wait. False when it was held already."""
    return _hold(name, True, by, now_us, reason)


def release(name: str, by: Principal, now_us: int, reason: str = "") -> Change[bool]:
    """Release a held job. False when it was not held."""
    return _hold(name, False, by, now_us, reason)


def find(connection: sqlite3.Connection, name: str) -> Job:
    """The job of that name that is not deleted; raises NotFound."""
    job = jobs.by_name(connection, name)
    if job is None:
        raise NotFound(f"There is no job {name}. See the list of jobs.")
    return job


def schedules_of(connection: sqlite3.Connection, job_id: int) -> list[When]:
    """A query: the schedules of a job as people say them."""
    names = calendars.names(connection)
    return [of_row(row, names) for row in schedules.of_job(connection, job_id)]


def of_row(row: ScheduleRow, calendar_names: Mapping[int, str]) -> When:
    """A schedule as people say it; `calendar_names` by id."""
    return of_rules(row.cron, row.zone, calendar_names.get(row.calendar_id or 0, ""), row.rules)


def validate(spec: JobSpec) -> None:
    """Raise Invalid naming every field that is wrong."""
    wrong: dict[str, str] = {}
    if not _NAME.match(spec.name):
        wrong["name"] = "must begin with a letter or digit and have up to 100 letters, digits, . _ -"
    if not spec.workflow and (not spec.command.strip() or "\0" in spec.command):
        wrong["command"] = "must not be empty or hold a NUL character"
    if not spec.workflow and bool(spec.agent) == bool(spec.group):
        wrong["agent"] = "give the agent or the group that runs it, and not both"
    if spec.misfire_policy not in POLICIES:
        wrong["misfire_policy"] = "must be one of " + ", ".join(POLICIES)
    for field in ("timeout_s", "output_bytes_max", "misfire_grace_s"):
        if not 0 <= getattr(spec, field) < 2**53:
            wrong[field] = "must not be negative"
    wrong |= wrong_tags(spec.tags) | wrong_limits(spec.limits)
    wrong |= wrong_give_up(spec.give_up_after_s, spec.may_run_twice)
    wrong |= wrong_retry(spec.retry) | wrong_exit_rules(spec.exit_rules) | wrong_job_monitors(spec.job_monitors)
    wrong |= wrong_checkpoints(spec.checkpoints) | job_workflows.wrong(spec)
    wrong |= wrong_special_instances(spec.special_instances)
    if any("=" in key or not key or "\0" in key + value for key, value in spec.environment.items()):
        wrong["environment"] = "names must not be empty or hold =, values must not hold NUL"
    if len(spec.schedules) > SCHEDULES_MAX:
        wrong["schedules"] = f"at most {SCHEDULES_MAX}"
    for number, when in enumerate(spec.schedules):
        wrong |= {f"schedules[{number}].{field}": text for field, text in when.wrong().items()}
    if wrong:
        said = "; ".join(f"{name} {text}" for name, text in wrong.items())
        raise Invalid(f"The job is not right: {said}. Correct it and try again.", fields=wrong)


def insert(connection: sqlite3.Connection, spec: JobSpec, by: Principal, now_us: int) -> Job:
    """Add a validated job inside the caller's change. Raises NotFound for its place, Conflict for its name."""
    agent_id = _place(connection, spec, now_us)
    if jobs.by_name(connection, spec.name) is not None:
        raise Conflict(f"There is a job {spec.name} already. Choose another name.")
    special_instances.check(connection, spec.special_instances)
    values = _columns(connection, spec, agent_id, spec.name) | job_uses.columns(connection, None, spec)
    job_id = jobs.insert(connection, **values, created_at_us=now_us, updated_at_us=now_us)
    job_uses.note(connection, job_id, spec)
    _set_schedules(connection, job_id, spec.schedules, now_us)
    _set_members(connection, job_id, now_us)
    _set_watches(connection, job_id, spec, now_us)
    prerequisites.put(connection, job_id, values["prerequisites"])
    record(connection, by, now_us, "jobs.create", spec.name, "", spec)
    return find(connection, spec.name)


def _columns(connection: sqlite3.Connection, spec: JobSpec, agent_id: str, name: str) -> dict[str, Any]:
    values = msgspec.structs.asdict(spec)
    for field in ("agent", "group", "schedules", "uses", "tags", "workflow"):
        del values[field]
    values |= {"agent_id": agent_id, "begins_workflow_id": job_workflows.id_of(connection, spec, name)}
    return {**values, "prerequisites": prerequisites.read(connection, spec.prerequisites)}


def _place(connection: sqlite3.Connection, spec: JobSpec, now_us: int) -> str:
    """The id of the agent or group that runs it; raises NotFound."""
    if spec.workflow:
        return job_workflow_rows.place(connection, now_us)
    return group_actions.find(connection, spec.group).id if spec.group else agents.find(connection, spec.agent).id


def _set_members(connection: sqlite3.Connection, job_id: int, now_us: int) -> None:
    """Give each member of an `all` group the job's schedules; take them from everybody else."""
    job = jobs.get(connection, job_id)
    group = groups.get(connection, job.agent_id) if job is not None and job.deleted_at_us is None else None
    members = groups.members(connection, group.id) if group is not None and group.policy == Policy.ALL else []
    schedules.set_members(connection, job_id, [member.agent_id for member in members], now_us)


def _set_watches(connection: sqlite3.Connection, job_id: int, spec: JobSpec, now_us: int) -> None:
    """What the outbox shall tell of the job's runs: only what one of its rules needs. Raises Invalid for lists."""
    for field in ("notify", "notify_failed"):
        unknown = notifications.missing(connection, getattr(spec.job_monitors, field))
        if unknown:
            why = (
                f"there is no notification list {unknown[0]}: understudy notification set {unknown[0]} --email ADDRESS"
            )
            raise Invalid(f"The job is not right: {why}.", fields={f"job_monitors.{field}": why})
    prerequisites.refuse_off(connection, job_id, spec.job_monitors.kinds)
    job_monitors.set_kinds(connection, job_id, spec.job_monitors.kinds, now_us)
    is_monitored = bool(spec.job_monitors.kinds or spec.job_monitors.notify_failed)
    for watcher, is_on in ((RETRIES, spec.retry.attempts_max > 1), (MONITORS, is_monitored)):
        change = happenings.watch if is_on else happenings.unwatch
        change(connection, Kind.RUN, job_id, watcher)
    if spec.checkpoints.restartable:  # other jobs are watched from their first checkpoint on
        happenings.watch(connection, Kind.RUN, job_id, checkpoints.WATCHER)


def _set_schedules(connection: sqlite3.Connection, job_id: int, wanted: Sequence[When], now_us: int) -> None:
    missing = [_meaning(connection, when) for when in wanted]
    for schedule in schedules.of_job(connection, job_id):
        said = schedules.meaning(schedule)
        if said in missing:
            missing.remove(said)
        else:
            schedules.delete(connection, schedule.id, now_us)
    for when in dict.fromkeys(missing):
        schedules.insert(connection, job_id, when, now_us)


def _meaning(connection: sqlite3.Connection, when: When) -> schedules.Meaning:
    """What a schedule to be says, with the id of its calendar; raises NotFound for that."""
    calendar = calendars.by_name(connection, when.calendar) if when.calendar else None
    if when.calendar and calendar is None:
        raise NotFound(f"There is no calendar {when.calendar}. `understudy calendar list` shows those there are.")
    return " ".join(when.cron.split()), when.zone, calendar.id if calendar else None, when.rules


def _hold(name: str, held: bool, by: Principal, now_us: int, reason: str) -> Change[bool]:
    require(by, "jobs.change")

    def change(transaction: Transaction) -> bool:
        connection = transaction.connection
        job = find(connection, name)
        if job.held == held:
            return False
        jobs.update(connection, job.id, held=int(held), version=job.version + 1, updated_at_us=now_us)
        action = "jobs.hold" if held else "jobs.release"
        record(connection, by, now_us, action, name, int(job.held), int(held), reason)
        return True

    return change
