"""What is known of the conditions that jobs wait for: one row for each, found by its source."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

import msgspec

from server.core.job_monitors import slug
from server.core.model import Row
from server.core.prerequisites import Condition, Prerequisites
from server.storage import rows


class ConditionRow(Row, frozen=True, kw_only=True):
    """A condition of a job. subject: the run, event or trip whose `status` counted last, since `since_us`."""

    job_id: int
    number: int
    kind: str
    source_id: int
    met: bool = False
    status: str = ""
    subject: int = 0
    since_us: int = 0


_OF_JOB = "FROM prerequisite_conditions WHERE job_id = ? ORDER BY number"


def of_job(connection: sqlite3.Connection, job_id: int) -> list[ConditionRow]:
    """The conditions of a job, by number."""
    return rows.every(connection, ConditionRow, _OF_JOB, (job_id,))


def met(connection: sqlite3.Connection, job_id: int) -> set[int]:
    """The numbers of those that are met."""
    return {row.number for row in of_job(connection, job_id) if row.met}


def of_source(connection: sqlite3.Connection, kind: str, source_id: int) -> list[ConditionRow]:
    """The conditions that wait for a source, by job."""
    tail = "FROM prerequisite_conditions WHERE kind = ? AND source_id = ? ORDER BY job_id, number"
    return rows.every(connection, ConditionRow, tail, (kind, source_id))


def sources(connection: sqlite3.Connection, job_id: int) -> set[int]:
    """The jobs that a job waits for, also for a monitor of theirs."""
    query = (
        "SELECT source_id FROM prerequisite_conditions WHERE job_id = :job AND kind = 'run' UNION"
        " SELECT m.job_id FROM prerequisite_conditions c JOIN job_monitors m ON m.id = c.source_id"
        " WHERE c.job_id = :job AND c.kind = 'monitor'"
    )
    return {int(row[0]) for row in connection.execute(query, {"job": job_id})}


def dependents(connection: sqlite3.Connection, kind: str, source_id: int) -> list[str]:
    """The names of the jobs that wait for a source."""
    query = (
        "SELECT DISTINCT j.name FROM prerequisite_conditions c JOIN jobs j ON j.id = c.job_id"
        " WHERE c.kind = ? AND c.source_id = ? AND j.deleted_at_us IS NULL ORDER BY j.name"
    )
    return [str(row[0]) for row in connection.execute(query, (kind, source_id))]


def during(connection: sqlite3.Connection, source_id: int) -> list[tuple[str, str]]:
    """(job, special instance) of each condition of other jobs that is met by such a run of the job only."""
    waiting = connection.execute(
        "SELECT DISTINCT j.name, j.prerequisites FROM prerequisite_conditions c JOIN jobs j ON j.id = c.job_id"
        " WHERE c.kind = 'run' AND c.source_id = ? AND j.deleted_at_us IS NULL ORDER BY j.name",
        (source_id,),
    )
    return [
        (str(name), one.during)
        for name, text in waiting
        for one in msgspec.json.decode(text, type=Prerequisites).conditions()
        if one.during and (one.kind, one.source_id) == ("run", source_id)
    ]


def replace(connection: sqlite3.Connection, job_id: int, conditions: Iterable[tuple[Condition, ConditionRow]]) -> None:
    """Set the conditions of a job, each with what is known of it."""
    connection.execute("DELETE FROM prerequisite_conditions WHERE job_id = ?", (job_id,))
    for condition, known in conditions:
        values = {"job_id": job_id, "number": condition.number, "kind": condition.kind}
        values |= {"source_id": condition.source_id, "met": int(known.met), "status": known.status}
        values |= {"subject": known.subject, "since_us": known.since_us}
        rows.insert(connection, "prerequisite_conditions", values)


def put(connection: sqlite3.Connection, row: ConditionRow) -> None:
    """Write what is known of one condition."""
    values = {"met": int(row.met), "status": row.status, "subject": row.subject, "since_us": row.since_us}
    rows.update(connection, "prerequisite_conditions", values, {"job_id": row.job_id, "number": row.number})


def clear(connection: sqlite3.Connection, job_id: int, numbers: Iterable[int]) -> None:
    """These conditions are not met any more; which run or event met them last stays known: it counts once."""
    for number in numbers:
        rows.update(connection, "prerequisite_conditions", {"met": 0}, {"job_id": job_id, "number": number})


def names(connection: sqlite3.Connection, kind: str, source_ids: Iterable[int]) -> dict[int, str]:
    """The names of sources of one kind, deleted ones included; of a job monitor `JOB/KIND`, or `JOB/KIND/NAME`."""
    if kind == "monitor":
        return {source_id: _monitor_name(connection, source_id) for source_id in source_ids}
    table = {"run": "jobs", "workflow": "workflows", "event": "monitors"}.get(kind)
    found = {}
    for source_id in source_ids if table else ():
        row = connection.execute(f"SELECT name FROM {table} WHERE id = ?", (source_id,)).fetchone()
        found[source_id] = str(row[0]) if row is not None else f"{kind} {source_id}"
    return found


def _monitor_name(connection: sqlite3.Connection, monitor_id: int) -> str:
    query = "SELECT j.name, m.kind FROM job_monitors m JOIN jobs j ON j.id = m.job_id WHERE m.id = ?"
    row = connection.execute(query, (monitor_id,)).fetchone()
    return f"{row[0]}/{slug(row[1])}" if row is not None else f"monitor {monitor_id}"
