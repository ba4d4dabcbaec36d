"""Bring a database to this release's schema: numbered SQL files, counted by PRAGMA user_version.

They only add, so that a release runs on what the release after it wrote (BEY-12; docs/protocol.md, section 7).
"""

from __future__ import annotations

import sqlite3
from functools import cache
from pathlib import Path

AHEAD = 1
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


def highest() -> int:
    """The newest schema that this release opens: that of the release after it."""
    return latest() + AHEAD


def version(connection: sqlite3.Connection) -> int:
    """The schema version of the database."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection) -> tuple[int, int]:
    """Run what is missing inside the caller's transaction; return (version before, version after).

    Statements are executed one by one, because `executescript` would commit. A database of the next release is left
    as it is; a newer one raises RuntimeError and is not touched. A connection without a transaction is left in one.
    """
    before = version(connection)
    if before > highest():
        raise RuntimeError(
            f"the database has schema {before}, and this release opens up to {highest()}. Nothing was changed: install "
            f"a release that knows schema {before - 1} or later, and start this node again"
        )
    for number, text in migrations():
        if number > before:
            for statement in statements(text):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
    return before, max(before, latest())


def statements(text: str) -> list[str]:
    """Cut SQL text into complete statements."""
    found, current = [], ""
    for line in text.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            found.append(current)
            current = ""
    return found
