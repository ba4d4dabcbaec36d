"""Maintenance: sessions, what changed them, which runs they ended, and what they suppressed.

What a session suppressed is not counted while it happens: it is what the ledger of missed occurrences and the runs of
events say of its time, so a report that comes late is in it.
"""

from __future__ import annotations

import sqlite3

from server.core.gates import MAINTENANCE, REASONS
from server.core.maintenance import HOST, TENANT, Next, Phase, Policy, Session, strictest, tenant_of
from server.core.model import Row
from server.storage import agents, rows, settings, tenancy, tenants

CAUSE = REASONS[MAINTENANCE]
"""What a suppressed occurrence says."""
_LATE_US = 2**62

_BUSY = (
    "r.ended_at_us IS NULL AND (r.state IN ('running', 'suspending') OR (r.state = 'starting' AND"
    " r.dispatched_epoch IS NOT NULL) OR (r.state = 'unknown' AND r.given_up_at_us IS NULL AND NOT EXISTS"
    " (SELECT 1 FROM agents g WHERE g.id = r.agent_id AND g.dead_at_us IS NOT NULL)))"
    " AND r.state IN ('starting', 'running', 'suspending', 'unknown')"
)
"""What an agent has begun, or may have, and has not ended. What waits anywhere is not busy."""


class BusyRun(Row, frozen=True, kw_only=True):
    """A run that a maintenance waits for, since when it is at work, and whether somebody wants it ended."""

    number: int
    job_id: int
    job: str
    agent: str
    state: str
    since_us: int
    cancel_requested_at_us: int | None
    cancel_kill: bool


class LogRow(Row, frozen=True, kw_only=True):
    """One change of a session: the phase since then."""

    id: int
    session_id: int
    phase: str
    policy: str
    at_us: int
    changed_by: str
    reason: str


class EndedRun(Row, frozen=True, kw_only=True):
    """A run that a session asked to stop (`kill` False) or to be killed, and its state now."""

    run: int
    job: str
    kill: bool
    at_us: int
    state: str


class Skipped(Row, frozen=True, kw_only=True):
    """An execution that a session suppressed.

    `missed_id`: its row in the ledger, for an occurrence in time; `run`: the run that did not begin, for an event.
    """

    job_id: int
    job: str
    at_us: int
    missed_id: int | None
    run: int | None
    resolution: str


def open_of(connection: sqlite3.Connection, scope: str) -> Session | None:
    """The open session of a scope."""
    return rows.first(
        connection, Session, "FROM maintenance_sessions WHERE scope = ? AND ended_at_us IS NULL", (scope,)
    )


def latest(connection: sqlite3.Connection, scope: str) -> Session | None:
    """The open session of a scope, or its last one."""
    tail = "FROM maintenance_sessions WHERE scope = ? ORDER BY id DESC LIMIT 1"
    return rows.first(connection, Session, tail, (scope,))


def get(connection: sqlite3.Connection, session_id: int) -> Session | None:
    """One session."""
    return rows.first(connection, Session, "FROM maintenance_sessions WHERE id = ?", (session_id,))


def page(connection: sqlite3.Connection, scope: str, after: int | None = None, limit: int = 50) -> list[Session]:
    """Sessions of a scope, newest first, going on below id `after`."""
    tail = "FROM maintenance_sessions WHERE scope = ? AND id < ? ORDER BY id DESC LIMIT ?"
    return rows.every(connection, Session, tail, (scope, _LATE_US if after is None else after, limit))


def concerning(connection: sqlite3.Connection, tenant: str) -> Session | None:
    """The session that decides for who belongs to `tenant`: of the host's and that tenant's own the stricter one."""
    found = [open_of(connection, scope) for scope in (HOST, *([TENANT + tenant] if tenant else []))]
    return strictest(session for session in found if session is not None)


def every_open(connection: sqlite3.Connection, limit: int = 1000) -> list[Session]:
    """All open sessions, the host's first."""
    return rows.every(
        connection, Session, "FROM maintenance_sessions WHERE ended_at_us IS NULL ORDER BY scope LIMIT ?", (limit,)
    )


def at_work(connection: sqlite3.Connection, limit: int = 1000) -> list[Session]:
    """Open sessions in which something is to be done by itself: runs ended, a phase begun, the end."""
    by_work = "FROM maintenance_sessions INDEXED BY maintenance_at_work"
    condition = (
        "ended_at_us IS NULL AND (running != 'finish' OR suspend_when_idle = 1 OR suspend_at_us IS NOT NULL"
        " OR end_at_us IS NOT NULL)"
    )
    return rows.every(connection, Session, f"{by_work} WHERE {condition} ORDER BY id LIMIT ?", (limit,))


