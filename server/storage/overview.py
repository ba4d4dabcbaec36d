"""What pages show at a glance: counts, agents with their queues, what is due next.

Bounded whatever the history is.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from itertools import dropwhile, islice, takewhile

from server.core.model import Order, Row
from server.core.occurrence_exceptions import starts
from server.core.run_states import OPEN, RunState
from server.core.schedule import expand
from server.storage import orders, rows, runs

ORDERS_MAX = 500
"""How many standing orders one look ahead expands."""

FAILED = (RunState.FAILED, RunState.KILLED, RunState.INTERRUPTED)
_OPEN = ", ".join(f"'{state}'" for state in sorted(OPEN))
_FAILED = ", ".join(f"'{state}'" for state in FAILED)


class Counts(Row, frozen=True, kw_only=True):
    """How many runs are running and waiting now, how many failed since an instant, and open missed ones."""

    running: int
    waiting: int
    failed: int
    missed: int
    jobs: int
    agents: int


class AgentLine(Row, frozen=True, kw_only=True):
    """An agent with its own lock, its open runs, and until when it is autonomous (None without orders)."""

    id: str
    name: str
    enrolled_at_us: int
    witness: int
    former_witness: int
    version: str
    ticket: int
    quarantined_at_us: int | None
    quarantine_reason: str
    gates_acknowledged: int
    locked_by: str | None
    locked_at_us: int | None
    locked_revision: int | None
    runs: int
    autonomous_until_us: int | None
    draining: bool = False
    silent_since_us: int | None = None
    dead_at_us: int | None = None
    last_drain: str = ""
    """Origin and state of its latest drain: `request drained`; empty when there was none."""
    maintenance: str = ""
    """The kind of gate, its own or of all, the harder one."""
    owes: bool = False
    """It may hold what a lost master gave it."""
    awaits_former: bool = False
    """The machine before it has not given its standing orders back."""


class Upcoming(Row, frozen=True, kw_only=True):
    """An instant of a standing order to come."""

    job_id: int
    job: str
    agent: str
    due_us: int
    cron: str
    zone: str
    held: bool


class DueCount(Row, frozen=True, kw_only=True):
    """How often a job is due within a span of time."""

    job_id: int
    job: str
    count: int


def counts(connection: sqlite3.Connection, since_us: int) -> Counts:
    """The figures of the home page; `since_us` bounds what failed."""
    query = (
        "SELECT (SELECT count(*) FROM runs WHERE state = 'running'),"
        " (SELECT count(*) FROM runs WHERE state = 'waiting'),"
        f" (SELECT count(*) FROM runs WHERE state IN ({_FAILED}) AND ended_at_us >= ?),"
        " (SELECT count(*) FROM missed WHERE resolution = ''),"
        " (SELECT count(*) FROM jobs WHERE deleted_at_us IS NULL),"
        " (SELECT count(*) FROM agents WHERE removed_at_us IS NULL)"
    )
    row = connection.execute(query, (since_us,)).fetchone()
    return rows.build(Counts, Counts.__struct_fields__, tuple(row))


def failed_since(connection: sqlite3.Connection, since_us: int, limit: int) -> list[runs.RunLine]:
    """The newest runs that failed, were killed or interrupted and ended at or after `since_us`."""
    found = (line for state in FAILED for line in runs.page(connection, state=state, limit=limit))
    recent = [line for line in found if (line.ended_at_us or 0) >= since_us]
    return sorted(recent, key=lambda line: -(line.ended_at_us or 0))[:limit]


_AGENTS = f"""
SELECT a.id, a.name, a.enrolled_at_us, a.witness, a.former_witness, a.version, a.ticket, a.quarantined_at_us,
    a.quarantine_reason,
    a.gates_acknowledged, g.set_by, g.set_at_us, g.revision,
    (SELECT count(*) FROM runs WHERE agent_id = a.id AND state IN ({_OPEN})),
    (SELECT min(valid_until_us) FROM orders
        WHERE agent_id = a.id AND state = 'active' AND suppressed = '' AND by_master = 0),
    EXISTS (SELECT 1 FROM gates WHERE kind = 'draining' AND agent_id = a.id), a.silent_since_us, a.dead_at_us,
    COALESCE((SELECT origin || ' ' || state FROM drains WHERE agent_id = a.id ORDER BY asked_at_us DESC LIMIT 1), ''),
    COALESCE((SELECT max(kind) FROM gates WHERE kind IN ('maintenance', 'maintenance_suspended')
        AND agent_id IN ('', a.id)), ''),
    EXISTS (SELECT 1 FROM debts WHERE agent_id = a.id),
    a.replaces != '' AND EXISTS (SELECT 1 FROM orders WHERE agent_id = a.replaces AND state = 'releasing')
