"""Events of monitors: what fired, when, with which variables, and the runs that began by it."""

from __future__ import annotations

import sqlite3

from server.core.happenings import Kind
from server.core.model import Row
from server.core.monitors import Event
from server.storage import happenings, rows


class EventLine(Row, frozen=True, kw_only=True):
    """A row of the history. `runs`: number, job and state of each run, as JSON of [number, job, state, reason]."""

    JSON = frozenset({"variables", "runs"})

    id: int
    monitor_id: int
    monitor: str
    token: str
    what: str
    at_us: int
    variables: dict[str, str]
    fired_by: str
    recorded_at_us: int
    runs: list[tuple[int, str, str, str]]


_LINES = """
SELECT e.id, e.monitor_id, m.name, e.token, e.what, e.at_us, e.variables, e.fired_by, e.recorded_at_us,
    (SELECT json_group_array(json_array(number, name, state, reason)) FROM
        (SELECT r.number, j.name, r.state, r.reason FROM runs r JOIN jobs j ON j.id = r.job_id
            WHERE r.event_id = e.id ORDER BY r.number LIMIT 50))
FROM events e JOIN monitors m ON m.id = e.monitor_id
"""


def get(connection: sqlite3.Connection, event_id: int) -> Event | None:
    """One event."""
    return rows.first(connection, Event, "FROM events WHERE id = ?", (event_id,))


def by_token(connection: sqlite3.Connection, monitor_id: int, token: str) -> Event | None:
    """The event that a run's key names."""
    return rows.first(connection, Event, "FROM events WHERE monitor_id = ? AND token = ?", (monitor_id, token))


def next_number(connection: sqlite3.Connection, monitor_id: int) -> int:
    """The number above all that the agent of a monitor has reported."""
    return rows.number(connection, "SELECT max(number) FROM events WHERE monitor_id = ?", (monitor_id,)) + 1


def page(
    connection: sqlite3.Connection, monitor_id: int | None = None, after: int | None = None, limit: int = 100
) -> list[EventLine]:
    """The history, newest first, going on below id `after`; of one monitor when given."""
    values: list[object] = [after if after is not None else 2**62]
    query = f"{_LINES} WHERE e.id < ?"
    if monitor_id is not None:
        query += " AND e.monitor_id = ?"
        values.append(monitor_id)
    found = connection.execute(f"{query} ORDER BY e.id DESC LIMIT ?", (*values, limit))
    return [rows.build(EventLine, EventLine.__struct_fields__, tuple(row)) for row in found]


def insert(connection: sqlite3.Connection, event: Event) -> int:
    """Add an event; its `id` is ignored. Returns the new one."""
    values = {name: getattr(event, name) for name in event.__struct_fields__ if name != "id"}
    event_id = rows.insert(connection, "events", values)
    happenings.happened(connection, Kind.EVENT, event.monitor_id, event_id, "fired", event.at_us)
    return event_id
