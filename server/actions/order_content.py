"""What versions of standing orders say: the first one, and the exceptions that each names. Inside a caller's change."""

from __future__ import annotations

import sqlite3

from server.core import planning
from server.core.model import Job, Order, Specification
from server.core.occurrence_exceptions import OccurrenceException
from server.storage import exceptions, specifications


def first(
    step: planning.Give,
    job: Job,
    specification: Specification,
    by_master: bool,
    exceptions: list[OccurrenceException],
    now_us: int,
) -> Order:
    """The first version of an order; its `id` is for the row to give."""
    moved_us = [one.start_us for one in exceptions if by_master and one.moved_to_us is not None]
    return Order(
        id=0,
        schedule_id=step.schedule.id,
        job_id=job.id,
        agent_id=planning.holder(job, step.schedule),
        version=1,
        state="active",
        valid_from_us=now_us,
        valid_until_us=step.content.valid_until_us,
        instants=step.content.spans,
        specification=specification,
        acknowledged_version=int(by_master),
        accounted_until_us=now_us,
        renew_at_us=step.content.renew_at_us,
        next_instant_us=min([step.content.next_instant_us, *moved_us]),
        suppressed=step.suppressed,
        exceptions=exceptions,
        by_master=by_master,
    )


def told(
    connection: sqlite3.Connection, job: Job, schedule_id: int, suppressed: str, now_us: int
) -> list[OccurrenceException]:
    """The exceptions that a version names: none while the master itself lets nothing of it start."""
    if suppressed:
        return []
    found = exceptions.open_of_schedule(connection, schedule_id, now_us - planning.PAST_US)
    return [specifications.told(connection, job, one.as_told()) for one in found]
