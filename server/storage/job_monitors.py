"""Job monitors, what they are to look at and when, and what they found."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from server.core.model import Order, Run
from server.core.monitor_watches import JobMonitor, Trip, Watch
from server.storage import happenings, rows


def of_job(connection: sqlite3.Connection, job_id: int) -> list[JobMonitor]:
    """The monitors of a job that are on."""
    return rows.every(
        connection, JobMonitor, "FROM job_monitors WHERE job_id = ? AND deleted_at_us IS NULL ORDER BY id", (job_id,)
    )


def get(connection: sqlite3.Connection, monitor_id: int) -> JobMonitor | None:
    """The monitor, also one that is off."""
    return rows.first(connection, JobMonitor, "FROM job_monitors WHERE id = ?", (monitor_id,))


def of_kind(connection: sqlite3.Connection, job_id: int, kind: str) -> JobMonitor | None:
    """A job's monitor of that label, while it is on: what a prerequisite names."""
    tail = "FROM job_monitors WHERE job_id = ? AND kind = ? AND deleted_at_us IS NULL"
    return rows.first(connection, JobMonitor, tail, (job_id, kind))


def of_run(connection: sqlite3.Connection, monitor_id: int, key: str) -> Trip | None:
    """What the monitor found of any attempt of the run with that key."""
    stem = key.rpartition(".a")[0]
    tail = "FROM job_monitor_trips WHERE monitor_id = ? AND run_key >= ? AND run_key < ? LIMIT 1"
    return rows.first(connection, Trip, tail, (monitor_id, f"{stem}.a", f"{stem}.b"))


def get_trip(connection: sqlite3.Connection, trip_id: int) -> Trip | None:
    """One trip."""
    return rows.first(connection, Trip, "FROM job_monitor_trips WHERE id = ?", (trip_id,))


def watch_of(connection: sqlite3.Connection, monitor_id: int, key: str) -> Watch | None:
    """What the monitor is still to look at of the occurrence with that key."""
    tail = "FROM job_monitor_watches WHERE monitor_id = ? AND run_key = ?"
    return rows.first(connection, Watch, tail, (monitor_id, f"{key.rpartition('.a')[0]}.a1"))


def set_kinds(connection: sqlite3.Connection, job_id: int, kinds: Iterable[str], now_us: int) -> None:
    """Switch these on and all others off; one that was on before keeps its id."""
    wanted = set(kinds)
    for kind in sorted(wanted):
        connection.execute(
            "INSERT INTO job_monitors (job_id, kind) VALUES (?, ?)"
            " ON CONFLICT (job_id, kind) DO UPDATE SET deleted_at_us = NULL",
            (job_id, kind),
        )
    for monitor in of_job(connection, job_id):
        if monitor.kind not in wanted:
            rows.update(connection, "job_monitors", {"deleted_at_us": now_us}, {"id": monitor.id})
            connection.execute("DELETE FROM job_monitor_watches WHERE monitor_id = ?", (monitor.id,))


def put_watch(connection: sqlite3.Connection, watch: Watch) -> None:
    """Look then; a watch that is there already stays as it is."""
    connection.execute(
        "INSERT OR IGNORE INTO job_monitor_watches (monitor_id, run_key, schedule_id, instant_us, due_us, is_ahead)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (watch.monitor_id, watch.run_key, watch.schedule_id, watch.instant_us, watch.due_us, int(watch.is_ahead)),
    )


def postpone(connection: sqlite3.Connection, watch: Watch, due_us: int) -> None:
    """Look later; its instant has come."""
    where = {"monitor_id": watch.monitor_id, "run_key": watch.run_key}
    rows.update(connection, "job_monitor_watches", {"due_us": due_us, "is_ahead": 0}, where)


def drop_watch(connection: sqlite3.Connection, monitor_id: int, run_key: str) -> None:
    """There is nothing to look at any more."""
    connection.execute("DELETE FROM job_monitor_watches WHERE monitor_id = ? AND run_key = ?", (monitor_id, run_key))


def drop_ahead(connection: sqlite3.Connection, job_id: int, now_us: int) -> None:
    """Expect nothing of a job's schedules that is to come; what is due already stays."""
    query = (
        "DELETE FROM job_monitor_watches WHERE is_ahead = 1 AND instant_us > ?"
        " AND monitor_id IN (SELECT id FROM job_monitors WHERE job_id = ?)"
    )
    connection.execute(query, (now_us, job_id))


def scheduled(connection: sqlite3.Connection, job_id: int) -> list[int]:
    """Schedules of a job that have an order in force."""
    query = "SELECT DISTINCT schedule_id FROM orders WHERE job_id = ? AND state = 'active' ORDER BY schedule_id"
    return [int(row[0]) for row in connection.execute(query, (job_id,))]


def next_due_us(connection: sqlite3.Connection) -> int | None:
    """When the next monitor is to look."""
    row = connection.execute("SELECT min(due_us) FROM job_monitor_watches").fetchone()
    return None if row[0] is None else int(row[0])


def due(connection: sqlite3.Connection, now_us: int, limit: int = 200) -> list[Watch]:
    """What is to be looked at by now, the earliest first."""
    return rows.every(
        connection, Watch, "FROM job_monitor_watches WHERE due_us <= ? ORDER BY due_us LIMIT ?", (now_us, limit)
    )


def order_of(connection: sqlite3.Connection, schedule_id: int) -> Order | None:
    """The order in force of a schedule: its instants to come."""
    tail = "FROM orders WHERE schedule_id = ? AND state = 'active' ORDER BY id DESC LIMIT 1"
    return rows.first(connection, Order, tail, (schedule_id,))


def attempts(connection: sqlite3.Connection, key: str) -> list[Run]:
    """All attempts of the occurrence or request that the key names, the first one first."""
    stem = key.rpartition(".a")[0]
    return rows.every(
        connection, Run, "FROM runs WHERE key >= ? AND key < ? ORDER BY number LIMIT 100", (f"{stem}.a", f"{stem}.b")
    )


def trip(
    connection: sqlite3.Connection, monitor: JobMonitor, key: str, run: int | None, text: str, at_us: int
) -> int | None:
    """Write down what a monitor found, and tell the outbox; None when it is known already."""
    cursor = connection.execute(
        "INSERT OR IGNORE INTO job_monitor_trips (monitor_id, run_key, job_id, kind, run, at_us, text)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (monitor.id, key, monitor.job_id, monitor.kind, run, at_us, text),
    )
    if cursor.rowcount == 0:
        return None
    number = int(cursor.lastrowid or 0)
    happenings.happened(connection, "monitor", monitor.id, number, monitor.kind, at_us)
    return number


def trips(
    connection: sqlite3.Connection,
    job_id: int | None = None,
    run_key: str = "",
    after: int | None = None,
    limit: int = 100,
) -> list[Trip]:
    """What monitors found, the newest first, going on below id `after`; of one job, or of all attempts of a run."""
    conditions, values = ["id < ?"], [after if after is not None else 2**62]
    filters: list[object] = [*values]
    if job_id is not None:
        conditions.append("job_id = ?")
        filters.append(job_id)
    if run_key:
        stem = run_key.rpartition(".a")[0]
        conditions.append("run_key >= ? AND run_key < ?")
        filters += [f"{stem}.a", f"{stem}.b"]
    tail = f"FROM job_monitor_trips WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT ?"
    return rows.every(connection, Trip, tail, (*filters, limit))
