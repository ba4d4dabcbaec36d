"""Special instances of jobs: checked, found for an occurrence, and told to agents. Parts of other changes."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from server.core.local_time import BadSchedule
from server.core.model import Job, Run, Schedule, Specification
from server.core.special_instances import VARIABLE, SpecialInstance, applied, name_at
from server.core.special_instances import find as find_instance
from server.errors import Conflict, Invalid, NotFound
from server.storage import calendars, exceptions, prerequisites, specifications


def check(connection: sqlite3.Connection, wanted: Sequence[SpecialInstance], job_id: int = 0) -> None:
    """Raise Invalid for a calendar that there is not, Conflict when others wait for one that would be gone."""
    for one in wanted:
        if one.calendar and calendars.by_name(connection, one.calendar) is None:
            said = f"{one.name}: there is no calendar {one.calendar}; `understudy calendar list` shows those there are"
            raise Invalid(f"The job is not right: {said}.", fields={"special_instances": said})
    names = {one.name for one in wanted}
    for waiting, during in prerequisites.during(connection, job_id) if job_id else ():
        if during not in names:
            raise Conflict(
                f"{waiting} waits for the special instance {during}. Change that first, for example: "
                f"understudy job update {waiting} --after ''"
            )


def find(job: Job, name: str) -> None:
    """Raise NotFound when the job has no special instance of that name; "" is none."""
    if name and find_instance(job.special_instances, name) is None:
        there = ", ".join(one.name for one in job.special_instances) or "none"
        raise NotFound(f"{job.name} has no special instance {name}. It has: {there}.")


def of_occurrence(connection: sqlite3.Connection, job: Job, schedule: Schedule | None, at_us: int) -> str:
    """Which special instance the occurrence is, "" for none: by the day of its instant, also when it is moved."""
    if schedule is None or not job.special_instances:
        return ""
    try:
        return name_at(job.special_instances, schedule.timing, at_us, lambda name: calendars.marks(connection, name))
    except BadSchedule:
        return ""


def specification(connection: sqlite3.Connection, job: Job, run: Run) -> Specification:
    """What the agent is told of a run: the command that it was made with, and what its instance and exception add."""
    found = specifications.of_job(connection, applied(job, run.instance), run.agent_id)
    more = {VARIABLE: run.instance} if run.instance else {}
    if run.schedule_id is not None and run.scheduled_for_us is not None:
        special = exceptions.of_occurrence(connection, run.schedule_id, run.scheduled_for_us)
        more |= specifications.environment(connection, job, (special.environment if special else None) or {})
    return msgspec.structs.replace(found, command=run.command, environment={**found.environment, **more})
