"""A copy of a former schema, read as if it had this release's: a standby is upgraded before its master (BEY-12).

What it lacks has its default: a table that there was not is empty, a column has what the migration would give it. Only
for reading, on the connection's own TEMP schema; the copy stays as its master writes it.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from functools import cache

from server.storage import migrate


def completed(connection: sqlite3.Connection) -> sqlite3.Connection:
    """The connection, with what its database lacks of this release's schema. Nothing to do at the present one.

    One of an office that opens is left as it is: it lasts, and the migration is about to come.
    """
    if connection.execute("PRAGMA query_only").fetchone()[0]:
        return connection
    before = migrate.version(connection)
    if 0 < before < migrate.latest():
        for statement in _lacking(before):
            connection.execute(statement)
    return connection


@cache
def _lacking(before: int) -> tuple[str, ...]:
    """Statements that make up for everything after schema `before`."""
    with closing(_schema(before)) as old, closing(_schema(migrate.latest())) as new:
        known, found = _tables(old), []
        for name, sql in _tables(new).items():
            columns = [column for column in _columns(new, name) if column[0] not in dict(_columns(old, name))]
            if name not in known:
                found.append(sql.replace("CREATE TABLE", "CREATE TEMP TABLE", 1))
            elif columns:
                made_up = ", ".join(f"{_value(sql, column, default)} AS {column}" for column, default in columns)
                found.append(f"CREATE TEMP VIEW {name} AS SELECT *, {made_up} FROM main.{name}")
        return tuple(found)


def _schema(number: int) -> sqlite3.Connection:
    made = sqlite3.connect(":memory:", isolation_level=None)
    for reached, text in migrate.migrations():
        if reached <= number:
            for statement in migrate.statements(text):
                made.execute(statement)
    return made


def _tables(connection: sqlite3.Connection) -> dict[str, str]:
    query = "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    return dict(connection.execute(query).fetchall())


def _columns(connection: sqlite3.Connection, table: str) -> list[tuple[str, str]]:
    """(name, default as SQL) of each column, generated ones included."""
    found = connection.execute(f"SELECT name, dflt_value FROM pragma_table_xinfo('{table}')")
    return [(name, default or "NULL") for name, default in found]


def _value(sql: str, column: str, default: str) -> str:
    """What a column holds that the copy lacks: what it is generated from, or its default."""
    found = re.search(rf"\b{column}\s+\w+\s+GENERATED ALWAYS AS \(", sql)
    if found is None:
        return default
    depth, end = 1, found.end()
    while depth:
        depth += {"(": 1, ")": -1}.get(sql[end], 0)
        end += 1
    return sql[found.end() - 1 : end]
