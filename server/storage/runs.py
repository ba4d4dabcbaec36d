"""Runs: one execution of a job each. States are those of core.run_states; the queue's order is the number."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from server.core.debts import OWED
from server.core.model import Row, Run
from server.core.prerequisites import UNMET_US
from server.core.run_states import ENDED, OPEN
from server.storage import debts, happenings, limits, missed, position, rows

_OPEN = ", ".join(f"'{state}'" for state in sorted(OPEN))


class RunLine(Row, frozen=True, kw_only=True):
    """A row of the run list: the run with the names of its job and agent."""

    number: int
    key: str
    job_id: int
    job: str
    agent_id: str
    agent: str
    attempt: int
    state: str
    reason: str
    state_since_us: int
    scheduled_for_us: int | None
    requested_by: str
    submitted_at_us: int
    started_at_us: int | None
    ended_at_us: int | None
    exit_code: int | None
    signal: int | None
    output_bytes: int
    output_cut: bool
    cancel_requested_by: str
    group: str = ""
    begin_after_us: int | None = None
    workflow_run: int | None = None
    """The workflow's run that it is a step of."""
    instance: str = ""
    """The special instance of the job that it is."""


_LINES = (
    "SELECT r.number, r.key, r.job_id, j.name, r.agent_id, coalesce(a.name, substr(r.agent_id, 1, 8)), r.attempt,"
    " r.state, r.reason, r.state_since_us, r.scheduled_for_us, r.requested_by, r.submitted_at_us, r.started_at_us,"
    " r.ended_at_us, r.exit_code, r.signal, r.output_bytes, r.output_cut, r.cancel_requested_by,"
    " coalesce(g.name, ''), r.begin_after_us, r.workflow_run, r.instance FROM runs r JOIN jobs j ON j.id = r.job_id"
    " LEFT JOIN agents a ON a.id = r.agent_id LEFT JOIN groups g ON g.id = r.group_id"
)


def get(connection: sqlite3.Connection, number: int) -> Run | None:
    """The run with that number."""
    return rows.first(connection, Run, "FROM runs WHERE number = ?", (number,))


def by_key(connection: sqlite3.Connection, key: str) -> Run | None:
    """The run with that key."""
    return rows.first(connection, Run, "FROM runs WHERE key = ?", (key,))


def line(connection: sqlite3.Connection, number: int) -> RunLine | None:
    """The run with the names of its job and agent: the run's page."""
    row = connection.execute(f"{_LINES} WHERE r.number = ?", (number,)).fetchone()
    return _worded(connection, [rows.build(RunLine, RunLine.__struct_fields__, tuple(row))])[0] if row else None


def attempts(connection: sqlite3.Connection, key: str, limit: int = 100) -> list[RunLine]:
    """All attempts of the same occurrence or request, the first one first."""
    stem = key.rpartition(".a")[0]
    query = f"{_LINES} WHERE r.key >= ? AND r.key < ? ORDER BY r.number LIMIT ?"
    return _lines(connection, query, (f"{stem}.a", f"{stem}.b", limit))


def page(
    connection: sqlite3.Connection,
    job_id: int | None = None,
    state: str = "",
    after: int | None = None,
    limit: int = 100,
    agent_id: str = "",
) -> list[RunLine]:
    """The run list, newest first, going on below number `after`; of one job, state or agent when given."""
    conditions, values = ["r.number < ?"], [after if after is not None else 2**62]
    filters: list[object] = [*values]
    for column, value in (("r.job_id", job_id), ("r.state", state or None), ("r.agent_id", agent_id or None)):
        if value is not None:
            conditions.append(f"{column} = ?")
            filters.append(value)
    query = f"{_LINES} WHERE {' AND '.join(conditions)} ORDER BY r.number DESC LIMIT ?"
    return _lines(connection, query, (*filters, limit))


