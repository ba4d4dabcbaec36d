"""Roles that the cluster makes itself, of the table of permissions. Permission: users.manage, of the host.

Nobody gives more than they have, and somebody can always manage users: neither an edit of a role, nor another role,
nor a closed account takes that from the last one.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection

from server.actions.change import Change, Transaction, record, require
from server.core import access
from server.core.model import Principal
from server.core.people import OwnRole, User
from server.errors import Conflict, Forbidden, Invalid, NotFound
from server.storage import roles, tenancy, users

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}\Z")
DESCRIPTION_LENGTH_MAX = 200


def create(name: str, permissions: Collection[str], description: str, by: Principal, now_us: int) -> Change[OwnRole]:
    """Make a role. Raises Invalid, Conflict when the name is taken, Forbidden for a permission that `by` lacks."""
    require_host(by)
    if not _NAME.match(name):
        raise Invalid("The name of a role has up to 40 small letters, digits and -.", field="name")
    given = _given(permissions, by)
    _check_description(description)

    def change(transaction: Transaction) -> OwnRole:
        connection = transaction.connection
        if name in access.ROLES or roles.get(connection, name) is not None:
            raise Conflict(f"There is a role {name} already. Choose another name.")
        if len(roles.every(connection)) >= roles.ROLES_MAX:
            raise Conflict(f"There are {roles.ROLES_MAX} roles already. Delete one that nobody has.")
        role = OwnRole(name=name, permissions=given, description=description, created_at_us=now_us, created_by=by.name)
        roles.insert(connection, role)
        record(connection, by, now_us, "roles.create", name, "", list(given))
        return role

    return change


def update(
    name: str, permissions: Collection[str] | None, description: str | None, by: Principal, now_us: int
) -> Change[None]:
    """Change what a role may, or its description; None stays. It holds at the next request of whoever has it.

    Raises Conflict when nobody could manage users then, Forbidden to take part in what `by` lacks.
    """
    require_host(by)
    given = _given(permissions, by) if permissions is not None else None
    _check_description(description or "")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        before = _find(connection, name)
        _given(before.permissions, by)
        if description is not None and description != before.description:
            roles.update(connection, name, description=description)
        if given is not None and given != before.permissions:
            roles.update(connection, name, permissions=given)
            keep_a_manager(connection)
            record(connection, by, now_us, "roles.update", name, list(before.permissions), list(given))

    return change


def delete(name: str, by: Principal, now_us: int) -> Change[None]:
    """Delete a role that nobody has; Conflict names who has it."""
    require_host(by)

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        before = _find(connection, name)
        having = roles.users_of(connection, name)
        if having:
            names = ", ".join(having[:5]) + (" and others" if len(having) > 5 else "")
            raise Conflict(f"{names} has the role {name}. Give another one first: understudy user role USER ROLE")
        roles.delete(connection, name)
        record(connection, by, now_us, "roles.delete", name, list(before.permissions))

    return change


def granted(connection: sqlite3.Connection, role: str) -> frozenset[str] | None:
    """A query: what a role may; None for a built-in one. A role that there is not may nothing."""
    if role in access.ROLES:
        return None
    found = roles.get(connection, role)
    return frozenset(found.permissions) if found is not None else frozenset()


def principal(connection: sqlite3.Connection, user: User, address: str) -> Principal:
    """A query: the user as one who asks, with what the role may now."""
    tenant = user.tenant or tenancy.tenant_of(connection)  # whoever looks is at home in it and sees ""
    return Principal(user.name, user.role, address, tenant, granted(connection, user.role))


def check_exists(connection: sqlite3.Connection, role: str) -> None:
    """Raise Invalid when there is no such role."""
    if role not in access.ROLES and roles.get(connection, role) is None:
        names = [*access.ROLES, *(one.name for one in roles.every(connection))]
        raise Invalid("The role must be one of " + ", ".join(names), field="role")


def check_within(connection: sqlite3.Connection, role: str, tenant: str, by: Principal) -> None:
    """Raise Forbidden when a user of this role could do more than `by`: nobody gives, or takes over, more."""
    other = Principal("", role, tenant=tenant or tenancy.tenant_of(connection), granted=granted(connection, role))
    _check_within(access.permissions_of(other), by)


def keep_a_manager(connection: sqlite3.Connection) -> None:
    """Raise Conflict when, as the rows are now, no open account of the host could manage users."""
    own = [role.name for role in roles.every(connection) if "users.manage" in role.permissions]
    if not users.active_with(connection, [*access.roles_with("users.manage"), *own]):
        raise Conflict("Nobody could manage users then: this is the last one. Make somebody else administrator first.")


def require_host(by: Principal) -> None:
    """Raise Forbidden unless `by` may manage the users of the host."""
    require(by, "users.manage")
    if by.tenant:
        raise Forbidden(f"{by.name} belongs to the tenant {by.tenant}; roles concern the host. Ask its administrator.")


def _find(connection: sqlite3.Connection, name: str) -> OwnRole:
    if name in access.ROLES:
        raise Conflict(f"The role {name} is built in and stays as it is. Make one of your own: understudy role create")
    found = roles.get(connection, name)
    if found is None:
        raise NotFound(f"There is no role {name}. See the list: understudy role list")
    return found


def _given(permissions: Collection[str], by: Principal) -> tuple[str, ...]:
    unknown = sorted(set(permissions) - access.PERMISSIONS.keys())
    if unknown:
        raise Invalid(f"There is no permission {', '.join(unknown)}. See: understudy role list", field="permissions")
    wanted = access.EVERY_ROLE | set(permissions)
    _check_within(wanted, by)
    return tuple(name for name in access.PERMISSIONS if name in wanted)


def _check_within(wanted: Collection[str], by: Principal) -> None:
    lacking = sorted(set(wanted) - access.permissions_of(by))
    if lacking:
        raise Forbidden(f"{by.name} lacks {', '.join(lacking)}, and nobody gives more than they have.")


def _check_description(text: str) -> None:
    if len(text) > DESCRIPTION_LENGTH_MAX:
        raise Invalid(f"A description has up to {DESCRIPTION_LENGTH_MAX} characters.", field="description")
