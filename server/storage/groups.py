"""Groups of agents, their members, and the runs that wait in their pools. The rules are in `core.groups`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence

from server.core.gates import HELD, MAINTENANCE, REASONS, SUSPENDED
from server.core.groups import Group, GroupMember, Pool, Recall, Seat, Worker
from server.core.model import Agent, Row, Run
from server.storage import position, rows

GROUP_NAME = "group "
"""What the name of a group's row among the agents begins with: no agent's name has a blank."""
ALWAYS = 2**62
"""The gate revision that a group's row has acknowledged: the master itself starts nothing against a gate."""

_LOAD = "('starting', 'running', 'suspending')"
_OPEN_SENT = "ended_at_us IS NULL AND dispatched_epoch IS NOT NULL"
_POOL = "group_id != '' AND dispatched_epoch IS NULL AND ended_at_us IS NULL"
_READY = "begin_after_us IS NULL"
"""Not a retry that waits for its time."""
_CLOSED = (
    "(r.tenant != '' AND EXISTS (SELECT 1 FROM gates t WHERE t.agent_id = '' AND t.kind IN"
    f" (r.tenant || ':{MAINTENANCE}', r.tenant || ':{SUSPENDED}')))"
)
"""The tenant whose run `r` is, is in maintenance (`core.gates.of_tenant`)."""


class MemberLine(Row, frozen=True, kw_only=True):
    """A member with what pages show of its agent. `told`: the agent has persisted its present deployment."""

    agent_id: str
    agent: str
    position: int
    capacity: int
    agent_capacity: int
    told: bool
    version: str
    quarantined: bool
    running: int
    sent: int


class GroupLine(Row, frozen=True, kw_only=True):
    """A row of the list of groups."""

    id: str
    name: str
    policy: str
    description: str
    deployment: int
    deployed_by: str
    deployed_at_us: int
    members: int
    jobs: int
    running: int
    waiting: int
    runs_at_once: int = 0


class Waiting(Row, frozen=True, kw_only=True):
    """How many runs wait in a pool for one reason, and the oldest of them."""

    reason: str
    count: int
    first: int
    since_us: int


def get(connection: sqlite3.Connection, group_id: str) -> Group | None:
    """The group, deleted ones included."""
    return rows.first(connection, Group, "FROM groups WHERE id = ?", (group_id,))


def by_name(connection: sqlite3.Connection, name: str) -> Group | None:
    """The group of that name that is not deleted."""
    return rows.first(connection, Group, "FROM groups WHERE name = ? AND deleted_at_us IS NULL", (name,))


def is_group(connection: sqlite3.Connection, agent_id: str) -> bool:
    """Whether that row of `agents` stands for a group."""
    return connection.execute("SELECT 1 FROM groups WHERE id = ?", (agent_id,)).fetchone() is not None


def is_bounded(connection: sqlite3.Connection, agent_id: str) -> bool:
    """Whether that row of `agents` stands for a group whose runs at once are limited."""
    query = "SELECT 1 FROM groups WHERE id = ? AND runs_at_once > 0"
    return connection.execute(query, (agent_id,)).fetchone() is not None


def every(connection: sqlite3.Connection) -> list[Group]:
    """All groups that are not deleted, by name."""
    return rows.every(connection, Group, "FROM groups WHERE deleted_at_us IS NULL ORDER BY name")


def names(connection: sqlite3.Connection) -> list[str]:
    """The names of all groups."""
    return [group.name for group in every(connection)]


def line(connection: sqlite3.Connection, name: str) -> GroupLine | None:
    """The group of that name as the list has it."""
    return next((line for line in lines(connection, "", 1000, name) if line.name == name), None)


def lines(connection: sqlite3.Connection, after: str = "", limit: int = 100, match: str = "") -> list[GroupLine]:
    """The list of groups, by name above `after`."""
    query = f"""
    SELECT g.id, g.name, g.policy, g.description, g.deployment, g.deployed_by, g.deployed_at_us,
        (SELECT count(*) FROM group_members m WHERE m.group_id = g.id),
        (SELECT count(*) FROM jobs j WHERE j.agent_id = g.id AND j.deleted_at_us IS NULL),
        (SELECT count(*) FROM runs WHERE group_id = g.id AND group_id != '' AND ended_at_us IS NULL
            AND state = 'running'),
        (SELECT count(*) FROM runs WHERE group_id = g.id AND {_POOL}), g.runs_at_once
    FROM groups g WHERE g.deleted_at_us IS NULL AND g.name > ? AND instr(g.name, ?) ORDER BY g.name LIMIT ?"""
    found = connection.execute(query, (after, match, limit))
    return [rows.build(GroupLine, GroupLine.__struct_fields__, tuple(row)) for row in found]