def waiting(connection: sqlite3.Connection, after: int = 0, limit: int = 200) -> list[Run]:
    """Runs of single agents that wait at the master, in order of submission; those of groups are in their pools.

    A waiting run with `dispatched_epoch` is held at its agent, which begins it when the gate is lifted.
    """
    tail = (
        "FROM runs WHERE state = 'waiting' AND dispatched_epoch IS NULL AND group_id = '' AND begin_after_us IS NULL"
        " AND number > ? ORDER BY number LIMIT ?"
    )
    return rows.every(connection, Run, tail, (after, limit))


def count_waiting(connection: sqlite3.Connection) -> int:
    """How many runs wait, wherever."""
    return rows.number(connection, "SELECT count(*) FROM runs WHERE state = 'waiting'")


def waiting_reasons(connection: sqlite3.Connection) -> dict[str, int]:
    """How many runs wait, by reason: for Home and the metrics."""
    query = "SELECT reason, count(*) FROM runs WHERE state = 'waiting' GROUP BY reason ORDER BY reason"
    return {str(reason): int(count) for reason, count in connection.execute(query)}


def awaiting(connection: sqlite3.Connection, job_id: int) -> list[Run]:
    """Runs of a job that wait for its prerequisites, in order of submission."""
    tail = "FROM runs WHERE state = 'waiting' AND begin_after_us = ? AND job_id = ? ORDER BY number"
    return rows.every(connection, Run, tail, (UNMET_US, job_id))


def was_let_go(connection: sqlite3.Connection, job_id: int, at_us: int) -> bool:
    """Whether a run of the job for that instant needed no prerequisites any more: another member's, or schedule's."""
    query = (
        "SELECT 1 FROM runs WHERE schedule_id IN (SELECT id FROM schedules WHERE job_id = ?) AND scheduled_for_us = ?"
        " AND coalesce(begin_after_us, 0) != ? AND state NOT IN ('missed', 'skipped', 'cancelled') LIMIT 1"
    )
    return connection.execute(query, (job_id, at_us, UNMET_US)).fetchone() is not None


def waiting_for_agent(connection: sqlite3.Connection, agent_id: str, reason: str, limit: int = 500) -> list[Run]:
    """Unsent runs of one agent that wait for `reason`, in order of submission."""
    tail = (
        "FROM runs WHERE agent_id = ? AND state = 'waiting' AND reason = ? AND dispatched_epoch IS NULL"
        " AND begin_after_us IS NULL ORDER BY number LIMIT ?"
    )
    return rows.every(connection, Run, tail, (agent_id, reason, limit))


def next_begin_us(connection: sqlite3.Connection) -> int | None:
    """The earliest time before which a waiting run shall not begin."""
    tail = "FROM runs WHERE begin_after_us IS NOT NULL AND state = 'waiting' ORDER BY begin_after_us LIMIT 1"
    row = connection.execute(f"SELECT begin_after_us {tail}").fetchone()
    return None if row is None else int(row[0])


def to_begin(connection: sqlite3.Connection, now_us: int, limit: int = 200) -> list[Run]:
    """Waiting runs whose time has come, the earliest first."""
    tail = (
        "FROM runs WHERE begin_after_us IS NOT NULL AND state = 'waiting' AND begin_after_us <= ?"
        " ORDER BY begin_after_us, number LIMIT ?"
    )
    return rows.every(connection, Run, tail, (now_us, limit))


def to_dispatch(connection: sqlite3.Connection, agent_id: str, limit: int = 100) -> list[Run]:
    """Runs on request in `starting` that were not sent in any epoch yet, by rank: the fleet's work."""
    tail = (
        "FROM runs WHERE agent_id = ? AND state = 'starting' AND dispatched_epoch IS NULL"
        " ORDER BY rank_us, number LIMIT ?"
    )
    return rows.every(connection, Run, tail, (agent_id, limit))


