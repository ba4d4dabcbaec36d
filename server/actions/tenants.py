"""Tenants, and which agents and groups are one's own. Permission: tenants.manage, of the host's people alone.

What a tenant has is made by its own people, or by the host's in its name (`actions.change.for_tenant`).
"""

from __future__ import annotations

import sqlite3

from server.actions import maintenance
from server.actions.change import Change, Transaction, record, require
from server.core.model import Principal
from server.core.tenancy import wrong_name
from server.errors import Conflict, Invalid, NotFound
from server.storage import agents, api_tokens, groups, sessions, tenants, users
from server.storage.tenants import Tenant, TenantLine

TITLE_MAX = 200


def create(name: str, title: str, by: Principal, now_us: int) -> Change[TenantLine]:
    """Add a tenant. Raises Invalid, Conflict."""
    require(by, "tenants.manage")
    if wrong := wrong_name(name):
        raise Invalid(f"The name of a tenant {wrong}.", field="name")
    _check_title(title)

    def change(transaction: Transaction) -> TenantLine:
        connection = transaction.connection
        if tenants.by_name(connection, name) is not None:
            raise Conflict(f"There is a tenant {name} already. Choose another name.")
        tenants.insert(connection, Tenant(name=name, title=title, created_at_us=now_us, created_by=by.name))
        record(connection, by, now_us, "tenants.create", name, "", {"title": title})
        return find(connection, name)

    return change


def update(name: str, title: str, by: Principal, now_us: int) -> Change[TenantLine]:
    """Give it another title. Its name stays: what it has is stored under it."""
    require(by, "tenants.manage")
    _check_title(title)

    def change(transaction: Transaction) -> TenantLine:
        connection = transaction.connection
        before = find(connection, name)
        tenants.update(connection, name, title=title)
        record(connection, by, now_us, "tenants.update", name, before.title, title)
        return find(connection, name)

    return change


def close(name: str, by: Principal, now_us: int, reason: str = "") -> Change[TenantLine]:
    """Let nobody of it sign in any more: sessions end, tokens are refused. Nothing of it starts any more.

    It is Suspended (docs/decisions/0139): what runs comes to its end, what falls due is missed and listed. One that is
    closed already, by a release that let its jobs go on, is suspended too.
    """
    return _set_closed(name, now_us, by, now_us, reason)


def reopen(name: str, by: Principal, now_us: int, reason: str = "") -> Change[TenantLine]:
    """Let its people sign in again, and its jobs start; of what was missed each job's misfire policy decides."""
    return _set_closed(name, None, by, now_us, reason)


def give_agent(place: str, tenant: str, by: Principal, now_us: int, reason: str = "") -> Change[None]:
    """Give an agent or a group to one tenant alone, or share it ("").

    Conflict while jobs, monitors, groups or runs of others are on it: they would lose it, or what they know of it.
    """
    require(by, "tenants.manage")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        if tenant:
            find(connection, tenant)
        group, agent = groups.by_name(connection, place), agents.by_name(connection, place)
        if group is None and agent is None:
            raise NotFound(f"There is no agent {place}, nor a group. See the list of agents.")
        agent_id = agent.id if agent is not None else group.id if group is not None else ""
        if tenant and tenants.others_on(connection, agent_id, tenant):
            raise Conflict(
                f"Jobs, monitors, groups or runs that are not of {tenant} are, or were, on {place}. "
                "Give it an agent on which nothing of others ever ran."
            )
        tenants.give_agent(connection, agent_id, tenant)
        record(connection, by, now_us, "tenants.give_agent", place, "", tenant or "shared", reason)

    return change


def find(connection: sqlite3.Connection, name: str) -> TenantLine:
    """The tenant; raises NotFound."""
    found = tenants.line(connection, name)
    if found is None:
        raise NotFound(f"There is no tenant {name}. `understudy tenant list` shows those there are.")
    return found


def _set_closed(name: str, at_us: int | None, by: Principal, now_us: int, reason: str) -> Change[TenantLine]:
    require(by, "tenants.manage")

    def change(transaction: Transaction) -> TenantLine:
        connection = transaction.connection
        before = find(connection, name)
        if at_us is not None:
            maintenance.suspend_closed(connection, name, by, now_us)
        if (before.closed_at_us is None) == (at_us is None):
            return before
        tenants.update(connection, name, closed_at_us=at_us)
        if at_us is None:
            maintenance.end_closed(connection, name, by, now_us)
        for user in users.of_tenant(connection, name) if at_us is not None else ():
            sessions.end_of_user(connection, user.id, now_us)
            api_tokens.revoke_of_user(connection, user.id, now_us)
        action = "tenants.reopen" if at_us is None else "tenants.close"
        record(connection, by, now_us, action, name, "", "", reason)
        return find(connection, name)

    return change


def _check_title(title: str) -> None:
    if len(title) > TITLE_MAX:
        raise Invalid(f"The title of a tenant has at most {TITLE_MAX} characters.", field="title")