def member_lines(connection: sqlite3.Connection, group_id: str) -> list[MemberLine]:
    """The members of a group with their agents, by position."""
    query = f"""
    SELECT a.id, a.name, m.position, m.capacity, a.capacity, a.deployment_kept >= a.deployment, a.version,
        a.quarantined_at_us IS NOT NULL,
        (SELECT count(*) FROM runs WHERE agent_id = a.id AND state IN {_LOAD}),
        (SELECT count(*) FROM runs WHERE group_id = m.group_id AND group_id != '' AND agent_id = a.id
            AND {_OPEN_SENT})
    FROM group_members m JOIN agents a ON a.id = m.agent_id WHERE m.group_id = ? ORDER BY m.position"""
    found = connection.execute(query, (group_id,))
    return [rows.build(MemberLine, MemberLine.__struct_fields__, tuple(row)) for row in found]


def members(connection: sqlite3.Connection, group_id: str) -> list[GroupMember]:
    """The members of a group, by position."""
    return rows.every(connection, GroupMember, "FROM group_members WHERE group_id = ? ORDER BY position", (group_id,))


def of_agent(connection: sqlite3.Connection, agent_id: str) -> list[Group]:
    """The groups that an agent serves, by name."""
    tail = (
        "FROM groups WHERE deleted_at_us IS NULL AND id IN"
        " (SELECT group_id FROM group_members WHERE agent_id = ?) ORDER BY name"
    )
    return rows.every(connection, Group, tail, (agent_id,))


def names_of(connection: sqlite3.Connection, agent_ids: Iterable[str]) -> dict[str, list[str]]:
    """The names of the groups that these agents serve, by agent."""
    query = (
        "SELECT m.agent_id, g.name FROM group_members m JOIN groups g ON g.id = m.group_id AND g.deleted_at_us IS NULL"
        " WHERE m.agent_id IN (SELECT value FROM json_each(?)) ORDER BY g.name"
    )
    found: dict[str, list[str]] = {}
    for agent_id, name in connection.execute(query, (json.dumps(list(agent_ids)),)):
        found.setdefault(str(agent_id), []).append(str(name))
    return found


def deployed(connection: sqlite3.Connection) -> set[str]:
    """Ids of the agents that serve any group."""
    return {row[0] for row in connection.execute("SELECT DISTINCT agent_id FROM group_members")}


def insert(connection: sqlite3.Connection, group: Group) -> None:
    """Add a group and its row among the agents."""
    stand_in = {
        "id": group.id,
        "name": GROUP_NAME + group.name,
        "enrolled_at_us": group.created_at_us,
        "removed_at_us": group.created_at_us,
        "gates_acknowledged": ALWAYS,
        "deployment": 0,
    }
    rows.insert(connection, "agents", stand_in)
    rows.insert(connection, "groups", {name: getattr(group, name) for name in group.__struct_fields__})


def update(connection: sqlite3.Connection, group_id: str, **values: object) -> None:
    """Set columns of one group by name."""
    rows.update(connection, "groups", values, {"id": group_id})


def set_members(connection: sqlite3.Connection, group_id: str, wanted: Sequence[GroupMember]) -> None:
    """Replace all members."""
    connection.execute("DELETE FROM group_members WHERE group_id = ?", (group_id,))
    for member in wanted:
        rows.insert(connection, "group_members", {n: getattr(member, n) for n in member.__struct_fields__})


def raise_deployment(connection: sqlite3.Connection, agent_ids: Iterable[str]) -> None:
    """Their groups changed: the agents are to be told."""
    for agent_id in agent_ids:
        connection.execute("UPDATE agents SET deployment = deployment + 1 WHERE id = ?", (agent_id,))


def to_tell(connection: sqlite3.Connection) -> dict[str, int]:
    """Agents that have not persisted their present deployment, with its number."""
    query = "SELECT id, deployment FROM agents WHERE deployment > deployment_kept AND removed_at_us IS NULL"
    return {str(agent_id): int(number) for agent_id, number in connection.execute(query)}


def keep_deployment(connection: sqlite3.Connection, agent_id: str, number: int) -> None:
    """The agent has persisted deployment `number`. Lower ones than known change nothing."""
    query = "UPDATE agents SET deployment_kept = ? WHERE id = ? AND deployment_kept < ?"
    connection.execute(query, (number, agent_id, number))


# The pool.