def insert(connection: sqlite3.Connection, **values: object) -> int:
    """Add a session."""
    return rows.insert(connection, "maintenance_sessions", values)


def update(connection: sqlite3.Connection, session_id: int, **values: object) -> None:
    """Set columns of one session by name."""
    rows.update(connection, "maintenance_sessions", values, {"id": session_id})


def close_of_agent(connection: sqlite3.Connection, agent_id: str, by: str, now_us: int) -> None:
    """The agent is gone, and its gates with it: its maintenance is over."""
    tail = "FROM maintenance_sessions WHERE agent_id = ? AND ended_at_us IS NULL"
    for session in rows.every(connection, Session, tail, (agent_id,)):
        close(connection, session, by, now_us, "the agent is gone")


def close(connection: sqlite3.Connection, session: Session, by: str, now_us: int, reason: str) -> None:
    """A session has ended, and its log says so. Its gates are the caller's."""
    step = Next(Phase.NONE, session.policy)
    update(connection, session.id, phase=str(step.phase), ended_at_us=now_us, ended_by=by)
    add_log(connection, session.id, step, now_us, by, reason)


def add_log(
    connection: sqlite3.Connection, session_id: int, step: Next, at_us: int, changed_by: str, reason: str
) -> None:
    """Write down what a session has become."""
    values = {"session_id": session_id, "phase": str(step.phase), "policy": _words(step.policy), "at_us": at_us}
    rows.insert(connection, "maintenance_log", {**values, "changed_by": changed_by, "reason": reason})


def log(connection: sqlite3.Connection, session_id: int) -> list[LogRow]:
    """What became of a session, in order."""
    return rows.every(connection, LogRow, "FROM maintenance_log WHERE session_id = ? ORDER BY id", (session_id,))


def _words(policy: Policy) -> str:
    return f"runs {policy.running}, submissions {policy.submissions}, pages {policy.pages}"


def busy(connection: sqlite3.Connection, place: tuple[str, str], limit: int = 200) -> list[BusyRun]:
    """Runs of a scope that are at work, by number. `place`: the scope, and the id of its agent."""
    query = (
        "SELECT r.number, r.job_id, j.name, coalesce(a.name, substr(r.agent_id, 1, 8)), r.state,"
        " coalesce(r.started_at_us, r.state_since_us), r.cancel_requested_at_us, r.cancel_kill FROM runs r"
        " JOIN jobs j ON j.id = r.job_id LEFT JOIN agents a ON a.id = r.agent_id"
        f" WHERE {_BUSY}{_within(place)} ORDER BY r.number LIMIT :limit"
    )
    values = {**_values(connection, place), "limit": limit}
    return [rows.build(BusyRun, BusyRun.__struct_fields__, tuple(row)) for row in connection.execute(query, values)]


def count_busy(connection: sqlite3.Connection, place: tuple[str, str]) -> int:
    """How many runs of a scope are at work."""
    query = f"SELECT count(*) FROM runs r WHERE {_BUSY}{_within(place)}"
    return rows.number(connection, query, _values(connection, place))


def to_end(connection: sqlite3.Connection, place: tuple[str, str], kill: bool, limit: int = 200) -> list[int]:
    """Numbers of runs at work of a scope that nobody has asked to stop yet, or to be killed."""
    unasked = "r.cancel_kill = 0" if kill else "r.cancel_requested_at_us IS NULL"
    condition = f"{_BUSY} AND {unasked}{_within(place)}"
    query = f"SELECT r.number FROM runs r WHERE {condition} ORDER BY r.number LIMIT :limit"
    values = {**_values(connection, place), "limit": limit}
    return [int(number) for (number,) in connection.execute(query, values)]


def _within(place: tuple[str, str], row: str = "r") -> str:
    if place[1]:
        return f" AND {row}.agent_id = :agent"
    return f" AND {row}.tenant = :tenant" if tenant_of(place[0]) else ""


def _values(connection: sqlite3.Connection, place: tuple[str, str]) -> dict[str, object]:
    """What `_within` compares with."""
    return {"agent": place[1], "tenant": tenancy.shown(connection, tenant_of(place[0]))}


