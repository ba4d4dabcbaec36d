"""What follows for the members of groups when agents come, go and are replaced, inside the caller's change."""

from __future__ import annotations

import sqlite3

import msgspec

from server.actions import pools
from server.core.groups import Policy
from server.storage import groups, jobs, schedules


def replace_agent(connection: sqlite3.Connection, old_id: str, new_id: str, now_us: int) -> None:
    """A new machine takes the places of an old one."""
    for group in groups.of_agent(connection, old_id):
        seats = groups.members(connection, group.id)
        taken = [msgspec.structs.replace(s, agent_id=new_id) if s.agent_id == old_id else s for s in seats]
        groups.set_members(connection, group.id, taken)
        groups.raise_deployment(connection, [new_id])
        plan_members(connection, group.id, now_us)


def withdraw_agent(connection: sqlite3.Connection, agent_id: str, by: str, now_us: int) -> None:
    """The agent is removed, and serves no group any more."""
    for group in groups.of_agent(connection, agent_id):
        left = [seat for seat in groups.members(connection, group.id) if seat.agent_id != agent_id]
        groups.set_members(connection, group.id, left)
        pools.hand_over(connection, group.id, agent_id, by, now_us)
        plan_members(connection, group.id, now_us)


def plan_members(connection: sqlite3.Connection, group_id: str, now_us: int, is_other_policy: bool = False) -> None:
    """Each member of an `all` group has the jobs' schedules, of other groups none.

    Jobs whose orders are others now get another version, so that no plan made before is written.
    """
    group = groups.get(connection, group_id)
    assert group is not None, "the caller has just read it"
    wanted = [m.agent_id for m in groups.members(connection, group_id)] if group.policy == Policy.ALL else []
    for job in jobs.of_agent(connection, group_id):
        if schedules.set_members(connection, job.id, wanted, now_us) or is_other_policy:
            jobs.update(connection, job.id, version=job.version + 1, updated_at_us=now_us)
