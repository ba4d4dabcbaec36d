"""The ledger of what did not start: one row per occurrence, for ever."""

from __future__ import annotations

import sqlite3

from server.core.model import Missed, Row
from server.storage import rows


class MissedLine(Row, frozen=True, kw_only=True):
    """A row of the missed list, with the job's name."""

    id: int
    job_id: int
    job: str
    schedule_id: int
    scheduled_for_us: int
    cause: str
    recorded_at_us: int
    resolution: str
    resolved_by: str
    resolved_at_us: int | None


def get(connection: sqlite3.Connection, missed_id: int) -> Missed | None:
    """One row of the ledger."""
    return rows.first(connection, Missed, "FROM missed WHERE id = ?", (missed_id,))


def of_occurrence(connection: sqlite3.Connection, schedule_id: int, at_us: int) -> Missed | None:
    """The row of one occurrence."""
    tail = "FROM missed WHERE schedule_id = ? AND scheduled_for_us = ?"
    return rows.first(connection, Missed, tail, (schedule_id, at_us))


def record(
    connection: sqlite3.Connection,
    job_id: int,
    schedule_id: int,
    at_us: int,
    cause: str,
    now_us: int,
    beside_run: bool = False,
) -> bool:
    """Add an open row; False when that occurrence has a row or a run already, and then nothing changes.

    `beside_run`: its run is itself the one that was missed, after it had waited.
    """
    query = (
        "INSERT INTO missed (job_id, schedule_id, scheduled_for_us, cause, recorded_at_us)"
        " SELECT :job, :schedule, :at, :cause, :now WHERE :beside OR NOT EXISTS"
        " (SELECT 1 FROM runs WHERE schedule_id = :schedule AND scheduled_for_us = :at)"
        " ON CONFLICT (schedule_id, scheduled_for_us) DO NOTHING"
    )
    values = {"job": job_id, "schedule": schedule_id, "at": at_us, "cause": cause, "now": now_us, "beside": beside_run}
    return connection.execute(query, values).rowcount == 1


def resolve(connection: sqlite3.Connection, missed_id: int, resolution: str, by: str, now_us: int) -> bool:
    """Close an open row as run, dismissed or policy; False when it was closed already."""
    query = "UPDATE missed SET resolution = ?, resolved_by = ?, resolved_at_us = ? WHERE id = ? AND resolution = ''"
    return connection.execute(query, (resolution, by, now_us, missed_id)).rowcount == 1


def resolve_by_run(connection: sqlite3.Connection, schedule_id: int, at_us: int, by: str, now_us: int) -> bool:
    """A run of the occurrence turned up: its row says so, also one that a policy or an exception had closed.

    False without such a row.
    """
    query = (
        "UPDATE missed SET resolution = 'run', resolved_by = ?, resolved_at_us = ?"
        " WHERE schedule_id = ? AND scheduled_for_us = ? AND resolution IN ('', 'policy')"
    )
    return connection.execute(query, (by, now_us, schedule_id, at_us)).rowcount == 1


def dismiss_of_job(connection: sqlite3.Connection, job_id: int, by: str, now_us: int) -> int:
    """Dismiss every open row of all schedules a job ever had; return how many."""
    query = (
        "UPDATE missed SET resolution = 'dismissed', resolved_by = ?, resolved_at_us = ?"
        " WHERE resolution = '' AND schedule_id IN (SELECT id FROM schedules WHERE job_id = ?)"
    )
    return connection.execute(query, (by, now_us, job_id)).rowcount


def dismiss_of_schedule(connection: sqlite3.Connection, schedule_id: int, by: str, now_us: int) -> int:
    """Dismiss every open row of one schedule; return how many."""
    query = (
        "UPDATE missed SET resolution = 'dismissed', resolved_by = ?, resolved_at_us = ?"
        " WHERE resolution = '' AND schedule_id = ?"
    )
    return connection.execute(query, (by, now_us, schedule_id)).rowcount


def open_rows(
    connection: sqlite3.Connection, after: int = 0, limit: int = 200, job_id: int = 0, cause: str = ""
) -> list[Missed]:
    """Open rows, by id above `after`; of one job or cause when given."""
    values = {"after": after, "limit": limit, "job": job_id, "cause": cause}
    tail = f"FROM missed m WHERE resolution = '' AND id > :after{_which(job_id, cause)} ORDER BY id LIMIT :limit"
    return rows.every(connection, Missed, tail, values)


def open_of_schedule(connection: sqlite3.Connection, schedule_id: int, limit: int = 1000) -> list[Missed]:
    """Open rows of one schedule, the latest occurrence first."""
    tail = "FROM missed WHERE schedule_id = ? AND resolution = '' ORDER BY scheduled_for_us DESC LIMIT ?"
    return rows.every(connection, Missed, tail, (schedule_id, limit))


def next_open_schedule(connection: sqlite3.Connection, after: int, since_id: int = 0) -> int | None:
    """The lowest schedule above `after` with an open row; of the rows with an id above `since_id` when given."""
    query = "SELECT min(schedule_id) FROM missed WHERE resolution = '' AND schedule_id > ?"
    if since_id:
        query += " AND id > ?"
    row = connection.execute(query, (after, since_id) if since_id else (after,)).fetchone()
    return None if row[0] is None else int(row[0])


def newest_id(connection: sqlite3.Connection) -> int:
    """The id of the newest row, 0 without any."""
    return rows.number(connection, "SELECT max(id) FROM missed")


def count_open(connection: sqlite3.Connection, job_id: int = 0, cause: str = "") -> int:
    """How many rows wait for a decision; of one job or cause when given."""
    query = f"SELECT count(*) FROM missed m WHERE resolution = ''{_which(job_id, cause)}"
    return rows.number(connection, query, {"job": job_id, "cause": cause})


def open_causes(connection: sqlite3.Connection, limit: int = 50) -> dict[str, int]:
    """How many rows are open, by cause; the most first."""
    query = "SELECT cause, count(*) FROM missed WHERE resolution = '' GROUP BY cause ORDER BY 2 DESC, 1 LIMIT ?"
    return {str(cause): int(count) for cause, count in connection.execute(query, (limit,))}


def _which(job_id: int, cause: str) -> str:
    return (" AND m.job_id = :job" if job_id else "") + (" AND m.cause = :cause" if cause else "")


def page(
    connection: sqlite3.Connection,
    after: int | None = None,
    limit: int = 100,
    only_open: bool = True,
    job_id: int = 0,
    cause: str = "",
) -> list[MissedLine]:
    """The missed list, newest first, going on below id `after`; of one job or cause when given."""
    query = (
        "SELECT m.id, m.job_id, j.name, m.schedule_id, m.scheduled_for_us, m.cause, m.recorded_at_us,"
        " m.resolution, m.resolved_by, m.resolved_at_us FROM missed m JOIN jobs j ON j.id = m.job_id"
        " WHERE m.id < :after" + (" AND m.resolution = ''" if only_open else "") + _which(job_id, cause)
    )
    values = {"after": after if after is not None else 2**62, "limit": limit, "job": job_id, "cause": cause}
    found = connection.execute(f"{query} ORDER BY m.id DESC LIMIT :limit", values)
    return [rows.build(MissedLine, MissedLine.__struct_fields__, tuple(row)) for row in found]
