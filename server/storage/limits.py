"""Counted resources, what runs hold of them, and the runs that wait for their turn."""

from __future__ import annotations

import sqlite3
from collections import Counter

import msgspec

from server.core.limits import Limits, Usage, group_name, rank_us
from server.core.model import Job, Row, Run
from server.core.run_states import OPEN
from server.storage import rows, tenancy


class Resource(Row, frozen=True, kw_only=True):
    """`count`: how many there are."""

    name: str
    count: int
    description: str
    created_at_us: int
    updated_at_us: int
    updated_by: str


class Holder(Row, frozen=True, kw_only=True):
    """A run that was let go and has not ended, with what it holds, by name."""

    number: int
    job_id: int
    job: str
    state: str
    holds: dict[str, int]


_OPEN = ", ".join(f"'{state}'" for state in sorted(OPEN))
GONE = (
    "r.state = 'unknown' AND (r.given_up_at_us IS NOT NULL OR EXISTS (SELECT 1 FROM agents a WHERE a.id = r.agent_id"
    " AND (a.dead_at_us IS NOT NULL OR (a.removed_at_us IS NOT NULL AND a.replaced_at_us IS NULL))))"
)
"""Nothing runs there any more: another attempt may be made, so nothing is held."""
_GROUP = "CASE r.group_id WHEN '' THEN j.agent_id ELSE r.group_id END"
"""The group that a run is of: of a member's run, with the policy `all`, that of its job."""
_BOUNDED = "SELECT id FROM groups WHERE runs_at_once > 0"
_LET_GO = (
    "SELECT r.number, r.job_id, j.name, r.state, r.holds, j.limits, g.name FROM runs r JOIN jobs j ON j.id = r.job_id"
    f" LEFT JOIN groups g ON g.id = {_GROUP} AND g.runs_at_once > 0"
    " WHERE r.{of} AND r.ended_at_us IS NULL AND NOT (r.state = 'waiting' AND r.dispatched_epoch IS NULL)"
    " AND r.state NOT IN ('suspended', 'resuming')"
    f" AND NOT ({GONE})"
)
_MAY_HOLD = (
    "holds != '{}'",
    "job_id IN (SELECT id FROM jobs WHERE limits != '{}')",
    f"job_id IN (SELECT id FROM jobs WHERE agent_id IN ({_BOUNDED}))",
    f"group_id IN ({_BOUNDED}) AND r.group_id != ''",
)
_HOLDING = " UNION ".join(_LET_GO.format(of=one) for one in _MAY_HOLD)
_READY = "limited = 1 AND state = 'waiting' AND dispatched_epoch IS NULL AND begin_after_us IS NULL"


def get(connection: sqlite3.Connection, name: str) -> Resource | None:
    """The resource."""
    return rows.first(connection, Resource, "FROM resources WHERE name = ?", (tenancy.typed(connection, name),))


def page(connection: sqlite3.Connection, after: str = "", limit: int = 100) -> list[Resource]:
    """Resources by name."""
    return rows.every(connection, Resource, "FROM resources WHERE name > ? ORDER BY name LIMIT ?", (after, limit))


def put(connection: sqlite3.Connection, name: str, count: int, description: str, now_us: int, by: str) -> None:
    """Add a resource, or give the one that there is another count."""
    values = {"count": count, "description": description, "updated_at_us": now_us, "updated_by": by}
    if not rows.update(connection, "resources", values, {"name": name}):
        rows.insert(connection, "resources", {"name": name, "created_at_us": now_us, **values})


def delete(connection: sqlite3.Connection, name: str) -> None:
    """Take a resource away."""
    connection.execute("DELETE FROM resources WHERE name = ?", (tenancy.stored(connection, name),))


def users(connection: sqlite3.Connection, name: str) -> list[str]:
    """Names of the jobs whose runs need it."""
    query = (
        "SELECT name FROM jobs WHERE limits != '{}' AND deleted_at_us IS NULL"
        " AND EXISTS (SELECT 1 FROM json_each(limits, '$.resources') WHERE key = ?) ORDER BY name"
    )
    return [str(row[0]) for row in connection.execute(query, (name,))]


def holders(connection: sqlite3.Connection) -> list[Holder]:
    """All runs that hold anything, by number: not suspended ones, nor those that another goes on with.

    One that began before its job or its group had limits holds what they say; so does one whose row
    does not decode.
    """
    found = []
    for number, job_id, job, state, holds, limits, group in connection.execute(f"{_HOLDING} ORDER BY 1"):
        taken = {name: count for name, count in _taken(holds).items() if not name.startswith(group_name(""))}
        held = taken or _limits(limits).needs(job_id)
        held |= {group_name(group): 1} if group else {}
        if held:
            found.append(Holder(number=number, job_id=job_id, job=job, state=state, holds=held))
    return found