FROM agents a LEFT JOIN gates g ON g.kind = 'queue_locked' AND g.agent_id = a.id
WHERE a.removed_at_us IS NULL
"""


_STATES = {
    "silent": " AND a.silent_since_us IS NOT NULL",
    "quarantined": " AND a.quarantined_at_us IS NOT NULL",
    "locked": " AND g.set_by IS NOT NULL",
    "draining": " AND EXISTS (SELECT 1 FROM gates WHERE kind = 'draining' AND agent_id = a.id)",
    "unacknowledged": " AND a.gates_acknowledged <"
    " CAST((SELECT value FROM settings WHERE name = 'gate_revision') AS INTEGER)",
}
AGENT_STATES = tuple(_STATES)
"""By what the list of agents can be filtered beside the name."""


def agent_lines(
    connection: sqlite3.Connection, after: str = "", limit: int = 100, match: str = "", state: str = ""
) -> list[AgentLine]:
    """Agents by name above `after` whose name contains `match`; `state` is "" or one of `AGENT_STATES`."""
    query = f"{_AGENTS}{_STATES.get(state, '')} AND a.name > ? AND instr(a.name, ?) ORDER BY a.name LIMIT ?"
    found = connection.execute(query, (after, match, limit))
    return [rows.build(AgentLine, AgentLine.__struct_fields__, tuple(row)) for row in found]


def agent_line(connection: sqlite3.Connection, name: str) -> AgentLine | None:
    """The agent of that name."""
    row = connection.execute(f"{_AGENTS} AND a.name = ?", (name,)).fetchone()
    return rows.build(AgentLine, AgentLine.__struct_fields__, tuple(row)) if row else None


def upcoming(
    connection: sqlite3.Connection, now_us: int, until_us: int, limit: int, each: int = 1000
) -> list[Upcoming]:
    """What standing orders start in [now, until), in order of time, at most `each` of one order."""
    due: list[tuple[int, int, int]] = []
    for order in orders.due_before(connection, until_us, limit=ORDERS_MAX):
        ahead = _ahead(order, now_us, until_us)
        due += [(at_us, order.job_id, order.schedule_id) for at_us in islice(ahead, min(limit, each))]
    found = (_upcoming(connection, *line) for line in sorted(due)[:limit])
    return [line for line in found if line is not None]


def _ahead(order: Order, now_us: int, until_us: int) -> Iterator[int]:
    """When something of an order begins in [now, until), in order of time."""
    if order.exceptions:
        return iter([when for when, _ in starts(expand(order.instants), order.exceptions, now_us, until_us)])
    ahead = takewhile(lambda at_us: at_us < until_us, expand(order.instants))
    return dropwhile(lambda at_us: at_us < now_us, ahead)


def due_counts(connection: sqlite3.Connection, now_us: int, until_us: int) -> list[DueCount]:
    """How many instants of standing orders each job has in [now, until); the most first. At most 500 orders."""
    found: dict[int, int] = {}
    for order in orders.due_before(connection, until_us, limit=ORDERS_MAX):
        found[order.job_id] = found.get(order.job_id, 0) + sum(1 for _ in _ahead(order, now_us, until_us))
    names = connection.execute(
        "SELECT id, name FROM jobs WHERE deleted_at_us IS NULL AND id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(found)),),
    )
    lines = (DueCount(job_id=job_id, job=name, count=found[job_id]) for job_id, name in names)
    return sorted((line for line in lines if line.count), key=lambda line: (-line.count, line.job))


def _upcoming(connection: sqlite3.Connection, at_us: int, job_id: int, schedule_id: int) -> Upcoming | None:
    query = (
        "SELECT j.id, j.name, a.name, ?, s.cron, s.zone, j.held FROM jobs j JOIN agents a ON a.id = j.agent_id"
        " JOIN schedules s ON s.id = ? WHERE j.id = ? AND j.deleted_at_us IS NULL"
    )
    row = connection.execute(query, (at_us, schedule_id, job_id)).fetchone()
    return rows.build(Upcoming, Upcoming.__struct_fields__, tuple(row)) if row else None
