"""The runs that an event begins through the master, or that it shall not begin (SKY-16). Inside the caller's change.

By the program itself: for `actions.monitors`, which fires, and `actions.events`, which takes what agents report.
"""

from __future__ import annotations

import sqlite3

from server.actions import runs as run_actions
from server.core.gates import SCHEDULER_STOPPED, Verdict, on_occurrence
from server.core.groups import Policy
from server.core.model import Job
from server.core.monitors import Event, Monitor
from server.core.run_keys import event_key
from server.core.tenancy import tenant_of
from server.storage import agents, gates, groups, jobs, runs

GONE = "its machine was declared dead or replaced"
NO_MEMBERS = "its group has no members"
STILL_RUNNING = "still running"


def submit(connection: sqlite3.Connection, monitor: Monitor, event: Event, job_id: int, now_us: int) -> None:
    """Submit a job's run for an event: once, one for each member of an `all` group, none of a deleted job.

    What cannot be submitted at all is on record as missed: an event that happened is never refused. After a loss the
    agent that ran it may have been heard before the one that watches: that is its run.
    """
    job = jobs.get(connection, job_id)
    if job is None or job.deleted_at_us is not None:
        return
    asked = _members(connection, job)
    if not asked:
        suppress(connection, monitor, event, job, NO_MEMBERS)
    for member in asked:
        key = event_key(job.id, monitor.id, event.token, member=member)
        known = runs.by_key(connection, key)
        if known is not None:
            runs.update(connection, known.number, event_id=event.id)
        elif agents.is_gone(connection, member or job.agent_id):
            suppress(connection, monitor, event, job, GONE, member)
        elif cause := _missed(connection, job, member or job.agent_id):
            suppress(connection, monitor, event, job, cause, member)
        else:
            by = event.fired_by or f"event {monitor.name}"
            run_actions.submit(connection, job, key, by, now_us, member, event_id=event.id)


def suppress(
    connection: sqlite3.Connection, monitor: Monitor, event: Event, job: Job, cause: str, member: str = ""
) -> None:
    """A run that did not begin: on record with its cause, to be run again by a person (docs/decisions/0085)."""
    key = event_key(job.id, monitor.id, event.token, member=member)
    if runs.by_key(connection, key) is None:
        runs.insert(
            connection,
            key,
            job.id,
            member or job.agent_id,
            job.command,
            "skipped" if cause == STILL_RUNNING else "missed",
            event.at_us,
            reason=cause,
            requested_by=event.fired_by or f"event {monitor.name}",
            ended_at_us=event.at_us,
            event_id=event.id,
        )


def _missed(connection: sqlite3.Connection, job: Job, agent_id: str) -> str:
    """Why what falls due there is missed, or ""; a stopped scheduler holds back no event that a person fires."""
    kinds = [gate.kind for gate in gates.for_agent(connection, agent_id) if gate.kind != SCHEDULER_STOPPED]
    verdict, cause = on_occurrence(kinds, tenant_of(job.name))
    return cause if verdict is Verdict.MISS else ""


def _members(connection: sqlite3.Connection, job: Job) -> list[str]:
    """The members that are each asked for a run; [""] for one run wherever the job runs; [] for an empty group."""
    group = groups.get(connection, job.agent_id)
    if group is None or group.policy != Policy.ALL:
        return [""]
    return [member.agent_id for member in groups.members(connection, group.id)]