def open_of_agent(connection: sqlite3.Connection, agent_id: str, after: int = 0, limit: int = 500) -> list[Run]:
    """Runs of an agent that are neither waiting nor ended, by number: what its inventory is compared with."""
    tail = (
        f"FROM runs WHERE agent_id = ? AND state IN ({_OPEN}) AND state != 'waiting' AND number > ?"
        " ORDER BY number LIMIT ?"
    )
    return rows.every(connection, Run, tail, (agent_id, after, limit))


def has_later_attempt(connection: sqlite3.Connection, run: Run) -> bool:
    """Whether another attempt of the same occurrence or request was made after this one."""
    stem = run.key.rpartition(".a")[0]
    query = "SELECT 1 FROM runs WHERE key >= ? AND key < ? AND attempt > ? LIMIT 1"
    return connection.execute(query, (f"{stem}.a", f"{stem}.b", run.attempt)).fetchone() is not None


def to_cancel(connection: sqlite3.Connection, agent_id: str, limit: int = 100) -> list[Run]:
    """Open runs of an agent that somebody asked to cancel or kill: the fleet sends it until they end."""
    tail = (
        f"FROM runs WHERE agent_id = ? AND state IN ({_OPEN}) AND cancel_requested_at_us IS NOT NULL"
        " ORDER BY number LIMIT ?"
    )
    return rows.every(connection, Run, tail, (agent_id, limit))


def count_interrupted(connection: sqlite3.Connection, run: Run) -> int:
    """How many attempts before this one came to no end of their own, whatever was made of them."""
    stem = run.key.rpartition(".a")[0]
    query = (
        "SELECT count(*) FROM runs WHERE key >= ? AND key < ? AND attempt < ?"
        " AND state IN ('interrupted', 'unknown', 'missed')"
    )
    return rows.number(connection, query, (f"{stem}.a", f"{stem}.b", run.attempt))


def of_event(connection: sqlite3.Connection, event_id: int, limit: int = 100) -> list[Run]:
    """Runs that an event began, all attempts, by number."""
    return rows.every(connection, Run, "FROM runs WHERE event_id = ? ORDER BY number LIMIT ?", (event_id, limit))


def is_job_open(connection: sqlite3.Connection, job_id: int, beside: Run | None = None) -> bool:
    """True when a run of the job waits or runs, for skip-if-running; not `beside`, nor other attempts of the same.

    One that was given up, or is unknown at a dead machine, is nothing to wait for: it may be repeated.
    """
    stem = beside.key.rpartition(".a")[0] if beside is not None else ""
    query = (
        f"SELECT 1 FROM runs r WHERE r.job_id = ? AND r.state IN ({_OPEN}) AND NOT (r.key >= ? AND r.key < ?)"
        f" AND NOT ({limits.GONE}) LIMIT 1"
    )
    return connection.execute(query, (job_id, f"{stem}.a", f"{stem}.b")).fetchone() is not None


def newest_of_occurrence(connection: sqlite3.Connection, schedule_id: int, at_us: int) -> int | None:
    """The number of the latest run of one occurrence."""
    query = "SELECT max(number) FROM runs WHERE schedule_id = ? AND scheduled_for_us = ?"
    row = connection.execute(query, (schedule_id, at_us)).fetchone()
    return None if row[0] is None else int(row[0])


def newest_instant_us(connection: sqlite3.Connection, schedule_id: int) -> int | None:
    """The latest occurrence of a schedule that has a run."""
    query = "SELECT max(scheduled_for_us) FROM runs WHERE schedule_id = ?"
    row = connection.execute(query, (schedule_id,)).fetchone()
    return None if row[0] is None else int(row[0])


