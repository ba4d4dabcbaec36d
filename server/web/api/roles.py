"""Roles: the four that are built in and those that the cluster made, and what each permission lets people do."""

from __future__ import annotations

import sqlite3

import msgspec

from server.actions import roles, second_factor
from server.core import access
from server.core.people import OwnRole
from server.errors import Invalid
from server.storage import roles as rows
from server.storage import second_factors
from server.web.api.endpoint import Answer, Call, Endpoint, shape


class NewRole(msgspec.Struct, frozen=True):
    """A role to make."""

    name: str
    permissions: list[str]
    description: str = ""


class RoleChange(msgspec.Struct, frozen=True):
    """What is to change of a role; None stays. `second_factor` alone: whether who has the role must have one."""

    permissions: list[str] | None = None
    description: str | None = None
    second_factor: bool | None = None


class RoleLine(msgspec.Struct, frozen=True):
    """A role and what it may. `users` are the first 100 that have it."""

    name: str
    built_in: bool
    permissions: list[str]
    description: str
    users: list[str]
    second_factor: bool = False


class PermissionLine(msgspec.Struct, frozen=True):
    """A permission, what it lets people do, and whether it is for people of the host alone."""

    name: str
    sentence: str
    host_only: bool
    roles: list[str]


BUILT_IN = {
    "administrator": "May do everything.",
    "operator": "Makes jobs and runs them, stops and starts what runs.",
    "user": "Looks, and starts and stops runs.",
    "auditor": "Looks, and reads the audit history; changes nothing.",
}


def lines(connection: sqlite3.Connection, tenant: str = "") -> list[RoleLine]:
    """A query: all roles, the built-in ones first; a tenant sees its own users only."""
    built_in = [
        RoleLine(
            name=name,
            built_in=True,
            permissions=[one for one, having in access.PERMISSIONS.items() if name in having],
            description=BUILT_IN[name],
            users=rows.users_of(connection, name, tenant),
            second_factor=second_factors.is_required(connection, name),
        )
        for name in access.ROLES
    ]
    return built_in + [_line(connection, role, tenant) for role in rows.every(connection)]


def _line(connection: sqlite3.Connection, role: OwnRole, tenant: str) -> RoleLine:
    users = rows.users_of(connection, role.name, tenant)
    required = second_factors.is_required(connection, role.name)
    return RoleLine(role.name, False, list(role.permissions), role.description, users, required)


async def list_roles(call: Call) -> list[RoleLine]:
    """All roles."""
    return await call.read(lambda connection: lines(connection, call.by.tenant))


async def list_permissions(call: Call) -> list[PermissionLine]:
    """The permissions that roles and scopes of tokens are made of."""
    return permission_lines()


def permission_lines() -> list[PermissionLine]:
    """Every permission with its sentence."""
    return [
        PermissionLine(name, access.SENTENCES[name], name in access.HOST_ONLY, list(access.roles_with(name)))
        for name in access.PERMISSIONS
    ]


async def create_role(call: Call) -> Answer:
    """Make a role."""
    body = call.body
    change = roles.create(body.name, body.permissions, body.description, call.by, call.now_us)
    return await call.write(change, lambda made: {"name": made.name, "permissions": list(made.permissions)}, 201)


async def update_role(call: Call) -> Answer:
    """Change a role; whoever has it has the new permissions at the next request."""
    name, body = call.path("name"), call.body
    if body.second_factor is not None:
        if body.permissions is not None or body.description is not None:
            raise Invalid("Change second_factor alone.", field="second_factor")
        rule = second_factor.require_of_role(name, body.second_factor, call.by, call.now_us)
        return await call.write(rule, lambda _: {"name": name, "changed": True})
    change = roles.update(name, body.permissions, body.description, call.by, call.now_us)
    return await call.write(change, lambda _: {"name": name, "changed": True})


async def delete_role(call: Call) -> Answer:
    """Delete a role that nobody has."""
    name = call.path("name")
    return await call.write(roles.delete(name, call.by, call.now_us), lambda _: {"name": name, "deleted": True})


ENDPOINTS = (
    Endpoint("GET", "/api/v1/roles", list_roles, "Roles", answer=list[RoleLine]),
    Endpoint(
        "POST",
        "/api/v1/roles",
        create_role,
        "Make a role",
        answer=shape(name=str, permissions=list[str]),
        body=NewRole,
        status=201,
    ),
    Endpoint(
        "PUT",
        "/api/v1/roles/{name}",
        update_role,
        "Change a role",
        answer=shape(name=str, changed=bool),
        body=RoleChange,
    ),
    Endpoint(
        "DELETE",
        "/api/v1/roles/{name}",
        delete_role,
        "Delete a role that nobody has",
        answer=shape(name=str, deleted=bool),
    ),
    Endpoint("GET", "/api/v1/permissions", list_permissions, "What roles are made of", answer=list[PermissionLine]),
)
