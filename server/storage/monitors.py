"""Event monitors with the jobs that react to them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from server.core.model import Job, Row
from server.core.monitors import Monitor, Settings
from server.storage import rows, tenancy


class MonitorLine(Row, frozen=True, kw_only=True):
    """A row of the list: the monitor, its agent's name, the jobs that react, and its last event."""

    JSON = frozenset({"settings"})

    id: int
    name: str
    agent_id: str
    agent: str
    kind: str
    settings: Settings
    enabled: bool
    description: str
    version: int
    acknowledged_version: int
    problem: str
    jobs: str
    last_event: int | None
    last_at_us: int | None


_LINES = """
SELECT m.id, m.name, m.agent_id, a.name, m.kind, m.settings, m.enabled, m.description, m.version,
    m.acknowledged_version, m.problem,
    coalesce((SELECT group_concat(j.name, ', ') FROM reactions r JOIN jobs j ON j.id = r.job_id
        WHERE r.monitor_id = m.id AND j.deleted_at_us IS NULL), ''),
    e.id, e.at_us
FROM monitors m JOIN agents a ON a.id = m.agent_id
LEFT JOIN events e ON e.id = (SELECT max(id) FROM events WHERE monitor_id = m.id)
WHERE m.deleted_at_us IS NULL
"""


def get(connection: sqlite3.Connection, monitor_id: int) -> Monitor | None:
    """The monitor, deleted ones included."""
    return rows.first(connection, Monitor, "FROM monitors WHERE id = ?", (monitor_id,))


def by_name(connection: sqlite3.Connection, name: str) -> Monitor | None:
    """The monitor of that name that is not deleted."""
    return rows.first(
        connection,
        Monitor,
        "FROM monitors WHERE name = ? AND deleted_at_us IS NULL",
        (tenancy.typed(connection, name),),
    )


def lines(connection: sqlite3.Connection, after: str = "", limit: int = 100, match: str = "") -> list[MonitorLine]:
    """The list by name, going on above `after`; `match` is a part of the name."""
    tail = " AND m.name > ? AND instr(m.name, ?) ORDER BY m.name LIMIT ?"
    return _lines(connection, tail, (after, match, limit))


def line(connection: sqlite3.Connection, monitor_id: int) -> MonitorLine | None:
    """One row of the list; None for a deleted monitor too."""
    found = _lines(connection, " AND m.id = ?", (monitor_id,))
    return found[0] if found else None


def lines_of_job(connection: sqlite3.Connection, job_id: int, limit: int = 100) -> list[MonitorLine]:
    """Monitors to which a job reacts, by name."""
    tail = " AND m.id IN (SELECT monitor_id FROM reactions WHERE job_id = ?) ORDER BY m.name LIMIT ?"
    return _lines(connection, tail, (job_id, limit))


def lines_of_agent(connection: sqlite3.Connection, agent_id: str, limit: int = 200) -> list[MonitorLine]:
    """The monitors of an agent, disabled ones included, by name."""
    return _lines(connection, " AND m.agent_id = ? ORDER BY m.name LIMIT ?", (agent_id, limit))


def of_agent(connection: sqlite3.Connection, agent_id: str, limit: int = 1000) -> list[Monitor]:
    """Monitors that an agent is to watch, by id."""
    tail = "FROM monitors WHERE agent_id = ? AND enabled AND deleted_at_us IS NULL ORDER BY id LIMIT ?"
    return rows.every(connection, Monitor, tail, (agent_id, limit))


def count_of_agent(connection: sqlite3.Connection, agent_id: str) -> int:
    """Monitors of an agent that are not deleted."""
    query = "SELECT count(*) FROM monitors WHERE agent_id = ? AND deleted_at_us IS NULL"
    return rows.number(connection, query, (agent_id,))


def unacknowledged(connection: sqlite3.Connection, agent_id: str, limit: int = 200) -> list[Monitor]:
    """Monitors of an agent whose present version it has not acknowledged: what the fleet brings, by id."""
    tail = "FROM monitors WHERE agent_id = ? AND acknowledged_version != version ORDER BY id LIMIT ?"
    return rows.every(connection, Monitor, tail, (agent_id, limit))


def jobs_of(connection: sqlite3.Connection, monitor_id: int) -> list[Job]:
    """The jobs that react, deleted ones excluded, by id."""
    tail = (
        "FROM jobs WHERE deleted_at_us IS NULL AND id IN (SELECT job_id FROM reactions WHERE monitor_id = ?)"
        " ORDER BY id"
    )
    return rows.every(connection, Job, tail, (monitor_id,))


def insert(connection: sqlite3.Connection, **values: object) -> int:
    """Add a monitor by columns and return its id."""
    return rows.insert(connection, "monitors", values)


def update(connection: sqlite3.Connection, monitor_id: int, **values: object) -> None:
    """Set columns of one monitor by name."""
    rows.update(connection, "monitors", values, {"id": monitor_id})


def acknowledge(connection: sqlite3.Connection, monitor_id: int, agent_id: str, version: int) -> None:
    """The agent holds this version; one that is not the present version changes nothing."""
    values = {"id": monitor_id, "agent_id": agent_id, "version": version}
    rows.update(connection, "monitors", {"acknowledged_version": version}, values)


def set_jobs(connection: sqlite3.Connection, monitor_id: int, job_ids: Iterable[int]) -> None:
    """These jobs react from now on, and no others."""
    connection.execute("DELETE FROM reactions WHERE monitor_id = ?", (monitor_id,))
    for job_id in job_ids:
        connection.execute("INSERT OR IGNORE INTO reactions VALUES (?, ?)", (monitor_id, job_id))


def move_agent(connection: sqlite3.Connection, old_id: str, new_id: str, now_us: int) -> int:
    """A machine was replaced: each of its monitors begins anew as another one on the new machine; return how many."""
    tail = "FROM monitors WHERE agent_id = ? AND deleted_at_us IS NULL ORDER BY id"
    moved = rows.every(connection, Monitor, tail, (old_id,))
    for old in moved:
        update(connection, old.id, name=f"{old.name} (deleted {old.id})", deleted_at_us=now_us, updated_at_us=now_us)
        values = {name: getattr(old, name) for name in ("name", "kind", "settings", "enabled", "description")}
        new = insert(connection, **values, agent_id=new_id, created_at_us=now_us, updated_at_us=now_us)
        query = "INSERT INTO reactions SELECT ?, job_id FROM reactions WHERE monitor_id = ?"
        connection.execute(query, (new, old.id))
    return len(moved)


def touch_of_job(connection: sqlite3.Connection, job_id: int) -> None:
    """A job was changed: its monitors have a new version, so that their agents learn of it."""
    query = (
        "UPDATE monitors SET version = version + 1 WHERE deleted_at_us IS NULL"
        " AND id IN (SELECT monitor_id FROM reactions WHERE job_id = ?)"
    )
    connection.execute(query, (job_id,))


def _lines(connection: sqlite3.Connection, tail: str, values: tuple[object, ...]) -> list[MonitorLine]:
    found = connection.execute(_LINES + tail, values)
    return [rows.build(MonitorLine, MonitorLine.__struct_fields__, tuple(row)) for row in found]
