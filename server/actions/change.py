"""What every action shares: the type of a change, the check of a role, and the entry in the audit history."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec

from server.core import access
from server.core.model import Principal
from server.core.tenancy import REFUSED
from server.errors import Forbidden, NotFound
from server.storage import audit, tenancy, tenants

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


class _Scoped:
    """A transaction whose rows are those of one tenant; its objects are the transaction's own."""

    def __init__(self, transaction: Transaction, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._transaction = transaction

    def __getattr__(self, name: str) -> object:
        return getattr(self._transaction, name)


def for_tenant(tenant: str, change: Change[T]) -> Change[T]:
    """The change as people of `tenant` make it: it sees their rows alone, and cannot write others. "": as it is.

    What it would write of others raises NotFound, and nothing of it is kept.
    """
    if not tenant:
        return change

    def scoped(transaction: Transaction) -> T:
        try:
            if tenants.by_name(transaction.connection, tenant) is None:
                raise NotFound(f"There is no tenant {tenant}. `understudy tenant list` shows those there are.")
            with tenancy.guarded(transaction.connection, tenant) as connection:
                return change(_Scoped(transaction, connection))
        except sqlite3.IntegrityError as error:
            if REFUSED not in str(error):
                raise
            raise NotFound("There is no such thing. Nothing was changed.") from None

    return scoped


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
