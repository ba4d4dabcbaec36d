"""What every action shares: the type of a change, the check of a role, and the entry in the audit history."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec

from server.core import access
from server.core.model import Principal
from server.errors import Forbidden
from server.storage import audit

T = TypeVar("T")


class Transaction(Protocol):
    """The part of replication's Transaction that rows need; a test may stand in with a plain connection."""

    @property
    def connection(self) -> sqlite3.Connection:
        """The writer's connection, inside the change's savepoint."""


Change = Callable[[Transaction], T]
"""Given to `Store.write`: checks and writes rows, and does nothing outside."""


def both(first: Change[object], second: Change[T]) -> Change[T]:
    """Two changes as one; the answer is the second one's."""

    def change(transaction: Transaction) -> T:
        first(transaction)
        return second(transaction)

    return change


def require(by: Principal, permission: str) -> None:
    """Raise Forbidden when `by` lacks `permission`."""
    if access.may(by, permission):
        return
    if by.tenant and permission in access.HOST_ONLY:
        raise Forbidden(f"{by.name} belongs to the tenant {by.tenant}; this concerns the host. Ask its administrator.")
    if by.granted is not None:
        raise Forbidden(f"{by.name} lacks the permission {permission}. Ask an administrator.")
    roles = " or ".join(access.roles_with(permission))
    raise Forbidden(f"{by.name} has the role {by.role}; this needs the role {roles}. Ask an administrator.")


def record(
    connection: sqlite3.Connection,
    by: Principal,
    now_us: int,
    action: str,
    object_: str,
    before: object = "",
    after: object = "",
    reason: str = "",
) -> None:
    """Write an audit entry. `before` and `after` are text, or anything that JSON can hold.

    Never give it a secret.
    """
    audit.insert(connection, now_us, by.name, by.address, action, object_, _text(before), _text(after), reason)


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