def in_pool(connection: sqlite3.Connection, group_id: str, limit: int) -> list[Run]:
    """Runs of a group that nobody was sent and neither a hold nor the maintenance of a tenant stops, by rank."""
    tail = (
        f"FROM runs r WHERE group_id = ? AND {_POOL} AND state IN ('waiting', 'starting') AND {_READY}"
        " AND EXISTS (SELECT 1 FROM jobs j WHERE j.id = job_id AND j.held = 0 AND j.deleted_at_us IS NULL)"
        f" AND NOT {_CLOSED} ORDER BY rank_us, number LIMIT ?"
    )
    return rows.every(connection, Run, tail, (group_id, limit))


def orphaned(connection: sqlite3.Connection, limit: int = 500) -> list[Run]:
    """Runs in a pool whose job was deleted."""
    deleted = "EXISTS (SELECT 1 FROM jobs j WHERE j.id = job_id AND j.deleted_at_us IS NOT NULL)"
    tail = f"FROM runs WHERE {_POOL} AND {deleted} LIMIT ?"
    return rows.every(connection, Run, tail, (limit,))


def pools(connection: sqlite3.Connection) -> list[str]:
    """Ids of the groups with anything in their pool."""
    query = f"SELECT id FROM groups g WHERE EXISTS (SELECT 1 FROM runs WHERE group_id = g.id AND {_POOL} AND {_READY})"
    return [row[0] for row in connection.execute(query)]


def waiting(connection: sqlite3.Connection, group_id: str) -> list[Waiting]:
    """What waits in a pool, by reason; the oldest first."""
    query = (
        "SELECT reason, count(*), min(number), min(submitted_at_us) FROM runs"
        f" WHERE group_id = ? AND {_POOL} AND state = 'waiting' GROUP BY reason ORDER BY 3"
    )
    found = connection.execute(query, (group_id,))
    return [rows.build(Waiting, Waiting.__struct_fields__, tuple(row)) for row in found]


def oldest_since_us(connection: sqlite3.Connection, group_id: str) -> int | None:
    """Since when the oldest run in a pool waits that neither a hold nor a limit stops."""
    query = (
        f"SELECT min(submitted_at_us) FROM runs r WHERE group_id = ? AND {_POOL} AND state IN ('waiting', 'starting')"
        f" AND {_READY} AND limited = 0 AND NOT {_CLOSED}"
        " AND EXISTS (SELECT 1 FROM jobs j WHERE j.id = job_id AND j.held = 0 AND j.deleted_at_us IS NULL)"
    )
    row = connection.execute(query, (group_id,)).fetchone()
    return None if row[0] is None else int(row[0])


_SAYS = f"CASE WHEN {_CLOSED} THEN :closed WHEN j.held THEN :held ELSE :reason END"
_OTHERWISE = (
    f"{_POOL.replace('group_id', 'r.group_id')} AND r.group_id = :group AND r.state = 'waiting' AND {_READY}"
    f" AND r.limited = 0 AND r.reason != {_SAYS}"
)


def says_otherwise(connection: sqlite3.Connection, group_id: str, reason: str) -> bool:
    """Whether anything in a pool says another reason than `reason`, or than its tenant's maintenance or job's hold."""
    query = f"SELECT 1 FROM runs r JOIN jobs j ON j.id = r.job_id WHERE {_OTHERWISE} LIMIT 1"
    values = {"group": group_id, "reason": reason, "held": HELD, "closed": REASONS[MAINTENANCE]}
    return connection.execute(query, values).fetchone() is not None


def say_reason(connection: sqlite3.Connection, group_id: str, reason: str, now_us: int, limit: int = 1000) -> int:
    """Let what waits in a pool say `reason`, or what else stops it; at most `limit` rows, returns how many."""
    query = (
        "UPDATE runs AS r SET state_since_us = :now, sequence = :sequence,"
        f" reason = (SELECT {_SAYS} FROM jobs j WHERE j.id = r.job_id) WHERE number IN"
        f" (SELECT r.number FROM runs r JOIN jobs j ON j.id = r.job_id WHERE {_OTHERWISE} LIMIT :limit)"
    )
    values: dict[str, object] = {"group": group_id, "reason": reason, "held": HELD, "closed": REASONS[MAINTENANCE]}
    values |= {"now": now_us, "limit": limit}
    return connection.execute(query, {**values, "sequence": position.sequence(connection)}).rowcount


def open_at(connection: sqlite3.Connection, group_id: str, agent_id: str) -> list[Run]:
    """Open runs of a group that are on their way to an agent or there, by number."""
    tail = "FROM runs WHERE group_id = ? AND group_id != '' AND agent_id = ? AND ended_at_us IS NULL ORDER BY number"
    return rows.every(connection, Run, tail, (group_id, agent_id))


