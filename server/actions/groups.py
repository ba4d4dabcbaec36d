"""Groups of agents and their deployment. Permission: agents.manage for groups, `set_capacity` too.

`deploy` replaces the members as a whole, while runs are running (SMA-5): see `actions.pools.hand_over`.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence

import msgspec

from server.actions import agents as agent_actions
from server.actions import deployments, pools
from server.actions.change import Change, Transaction, record, require
from server.core.groups import Group, GroupMember, Policy
from server.core.model import Principal
from server.errors import Conflict, Invalid, NotFound
from server.storage import agents, groups, jobs, limits

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
POLICIES = tuple(str(policy) for policy in Policy)
CAPACITY_MAX = 1_000_000


class GroupSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What people say about a group. `agents`: names in order, each with `:N` for N runs of the group at once there."""

    name: str
    policy: str = "least_loaded"
    agents: list[str] = []
    description: str = ""
    runs_at_once: int = 0
    """Of all runs of the group together; 0 is no limit."""


class GroupChange(msgspec.Struct, frozen=True, kw_only=True):
    """What is given changes; `agents` replaces all members."""

    agents: list[str] | None = None
    policy: str | None = None
    description: str | None = None
    runs_at_once: int | None = None
    reason: str = ""


class Deployed(msgspec.Struct, frozen=True):
    """What a deployment came to. `asked`: runs that removed members were sent and are asked to give back."""

    name: str
    deployment: int
    members: list[str]
    added: list[str]
    removed: list[str]
    asked: int


def create(spec: GroupSpec, group_id: str, by: Principal, now_us: int) -> Change[Deployed]:
    """Add a group with its members. `group_id` is made by the caller, as an agent's is."""
    require(by, "agents.manage")
    _check(spec.name, spec.policy)
    _check_at_once(spec.runs_at_once)

    def change(transaction: Transaction) -> Deployed:
        connection = transaction.connection
        if groups.by_name(connection, spec.name) is not None:
            raise Conflict(f"There is a group {spec.name} already. Choose another name.")
        group = Group(
            id=group_id,
            name=spec.name,
            policy=spec.policy,
            description=spec.description,
            turn=-1,
            deployment=0,
            deployed_by=by.name,
            deployed_at_us=now_us,
            created_at_us=now_us,
            runs_at_once=spec.runs_at_once,
        )
        groups.insert(connection, group)
        done = _deploy(connection, group, spec.agents, by, now_us)
        record(connection, by, now_us, "groups.create", spec.name, "", spec)
        return done

    return change


def update(name: str, wanted: GroupChange, by: Principal, now_us: int) -> Change[Deployed]:
    """Give a group other properties, and other members when `agents` is given: as a whole, in this one change."""
    require(by, "agents.manage")
    if wanted.policy is not None:
        _check(name, wanted.policy)
    _check_at_once(wanted.runs_at_once)

    def change(transaction: Transaction) -> Deployed:
        connection = transaction.connection
        group = find(connection, name)
        before = {"policy": group.policy, "agents": _names(connection, group.id), "runs_at_once": group.runs_at_once}
        if wanted.policy is not None:
            groups.update(connection, group.id, policy=wanted.policy, turn=-1)
        if wanted.description is not None:
            groups.update(connection, group.id, description=wanted.description)
        if wanted.agents is not None:
            done = _deploy(connection, group, wanted.agents, by, now_us)
        else:
            done = Deployed(name, group.deployment, _names(connection, group.id), [], [], 0)
        is_other = wanted.policy is not None and wanted.policy != group.policy
        is_other |= _set_at_once(connection, group, wanted.runs_at_once)
        deployments.plan_members(connection, group.id, now_us, is_other)
        record(connection, by, now_us, "groups.update", name, before, wanted, wanted.reason)
        return done

    return change


def _set_at_once(connection: sqlite3.Connection, group: Group, wanted: int | None) -> bool:
    """Whether it has a limit now and had none, or the other way round: then others act on its jobs' orders."""
    if wanted is None or wanted == group.runs_at_once:
        return False
    groups.update(connection, group.id, runs_at_once=wanted)
    limits.mark_group(connection, group.id)
    return bool(wanted) != bool(group.runs_at_once)