def insert(
    connection: sqlite3.Connection,
    key: str,
    job_id: int,
    agent_id: str,
    command: str,
    state: str,
    now_us: int,
    **more: object,
) -> int:
    """Add a run and return its number.

    `more` are further columns by name: reason, schedule_id, started_at_us...

    The open row of the same occurrence in the ledger of missed ones is closed: here is its run.
    """
    values: dict[str, object] = {
        "key": key,
        "job_id": job_id,
        "agent_id": agent_id,
        "command": command,
        "state": state,
        "state_since_us": now_us,
        "submitted_at_us": now_us,
        "sequence": position.sequence(connection),
        **limits.of_run(connection, job_id, now_us),
        **more,
    }
    schedule_id, at_us = more.get("schedule_id"), more.get("scheduled_for_us")
    if isinstance(schedule_id, int) and isinstance(at_us, int):
        by = str(more.get("requested_by") or "agent")
        missed.resolve_by_run(connection, schedule_id, at_us, by, now_us)
    number = rows.insert(connection, "runs", values)
    happenings.run_changed(connection, number, now_us)
    return number


def update(connection: sqlite3.Connection, number: int, **values: object) -> None:
    """Set columns of one run by name. For a change of state use `set_state`."""
    values["sequence"] = position.sequence(connection)
    rows.update(connection, "runs", values, {"number": number})


def set_state(
    connection: sqlite3.Connection, number: int, state: str, now_us: int, reason: str = "", **more: object
) -> None:
    """Write a state that `core.run_states.step` allowed, since `now_us`; an ended one gets `ended_at_us`."""
    values: dict[str, object] = {"state": state, "reason": reason, "state_since_us": now_us, **more}
    values["sequence"] = position.sequence(connection)
    if state in ENDED and "ended_at_us" not in values:
        values["ended_at_us"] = now_us
    rows.update(connection, "runs", values, {"number": number})
    happenings.run_changed(connection, number, now_us)


def lose_agent(connection: sqlite3.Connection, agent_id: str, reason: str, now_us: int) -> int:
    """Open runs of an agent that were given to it become `unknown`, those never sent wait; return how many.

    Also what a gate or a full disk holds there: it may have begun since.
    """
    unsent = (
        "UPDATE runs SET state = 'waiting', reason = ?, state_since_us = ?, sequence = ?"
        " WHERE agent_id = ? AND state = 'starting' AND dispatched_epoch IS NULL"
    )
    connection.execute(unsent, (reason, now_us, position.sequence(connection), agent_id))
    query = (
        "UPDATE runs SET state = 'unknown', reason = ?, state_since_us = ?, sequence = ?"
        f" WHERE agent_id = ? AND state IN ({_OPEN}) AND state NOT IN ('unknown', 'suspended', 'resuming')"
        " AND (state != 'waiting' OR dispatched_epoch IS NOT NULL) RETURNING number"
    )
    lost = connection.execute(query, (reason, now_us, position.sequence(connection), agent_id)).fetchall()
    for (number,) in lost:
        happenings.run_changed(connection, number, now_us)
    return len(lost)


def move_waiting(connection: sqlite3.Connection, old_id: str, new_id: str, reason: str, now_us: int) -> int:
    """Runs that were never sent, waiting or let go already, go to another agent; return how many."""
    query = (
        "UPDATE runs SET agent_id = ?, state = 'waiting', state_since_us = ?, sequence = ?,"
        " reason = CASE WHEN begin_after_us IS NULL THEN ? ELSE reason END"
        " WHERE agent_id = ? AND state IN ('waiting', 'starting') AND dispatched_epoch IS NULL"
    )
    return connection.execute(query, (new_id, now_us, position.sequence(connection), reason, old_id)).rowcount


def _lines(connection: sqlite3.Connection, query: str, values: Sequence[object]) -> list[RunLine]:
    found = connection.execute(query, values)
    return _worded(connection, [rows.build(RunLine, RunLine.__struct_fields__, tuple(row)) for row in found])


def _worded(connection: sqlite3.Connection, lines: list[RunLine]) -> list[RunLine]:
    """What an agent owes an answer for says so by the names of now: they change while it waits."""
    if not any(line.reason == OWED for line in lines):
        return lines
    why = debts.reason(connection)
    return [msgspec.structs.replace(line, reason=why) if line.reason == OWED else line for line in lines]