def held_away(connection: sqlite3.Connection) -> list[Run]:
    """Sent runs that an agent holds which is locked or being stopped itself, or serves the group no more.

    Not asked for yet.
    """
    tail = (
        f"FROM runs WHERE group_id != '' AND {_OPEN_SENT} AND state = 'waiting'"
        " AND (EXISTS (SELECT 1 FROM gates g WHERE g.agent_id = runs.agent_id)"
        " OR EXISTS (SELECT 1 FROM drains d WHERE d.agent_id = runs.agent_id AND d.state IN ('asked', 'draining'))"
        " OR NOT EXISTS"
        " (SELECT 1 FROM group_members m WHERE m.group_id = runs.group_id AND m.agent_id = runs.agent_id))"
        " AND NOT EXISTS (SELECT 1 FROM recalls c WHERE c.run = runs.number AND c.answered_at_us IS NULL)"
        " ORDER BY number LIMIT 500"
    )
    return rows.every(connection, Run, tail)


def open_count(connection: sqlite3.Connection, group_id: str) -> int:
    """Runs of a group that have not ended."""
    query = "SELECT count(*) FROM runs WHERE group_id = ? AND group_id != '' AND ended_at_us IS NULL"
    return rows.number(connection, query, (group_id,))


def load_pools(connection: sqlite3.Connection, barred: dict[str, str], group_ids: Iterable[str]) -> dict[str, Pool]:
    """The pools with their seats as they are now; agents in several groups are one worker. `barred`: why, by agent."""
    workers: dict[str, Worker] = {}
    found: dict[str, Pool] = {}
    for group_id in group_ids:
        group = get(connection, group_id)
        if group is None:
            continue
        pool = found[group_id] = Pool(group.id, group.name, group.policy, group.turn)
        for member in members(connection, group_id):
            worker = workers.get(member.agent_id) or _worker(connection, member.agent_id, barred)
            workers[member.agent_id] = worker
            load = _group_load(connection, group_id, member.agent_id) if member.capacity else 0
            pool.seats.append(Seat(worker, member.position, load, member.capacity))
    return found


def _worker(connection: sqlite3.Connection, agent_id: str, barred: dict[str, str]) -> Worker:
    agent = rows.first(connection, Agent, "FROM agents WHERE id = ?", (agent_id,))
    assert agent is not None, "a member's agent has a row"
    query = (
        f"SELECT (SELECT count(*) FROM runs WHERE agent_id = :agent AND state IN {_LOAD})"
        " + (SELECT count(*) FROM runs WHERE agent_id = :agent AND state = 'waiting' AND dispatched_epoch IS NOT NULL)"
    )
    load = rows.number(connection, query, {"agent": agent_id})
    return Worker(agent_id, agent.name, load, agent.capacity, barred.get(agent_id, ""))


def _group_load(connection: sqlite3.Connection, group_id: str, agent_id: str) -> int:
    query = (
        "SELECT count(*) FROM runs WHERE group_id = ? AND group_id != '' AND agent_id = ? AND ended_at_us IS NULL"
        " AND state NOT IN ('unknown', 'suspended', 'resuming')"
    )
    return rows.number(connection, query, (group_id, agent_id))


# Requests to give back.


def recall(connection: sqlite3.Connection, run: Run, by: str, reason: str, now_us: int) -> bool:
    """Ask for a run that was sent; False when that is asked already."""
    query = (
        "INSERT INTO recalls (run, agent_id, group_id, requested_by, requested_at_us, reason)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
    )
    return connection.execute(query, (run.number, run.agent_id, run.group_id, by, now_us, reason)).rowcount == 1


def pending_recalls(connection: sqlite3.Connection, agent_id: str, limit: int = 500) -> list[Recall]:
    """What an agent is asked to give back and has not answered."""
    tail = "FROM recalls WHERE agent_id = ? AND answered_at_us IS NULL ORDER BY id LIMIT ?"
    return rows.every(connection, Recall, tail, (agent_id, limit))


def recalls_of_group(connection: sqlite3.Connection, group_id: str, limit: int = 200) -> list[Recall]:
    """What is asked for of a group's runs and not answered yet."""
    tail = "FROM recalls WHERE group_id = ? AND answered_at_us IS NULL ORDER BY id LIMIT ?"
    return rows.every(connection, Recall, tail, (group_id, limit))


def pending_recall(connection: sqlite3.Connection, number: int) -> Recall | None:
    """What is asked for of one run."""
    return rows.first(connection, Recall, "FROM recalls WHERE run = ? AND answered_at_us IS NULL", (number,))


def answer_recall(connection: sqlite3.Connection, number: int, answer: str, now_us: int) -> None:
    """The request for a run is answered, if there is one."""
    query = "UPDATE recalls SET answer = ?, answered_at_us = ? WHERE run = ? AND answered_at_us IS NULL"
    connection.execute(query, (answer, now_us, number))