def _taken(holds: str) -> dict[str, int]:
    try:
        return msgspec.json.decode(holds, type=dict[str, int])
    except msgspec.MsgspecError:
        return {}


def _limits(text: str) -> Limits:
    """Of a row that does not decode none are known; its job is put aside as soon as anything is done for it."""
    try:
        return msgspec.json.decode(text, type=Limits)
    except msgspec.MsgspecError:
        return Limits()


def usage(connection: sqlite3.Connection) -> Usage:
    """What is taken now. Ask it inside the change that writes what it answers."""
    used: Counter[str] = Counter()
    for holder in holders(connection):
        used.update(holder.holds)
    return Usage(used, lambda name: capacity(connection, name))


def capacity(connection: sqlite3.Connection, name: str) -> int:
    """How many there are of a name of `core.limits`; a job or a group without a limit has room for all."""
    kind, _, rest = name.partition(" ")
    if kind == "job":
        limit = rows.number(
            connection, "SELECT json_extract(limits, '$.runs_at_once') FROM jobs WHERE id = ?", (int(rest),)
        )
        return limit or 2**31
    if kind == "group":
        limit = rows.number(connection, "SELECT runs_at_once FROM groups WHERE name = ?", (rest,))
        return limit or 2**31
    return rows.number(connection, "SELECT count FROM resources WHERE name = ?", (rest,))


def waiting(connection: sqlite3.Connection, limit: int = 500) -> list[Run]:
    """Runs of single agents that wait for their turn, by rank; those of groups are in their pools."""
    tail = f"FROM runs WHERE {_READY} AND group_id = '' ORDER BY rank_us, number LIMIT ?"
    return rows.every(connection, Run, tail, (limit,))


def count_waiting(connection: sqlite3.Connection, reason: str) -> int:
    """How many runs say that they wait for this."""
    query = "SELECT count(*) FROM runs WHERE limited = 1 AND state = 'waiting' AND reason = ?"
    return rows.number(connection, query, (reason,))


def needs(connection: sqlite3.Connection, job: Job, group_id: str = "") -> dict[str, int]:
    """What a run of the job takes, by name; `group_id`: the group that it was submitted to, else the job's."""
    query = f"SELECT name FROM groups WHERE id = ? AND id IN ({_BOUNDED})"
    row = connection.execute(query, (group_id or job.agent_id,)).fetchone()
    return job.limits.needs(job.id) | ({group_name(row[0]): 1} if row else {})


def of_run(connection: sqlite3.Connection, job_id: int, now_us: int) -> dict[str, object]:
    """The columns of a new run that its job's priority and limits make, and those of its group."""
    query = f"SELECT limits, agent_id IN ({_BOUNDED}) FROM jobs WHERE id = ?"
    row = connection.execute(query, (job_id,)).fetchone()
    limits, bounded = (_limits(row[0]), row[1]) if row else (Limits(), 0)
    return {"rank_us": rank_us(now_us, limits.priority), "limited": int(limits.is_set or bounded)}


def mark(connection: sqlite3.Connection, job_id: int, limits: Limits) -> None:
    """The limits of the job, or of its group, changed: what of it waits here goes by the new ones."""
    query = (
        f"UPDATE runs SET limited = ? OR (SELECT {_GROUP} IN ({_BOUNDED}) FROM runs r JOIN jobs j ON j.id = r.job_id"
        " WHERE r.number = runs.number) WHERE job_id = ? AND state = 'waiting' AND dispatched_epoch IS NULL"
    )
    connection.execute(query, (int(limits.is_set), job_id))


def mark_group(connection: sqlite3.Connection, group_id: str) -> None:
    """The limit of the group changed: what waits here of it, and of its jobs, goes by the new one."""
    query = (
        "SELECT id, limits FROM jobs WHERE agent_id = :group UNION SELECT j.id, j.limits FROM jobs j JOIN runs r"
        " ON r.job_id = j.id WHERE r.group_id = :group AND r.group_id != '' AND r.ended_at_us IS NULL"
    )
    for job_id, limits in connection.execute(query, {"group": group_id}).fetchall():
        mark(connection, int(job_id), _limits(limits))
