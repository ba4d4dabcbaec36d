"""Groups of agents: the list, one with what its members do and what waits and why, and its deployment."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from server.actions import agents, groups, pools
from server.actions.groups import Deployed, GroupChange, GroupSpec
from server.core.groups import Recall
from server.core.limits import group_name
from server.storage import groups as rows
from server.storage import limits
from server.storage.groups import GroupLine, MemberLine, Waiting
from server.storage.limits import Holder
from server.trust.tls import secret_hash
from server.web.api.endpoint import Answer, Call, Endpoint, shape


class MemberView(msgspec.Struct, frozen=True):
    """A member. `state` is "" while it may start runs; `load` are its runs, of groups or not; capacity 0 is unlimited.

    `group_load` are those of this group. `told`: it has persisted its present deployment.
    """

    agent: str
    state: str
    load: int
    capacity: int
    group_capacity: int
    told: bool
    group_load: int = 0

    @property
    def is_full(self) -> bool:
        """Whether it has as many runs as it may have."""
        own, shared = self.group_capacity, self.capacity
        return bool((own and self.group_load >= own) or (shared and self.load >= shared))


class GroupView(msgspec.Struct, frozen=True):
    """One group. `waiting` are the runs that nobody was sent, by reason; `recalls` what is asked back, unanswered.

    `runs_at_once`: of all its runs together, 0 is no limit; `holders` are those that count then.
    """

    name: str
    policy: str
    description: str
    deployment: int
    deployed_by: str
    deployed_at_us: int
    members: list[MemberView]
    jobs: int
    running: int
    waiting: list[Waiting]
    recalls: list[Recall]
    runs_at_once: int = 0
    holders: list[Holder] = []


class Capacity(msgspec.Struct, frozen=True):
    """How many runs groups may fill an agent up to; 0 is unlimited."""

    capacity: int


async def list_groups(call: Call) -> list[GroupLine]:
    """Groups by name, above `after`."""
    after, match, limit = call.query("after"), call.query("match"), call.limit()
    return await call.read(lambda connection: rows.lines(connection, after, limit, match))


async def show_group(call: Call) -> GroupView:
    """One group."""
    name = call.path("name")
    return await call.read(lambda connection: view(connection, name, call.site.agent_connected))


def view(connection: sqlite3.Connection, name: str, is_connected: Any) -> GroupView:
    """The group as rows and connections say; raises NotFound."""
    group = groups.find(connection, name)
    seats = rows.member_lines(connection, group.id)
    connected = {seat.agent_id for seat in seats if is_connected(seat.agent_id)}
    barred = pools.barred(connection, connected)
    line = rows.line(connection, group.name)
    assert line is not None, "it was found just now"
    members = [_member(seat, barred.get(seat.agent_id, "")) for seat in seats]
    return GroupView(
        name=group.name,
        policy=group.policy,
        description=group.description,
        deployment=group.deployment,
        deployed_by=group.deployed_by,
        deployed_at_us=group.deployed_at_us,
        members=members,
        jobs=line.jobs,
        running=line.running,
        waiting=rows.waiting(connection, group.id),
        recalls=rows.recalls_of_group(connection, group.id),
        runs_at_once=group.runs_at_once,
        holders=_holders(connection, group_name(group.name)) if group.runs_at_once else [],
    )


def _holders(connection: sqlite3.Connection, place: str) -> list[Holder]:
    return [holder for holder in limits.holders(connection) if place in holder.holds]


def _member(seat: MemberLine, why: str) -> MemberView:
    return MemberView(
        seat.agent, why, seat.running, seat.agent_capacity, seat.capacity, seat.told, group_load=seat.sent
    )


async def create_group(call: Call) -> Answer:
    """Add a group with its members."""
    group_id = secret_hash(f"group {call.key}")[:32]
    return await call.write(groups.create(call.body, group_id, call.by, call.now_us), status=201)


async def update_group(call: Call) -> Answer:
    """Replace the members as a whole, or change the policy."""
    return await call.write(groups.update(call.path("name"), call.body, call.by, call.now_us))


async def delete_group(call: Call) -> Answer:
    """Delete a group."""
    name = call.path("name")
    change = groups.delete(name, call.by, call.now_us, call.query("reason"))
    return await call.write(change, lambda _: {"name": name, "deleted": True})


async def set_capacity(call: Call) -> Answer:
    """Set an agent's capacity."""
    name = call.path("name")
    change = groups.set_capacity(name, call.body.capacity, call.by, call.now_us)
    return await call.write(change, lambda capacity: {"name": name, "capacity": capacity})


async def show_deployment(call: Call) -> dict[str, Any]:
    """The groups that an agent serves, and whether it knows."""
    name = call.path("name")

    def query(connection: sqlite3.Connection) -> dict[str, Any]:
        agent = agents.find(connection, name)
        serves = [group.name for group in rows.of_agent(connection, agent.id)]
        known = agent.deployment_kept >= agent.deployment
        return {"name": name, "groups": serves, "told": known, "capacity": agent.capacity}

    return await call.read(query)


ENDPOINTS = (
    Endpoint("GET", "/api/v1/groups", list_groups, "Groups", answer=list[GroupLine], query=("after", "limit", "match")),
    Endpoint(
        "POST", "/api/v1/groups", create_group, "Add a group of agents", body=GroupSpec, answer=Deployed, status=201
    ),
    Endpoint("GET", "/api/v1/groups/{name}", show_group, "One group, its members and what waits", answer=GroupView),
    Endpoint(
        "PUT", "/api/v1/groups/{name}", update_group, "Deploy: replace the members", body=GroupChange, answer=Deployed
    ),
    Endpoint(
        "DELETE",
        "/api/v1/groups/{name}",
        delete_group,
        "Delete a group",
        answer=shape(name=str, deleted=bool),
        query=("reason",),
    ),
    Endpoint(
        "PUT",
        "/api/v1/agents/{name}/capacity",
        set_capacity,
        "Set an agent's capacity",
        answer=shape(name=str, capacity=int),
        body=Capacity,
    ),
    Endpoint(
        "GET",
        "/api/v1/agents/{name}/deployment",
        show_deployment,
        "The groups that an agent serves",
        answer=shape(name=str, groups=list[str], told=bool, capacity=int),
    ),
)
