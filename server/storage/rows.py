"""Between rows of SQLite and the structs of `core.model`: column names are field names."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar

import msgspec

from server.core.model import Row
from server.storage import tenancy

R = TypeVar("R", bound=Row)
Parameters = Sequence[object] | Mapping[str, object]


@cache
def columns(kind: type[Row], prefix: str = "") -> str:
    """The column list of `kind` for SELECT, each with `prefix` (a table's alias and a point)."""
    return ", ".join(prefix + name for name in kind.__struct_fields__)


def build(kind: type[R], names: Sequence[str], values: Sequence[Any]) -> R:
    """One struct from one row. JSON columns are decoded, 0/1 become booleans."""
    row = dict(zip(names, values, strict=True))
    for name in kind.JSON:
        row[name] = msgspec.json.decode(row[name])
    return msgspec.convert(row, kind, strict=False)


def every(connection: sqlite3.Connection, kind: type[R], tail: str, parameters: Parameters = ()) -> list[R]:
    """All rows of `SELECT <columns of kind> <tail>`; `tail` begins with FROM and bounds the number of rows."""
    cursor = connection.execute(f"SELECT {columns(kind)} {tail}", parameters)
    names = kind.__struct_fields__
    return [build(kind, names, tuple(values)) for values in cursor]


class Unreadable(NamedTuple):
    """A row that does not decode: its columns as they stand, and why."""

    row: dict[str, Any]
    error: Exception


def each(connection: sqlite3.Connection, kind: type[R], tail: str, parameters: Parameters = ()) -> list[R | Unreadable]:
    """As `every`, for whoever acts on many rows: one that does not decode keeps no other from it."""
    found: list[R | Unreadable] = []
    names = kind.__struct_fields__
    for values in connection.execute(f"SELECT {columns(kind)} {tail}", parameters):
        try:
            found.append(build(kind, names, tuple(values)))
        except (msgspec.MsgspecError, UnicodeError) as error:
            found.append(Unreadable(dict(zip(names, values, strict=True)), error))
    return found


def first(connection: sqlite3.Connection, kind: type[R], tail: str, parameters: Parameters = ()) -> R | None:
    """The first row of `SELECT <columns of kind> <tail>`, or None."""
    found = every(connection, kind, tail, parameters)
    return found[0] if found else None


def insert(connection: sqlite3.Connection, table: str, values: Mapping[str, object]) -> int:
    """Insert one row and return its rowid. Mappings, lists and structs are written as JSON text."""
    values = tenancy.stored_values(connection, table, values)
    names = ", ".join(values)
    marks = ", ".join("?" for _ in values)
    cursor = connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", _encode(values.values()))
    return int(cursor.lastrowid or 0)


def update(
    connection: sqlite3.Connection, table: str, values: Mapping[str, object], where: Mapping[str, object]
) -> int:
    """Set `values` on the rows that equal `where`; return how many there were."""
    values = tenancy.stored_values(connection, table, values)
    where = tenancy.stored_values(connection, table, where)
    sets = ", ".join(f"{name} = ?" for name in values)
    conditions = " AND ".join(f"{name} = ?" for name in where)
    cursor = connection.execute(
        f"UPDATE {table} SET {sets} WHERE {conditions}", _encode([*values.values(), *where.values()])
    )
    return cursor.rowcount


def number(connection: sqlite3.Connection, query: str, parameters: Parameters = ()) -> int:
    """The single integer that `query` gives; 0 for no row or NULL."""
    row = connection.execute(query, parameters).fetchone()
    return int(row[0]) if row is not None and row[0] is not None else 0


def _encode(values: Sequence[object] | Any) -> list[object]:
    scalar = (str, int, float, bytes, type(None))
    return [v if isinstance(v, scalar) else msgspec.json.encode(v).decode() for v in values]
