"""Jobs, their versions and what of them is planned. Deleted jobs stay for the history of their runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from server.core.model import Job, Row
from server.storage import debts, rows, tenancy


class JobLine(Row, frozen=True, kw_only=True):
    """A row of the job list: the job, its agent's name, its schedules and its last run."""

    id: int
    name: str
    agent: str
    command: str
    held: bool
    description: str
    schedules: str
    last_run: int | None
    last_state: str | None
    last_ended_at_us: int | None
    tags: str = ""


_LINES = """
SELECT j.id, j.name, coalesce('workflow ' || w.name, a.name), j.command, j.held, j.description,
    coalesce((SELECT group_concat(s.cron || ' ' || s.zone, '; ') FROM schedules s
        WHERE s.job_id = j.id AND s.deleted_at_us IS NULL AND s.member_id = ''), ''),
    r.number, r.state, r.ended_at_us,
    coalesce((SELECT group_concat(tag, ' ') FROM tags WHERE kind = 'job' AND owner_id = j.id), '')
FROM jobs j JOIN agents a ON a.id = j.agent_id LEFT JOIN workflows w ON w.id = j.begins_workflow_id
LEFT JOIN runs r ON r.number = (SELECT max(number) FROM runs WHERE job_id = j.id)
WHERE j.deleted_at_us IS NULL AND j.workflow_id IS NULL AND j.name > ? AND instr(j.name, ?)
    AND (? = '' OR EXISTS (SELECT 1 FROM tags WHERE kind = 'job' AND owner_id = j.id AND tag = ?))
ORDER BY j.name LIMIT ?
"""


def get(connection: sqlite3.Connection, job_id: int) -> Job | None:
    """The job, deleted ones included."""
    return rows.first(connection, Job, "FROM jobs WHERE id = ?", (job_id,))


def by_name(connection: sqlite3.Connection, name: str) -> Job | None:
    """The job of that name that is not deleted, and that people made."""
    tail = "FROM jobs WHERE name = ? AND deleted_at_us IS NULL AND workflow_id IS NULL"
    return rows.first(connection, Job, tail, (tenancy.typed(connection, name),))


def has_name(connection: sqlite3.Connection, name: str) -> bool:
    """Whether any job has that name, deleted ones and those of workflows included."""
    return connection.execute("SELECT 1 FROM jobs WHERE name = ?", (name,)).fetchone() is not None


def page(connection: sqlite3.Connection, after: str = "", limit: int = 100, match: str = "") -> list[Job]:
    """Jobs that are not deleted, by name; `match` is a part of the name."""
    tail = (
        "FROM jobs WHERE deleted_at_us IS NULL AND workflow_id IS NULL AND name > ? AND instr(name, ?)"
        " ORDER BY name LIMIT ?"
    )
    return rows.every(connection, Job, tail, (after, match, limit))


def lines(
    connection: sqlite3.Connection, after: str = "", limit: int = 100, match: str = "", tag: str = ""
) -> list[JobLine]:
    """The job list with agent, schedules and last run, by name; `tag`: those that have it."""
    found = connection.execute(_LINES, (after, match, tag, tag, limit))
    return [rows.build(JobLine, JobLine.__struct_fields__, tuple(row)) for row in found]


def to_plan(connection: sqlite3.Connection, limit: int = 200) -> list[int]:
    """Ids of jobs, deleted ones included, whose standing orders do not reflect their version yet."""
    found = connection.execute("SELECT id FROM jobs WHERE version != planned_version ORDER BY id LIMIT ?", (limit,))
    return [int(row[0]) for row in found]


def count(connection: sqlite3.Connection) -> int:
    """Jobs that are not deleted."""
    return rows.number(connection, "SELECT count(*) FROM jobs WHERE deleted_at_us IS NULL AND workflow_id IS NULL")


def of_agent(connection: sqlite3.Connection, agent_id: str) -> list[Job]:
    """Jobs bound to an agent, or to a group, that are not deleted."""
    tail = "FROM jobs WHERE agent_id = ? AND deleted_at_us IS NULL AND workflow_id IS NULL ORDER BY id"
    return rows.every(connection, Job, tail, (agent_id,))


def count_of_agent(connection: sqlite3.Connection, agent_id: str) -> int:
    """How many jobs are bound to an agent, or to a group."""
    query = "SELECT count(*) FROM jobs WHERE agent_id = ? AND deleted_at_us IS NULL AND workflow_id IS NULL"
    return rows.number(connection, query, (agent_id,))


def insert(connection: sqlite3.Connection, **values: object) -> int:
    """Add a job by columns and return its id; what is not given has the table's default."""
    return rows.insert(connection, "jobs", {**debts.next_id(connection, "jobs"), **values})


def update(connection: sqlite3.Connection, job_id: int, **values: object) -> None:
    """Set columns of one job by name."""
    rows.update(connection, "jobs", values, {"id": job_id})


def mark_planned(connection: sqlite3.Connection, job_id: int, version: int) -> None:
    """The standing orders reflect `version` of the job."""
    rows.update(connection, "jobs", {"planned_version": version}, {"id": job_id})


UNPLANNED = "UPDATE jobs SET planned_version = min(planned_version, 0) - 1"
"""Each mark is another number: a plan made from what was read before it is not current (`actions.orders.put_plans`)."""


def mark_unplanned(connection: sqlite3.Connection, job_id: int) -> None:
    """Plan the job again: an order of it was released, or its agent changed."""
    connection.execute(f"{UNPLANNED} WHERE id = ?", (job_id,))


def mark_agent_unplanned(connection: sqlite3.Connection, agent_id: str) -> None:
    """Plan all jobs of an agent again: it was declared dead, or taken back."""
    connection.execute(f"{UNPLANNED} WHERE agent_id = ? AND deleted_at_us IS NULL", (agent_id,))


def move_agent(connection: sqlite3.Connection, old_id: str, new_id: str, now_us: int) -> int:
    """Bind all jobs of one agent to another, to be planned again; return how many."""
    query = "UPDATE jobs SET agent_id = ?, version = version + 1, updated_at_us = ? WHERE agent_id = ?"
    return connection.execute(query, (new_id, now_us, old_id)).rowcount


def touch(connection: sqlite3.Connection, job_ids: Iterable[int], now_us: int) -> None:
    """Something that these jobs share has changed: they are planned again."""
    query = "UPDATE jobs SET version = version + 1, updated_at_us = ? WHERE id = ?"
    connection.executemany(query, [(now_us, job_id) for job_id in job_ids])