def delete(name: str, by: Principal, now_us: int, reason: str = "") -> Change[None]:
    """Delete a group. Conflict while jobs are bound to it or runs of it are open. Its name becomes free."""
    require(by, "agents.manage")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        group = find(connection, name)
        bound = jobs.count_of_agent(connection, group.id)
        if bound:
            raise Conflict(f"{bound} jobs run on the group {name}. Move or delete them first: `understudy job list`.")
        left = groups.open_count(connection, group.id)
        if left:
            raise Conflict(f"{left} runs of the group {name} have not ended. Wait for them, or cancel them.")
        gone = f"{name} (deleted {group.id[:8]})"
        groups.raise_deployment(connection, [member.agent_id for member in groups.members(connection, group.id)])
        groups.set_members(connection, group.id, ())
        groups.update(connection, group.id, name=gone, deleted_at_us=now_us)
        agents.update(connection, group.id, name=groups.GROUP_NAME + gone)
        record(connection, by, now_us, "groups.delete", name, group, "", reason)

    return change


def set_capacity(agent: str, capacity: int, by: Principal, now_us: int) -> Change[int]:
    """How many runs groups may fill an agent up to; 0 is unlimited. Runs that are there go on."""
    require(by, "agents.manage")
    if not 0 <= capacity <= CAPACITY_MAX:
        raise Invalid(f"The capacity is 0 (unlimited) to {CAPACITY_MAX} runs.", field="capacity")

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        found = agent_actions.find(connection, agent)
        if found.capacity != capacity:
            agents.update(connection, found.id, capacity=capacity)
            record(connection, by, now_us, "agents.set_capacity", agent, found.capacity, capacity)
        return capacity

    return change


def find(connection: sqlite3.Connection, name: str) -> Group:
    """The group of that name that is not deleted; raises NotFound."""
    group = groups.by_name(connection, name)
    if group is None:
        raise NotFound(f"There is no group {name}. See the list of groups: `understudy group list`.")
    return group


def _deploy(
    connection: sqlite3.Connection, group: Group, wanted: Sequence[str], by: Principal, now_us: int
) -> Deployed:
    before = {member.agent_id for member in groups.members(connection, group.id)}
    seats = _seats(connection, group.id, wanted)
    after = {seat.agent_id for seat in seats}
    groups.set_members(connection, group.id, seats)
    number = group.deployment + 1
    values = {"deployment": number, "deployed_by": by.name, "deployed_at_us": now_us, "turn": -1}
    groups.update(connection, group.id, **values)
    groups.raise_deployment(connection, before ^ after)
    asked = 0
    for agent_id in sorted(before - after):
        asked += pools.hand_over(connection, group.id, agent_id, by.name, now_us)
    named = [_agent_name(connection, seat.agent_id) for seat in seats]
    added, removed = sorted(after - before), sorted(before - after)
    return Deployed(
        group.name,
        number,
        named,
        sorted(_agent_name(connection, agent_id) for agent_id in added),
        sorted(_agent_name(connection, agent_id) for agent_id in removed),
        asked,
    )


def _seats(connection: sqlite3.Connection, group_id: str, wanted: Sequence[str]) -> list[GroupMember]:
    seats: list[GroupMember] = []
    for place, text in enumerate(wanted):
        name, colon, number = text.partition(":")
        if colon and not (number.isdigit() and int(number) <= CAPACITY_MAX):
            raise Invalid(f"{text}: write NAME, or NAME:N for N runs of the group at once.", field="agents")
        agent = agent_actions.find(connection, name)
        if any(seat.agent_id == agent.id for seat in seats):
            raise Invalid(f"{name} is named twice. Name each agent once.", field="agents")
        capacity = int(number) if colon else 0
        seats.append(GroupMember(group_id=group_id, agent_id=agent.id, position=place, capacity=capacity))
    return seats


def _names(connection: sqlite3.Connection, group_id: str) -> list[str]:
    return [_agent_name(connection, member.agent_id) for member in groups.members(connection, group_id)]


def _agent_name(connection: sqlite3.Connection, agent_id: str) -> str:
    agent = agents.get(connection, agent_id)
    return agent.name if agent is not None else agent_id[:8]


def _check_at_once(wanted: int | None) -> None:
    if wanted is not None and not 0 <= wanted <= CAPACITY_MAX:
        raise Invalid(f"Runs at once are 0 (no limit) to {CAPACITY_MAX}.", field="runs_at_once")


def _check(name: str, policy: str) -> None:
    if not _NAME.match(name):
        wrong = "must begin with a letter or digit and have up to 63 letters, digits, . _ -"
        raise Invalid(f"The group's name {wrong}.", field="name")
    if policy not in POLICIES:
        raise Invalid(f"The policy must be one of {', '.join(POLICIES)}.", field="policy")
