"""Bring a database to this release's schema: numbered SQL files, counted by PRAGMA user_version.

They only add.
"""

from __future__ import annotations

import sqlite3
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "migrations"


@cache
def migrations() -> tuple[tuple[int, str], ...]:
    """(number, SQL) in order; numbers are 1, 2, 3, ..."""
    files = sorted(_FOLDER.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    found = tuple((int(file.name[:4]), file.read_text(encoding="utf-8")) for file in files)
    if [number for number, _ in found] != list(range(1, len(found) + 1)):
        raise RuntimeError(f"the migrations in {_FOLDER} are not numbered 1, 2, 3 ...: reinstall understudy")
    return found


def latest() -> int:
    """The schema version of this release."""
    return migrations()[-1][0]


def version(connection: sqlite3.Connection) -> int:
    """The schema version of the database."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection) -> tuple[int, int]:
    """Run what is missing inside the caller's transaction; return (version before, version after).

    Statements are executed one by one, because `executescript` would commit. A database of a newer release
    raises RuntimeError: start the newer release, or restore a backup. A connection without a transaction is
    left in one.
    """
    before = version(connection)
    if before > latest():
        raise RuntimeError(f"the database has schema {before}, this release knows {latest()}: start the newer release")
    for number, text in migrations():
        if number > before:
            for statement in statements(text):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
    return before, latest()


def statements(text: str) -> list[str]:
    """Cut SQL text into complete statements."""
    found, current = [], ""
    for line in text.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            found.append(current)
            current = ""
    return found