def add_ended(connection: sqlite3.Connection, session_id: int, run: int, kill: bool, at_us: int) -> None:
    """A run was asked to stop, or to be killed; counted with the session."""
    values = {"session_id": session_id, "run": run, "kill": int(kill), "at_us": at_us}
    rows.insert(connection, "maintenance_runs", values)
    column = "kills_attempted" if kill else "stops_attempted"
    connection.execute(f"UPDATE maintenance_sessions SET {column} = {column} + 1 WHERE id = ?", (session_id,))


def ended(connection: sqlite3.Connection, session_id: int, limit: int = 1000) -> list[EndedRun]:
    """The runs that a session asked to stop or to be killed, in order."""
    query = (
        "SELECT m.run, coalesce(j.name, ''), m.kill, m.at_us, coalesce(r.state, '') FROM maintenance_runs m"
        " LEFT JOIN runs r ON r.number = m.run LEFT JOIN jobs j ON j.id = r.job_id WHERE m.session_id = ?"
        " ORDER BY m.at_us, m.run LIMIT ?"
    )
    found = connection.execute(query, (session_id, limit))
    return [rows.build(EndedRun, EndedRun.__struct_fields__, tuple(row)) for row in found]


_OCCURRENCES = (
    "FROM missed m JOIN jobs j ON j.id = m.job_id WHERE m.cause = 'maintenance'"
    " AND m.scheduled_for_us >= :first AND m.scheduled_for_us < :end"
)
_EVENTS = (
    "FROM runs r JOIN jobs j ON j.id = r.job_id WHERE r.state = 'missed'"
    " AND r.reason = 'maintenance' AND r.submitted_at_us >= :first AND r.submitted_at_us < :end"
    " AND r.event_id IS NOT NULL"
)


def count_skipped(connection: sqlite3.Connection, session: Session) -> tuple[int, int]:
    """How many occurrences in time, and how many runs of events, a session suppressed."""
    values = _span(connection, session)
    occurrences = f"SELECT count(*) {_OCCURRENCES}{_of_jobs(session)}"
    events = f"SELECT count(*) {_EVENTS}{_within((session.scope, session.agent_id))}"
    return rows.number(connection, occurrences, values), rows.number(connection, events, values)


def skipped(connection: sqlite3.Connection, session: Session, limit: int = 1000) -> list[Skipped]:
    """Each execution that a session suppressed, by the time it was due: occurrences first, then events."""
    values = {**_span(connection, session), "limit": limit}
    occurrences = (
        f"SELECT m.job_id, j.name, m.scheduled_for_us, m.id, NULL, m.resolution {_OCCURRENCES}{_of_jobs(session)}"
        " ORDER BY m.scheduled_for_us LIMIT :limit"
    )
    events = (
        f"SELECT r.job_id, j.name, r.submitted_at_us, NULL, r.number, ''"
        f" {_EVENTS}{_within((session.scope, session.agent_id))} ORDER BY r.submitted_at_us LIMIT :limit"
    )
    found = [*connection.execute(occurrences, values), *connection.execute(events, values)]
    return [rows.build(Skipped, Skipped.__struct_fields__, tuple(row)) for row in found[:limit]]


def _span(connection: sqlite3.Connection, session: Session) -> dict[str, object]:
    end_us = session.ended_at_us if session.ended_at_us is not None else _LATE_US
    place = session.scope, session.agent_id
    return {"first": session.started_at_us, "end": end_us, **_values(connection, place)}


def _of_jobs(session: Session) -> str:
    return _within((session.scope, session.agent_id), "j")


def count_waiting(connection: sqlite3.Connection, place: tuple[str, str]) -> int:
    """How many runs of a scope wait, wherever."""
    query = f"SELECT count(*) FROM runs r WHERE r.state = 'waiting'{_within(place)}"
    return rows.number(connection, query, _values(connection, place))


def unheard(connection: sqlite3.Connection, place: tuple[str, str], limit: int = 1000) -> tuple[list[str], list[str]]:
    """(agents that answer and have not acknowledged the gates in force yet, agents that do not answer), by name."""
    names, tenant = agents.behind(connection, settings.gate_revision(connection), limit), tenant_of(place[0])
    elsewhere = tenants.others_own(connection, tenancy.shown(connection, tenant)) if tenant else frozenset()
    silent: list[str] = []
    late: list[str] = []
    for agent_id, name in names:
        agent = agents.get(connection, agent_id)
        if agent is None or (place[1] and place[1] != agent_id) or agent.dead_at_us is not None:
            continue
        if tenant and agent_id in elsewhere:
            continue
        is_silent = agent.silent_since_us is not None or not agent.ticket or agent.quarantined_at_us is not None
        (silent if is_silent else late).append(name)
    return late, silent
