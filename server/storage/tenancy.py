"""For whom rows are read and written: the views of a tenant's reading, and the connection of a change for a tenant.

A reading for a tenant has a connection of its own, with views in front of the tables. A change for a tenant shares the
writer's connection with everybody: `Scope` stands for it, and narrows each statement that it is given.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, TypeVar, cast

from server.core import tenancy

T = TypeVar("T")
Connection = sqlite3.Connection
_VIEWER: ContextVar[str] = ContextVar("viewer", default="")
_COLUMNS: dict[int, dict[str, list[str]]] = {}


def seen_by(tenant: str, query: Callable[[Connection], T]) -> Callable[[Connection], T]:
    """The query as people of `tenant` see the rows; the query itself for the host, "".

    For a connection of its own: the views stay on it, unless a transaction that is rolled back began before.
    """
    if not tenant:
        return query

    def seen(connection: Connection) -> T:
        dress(connection)
        with _looking(tenant):
            return query(connection)

    return seen


def dress_for(tenant: str) -> Callable[[Connection], None] | None:
    """What prepares the connections that readers keep for tenants; None for the host, who reads the tables."""
    return dress if tenant else None


def dress(connection: Connection) -> None:
    """Put the views in front of the tables, once for a connection."""
    if connection.execute("SELECT 1 FROM sqlite_temp_schema WHERE type = 'view' LIMIT 1").fetchone():
        return
    connection.create_function("viewer", 0, _VIEWER.get, deterministic=True)
    is_guarded = connection.execute("PRAGMA query_only").fetchone()[0]
    connection.execute("PRAGMA query_only = OFF")
    try:
        for view in tenancy.views(columns(connection)):
            connection.execute(view)
    finally:
        connection.execute(f"PRAGMA query_only = {is_guarded}")


def columns(connection: Connection) -> dict[str, list[str]]:
    """Every table of the database and its columns, generated ones included."""
    query = (
        "SELECT s.name, c.name FROM main.sqlite_schema s JOIN pragma_table_xinfo(s.name, 'main') c"
        " WHERE s.type = 'table' AND c.hidden != 1 ORDER BY s.name, c.cid"
    )
    found: dict[str, list[str]] = {}
    for table, column in connection.execute(query):
        found.setdefault(table, []).append(column)
    return found


class Scope:
    """The writer's connection as a change for one tenant has it: reads see the tenant's rows, under its own names.

    Storage functions take it for a connection. Names that they write are qualified by `stored` and `rows`.
    """

    def __init__(self, connection: Connection, tenant: str) -> None:
        self.tenant = tenant
        self._connection = connection
        self._version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if self._version not in _COLUMNS:
            _COLUMNS[self._version] = columns(connection)

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        """As the connection's, narrowed."""
        return self._connection.execute(_narrowed(self.tenant, sql, self._version), parameters)

    def executemany(self, sql: str, parameters: Any) -> sqlite3.Cursor:
        """As the connection's, narrowed."""
        return self._connection.executemany(_narrowed(self.tenant, sql, self._version), parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@lru_cache(4096)
def _narrowed(tenant: str, sql: str, version: int) -> str:
    return tenancy.within(tenant, sql, _COLUMNS[version])


def within(connection: Connection, tenant: str) -> Connection:
    """The connection as a change for `tenant` has it; itself for the host, and for one that is in a scope already."""
    if not tenant or tenant_of(connection):
        return connection
    return cast(Connection, Scope(connection, tenant))


def tenant_of(connection: Connection) -> str:
    """For which tenant it reads and writes; "" for the host."""
    return str(getattr(connection, "tenant", ""))


def shown(connection: Connection, tenant: str) -> str:
    """What the column `tenant` says here of rows of `tenant`: "" to its own people, who are at home in it."""
    return "" if tenant_of(connection) or _VIEWER.get() else tenant


def whole(connection: Connection) -> Connection:
    """The connection behind a scope: for what is one for all tenants, such as the chain of the audit history."""
    return connection._connection if isinstance(connection, Scope) else connection


def stored(connection: Connection, name: str) -> str:
    """How a name is stored that was typed in this scope."""
    return tenancy.qualified(tenant_of(connection), name)


def typed(connection: Connection, name: str) -> str:
    """What people of this scope's tenant type for a name: without the tenant that the host's people put in front."""
    return tenancy.own(tenant_of(connection), name)


def stored_values(connection: Connection, table: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The columns of a row as they are stored when they are written in this scope."""
    tenant = tenant_of(connection)
    return tenancy.stored(tenant, table, values) if tenant else values


@contextmanager
def guarded(connection: Connection, tenant: str) -> Iterator[Connection]:
    """The scope of a change for `tenant`; what would write a row of another raises `sqlite3.IntegrityError`."""
    if not connection.execute("SELECT 1 FROM sqlite_temp_schema WHERE name = 'guard_jobs_UPDATE'").fetchone():
        connection.create_function("viewer", 0, _VIEWER.get)
        for trigger in tenancy.guards(columns(connection)):
            connection.execute(trigger)
    with _looking(tenant):
        yield within(connection, tenant)


@contextmanager
def _looking(tenant: str) -> Iterator[None]:
    token = _VIEWER.set(tenant)
    try:
        yield
    finally:
        _VIEWER.reset(token)
