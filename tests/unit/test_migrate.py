"""storage.migrate: the schema comes up in the caller's transaction, once, and never from the future."""

from __future__ import annotations

import re
import sqlite3

import pytest

from server.storage import migrate


def fresh() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("BEGIN")
    return connection


def test_a_rollback_takes_the_whole_schema_back() -> None:
    """Migrations run inside the change: when it is rolled back, nothing of them stays, the version neither."""
    connection = fresh()
    assert migrate.migrate(connection) == (0, migrate.latest())
    assert connection.in_transaction
    connection.execute("ROLLBACK")
    assert migrate.version(connection) == 0
    assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0


def test_again_changes_nothing() -> None:
    """A database of this release is left alone."""
    connection = fresh()
    migrate.migrate(connection)
    before = connection.total_changes
    assert migrate.migrate(connection) == (migrate.latest(), migrate.latest())
    assert connection.total_changes == before


def test_the_next_release_may_have_been_there() -> None:
    """One schema newer is opened and left as it is (BEY-12): a release runs on what the next one added to."""
    connection = fresh()
    migrate.migrate(connection)
    newer = migrate.latest() + 1
    connection.execute(f"PRAGMA user_version = {newer}")
    before = connection.total_changes
    assert migrate.migrate(connection) == (newer, newer)
    assert connection.total_changes == before
    assert migrate.highest() == newer


def test_a_newer_database_than_that_is_refused() -> None:
    """Two schemas newer is not touched, and the text says which release to install."""
    connection = fresh()
    connection.execute(f"PRAGMA user_version = {migrate.latest() + 2}")
    with pytest.raises(RuntimeError, match=f"opens up to {migrate.latest() + 1}.*knows schema {migrate.latest() + 1}"):
        migrate.migrate(connection)
    assert migrate.version(connection) == migrate.latest() + 2


def test_migrations_only_add() -> None:
    """No statement takes away or renames: that is what lets the release before run on it."""
    for number, text in migrate.migrations():
        for statement in migrate.statements(text):
            words = " ".join(line for line in statement.upper().splitlines() if not line.strip().startswith("--"))
            added = re.search(r"\bADD COLUMN\b(?!.*\bNOT NULL\b(?!.*\bDEFAULT\b))", words)
            assert "ALTER TABLE" not in words or added, f"migration {number} changes what is there: {statement}"
            assert not re.search(r"\b(DROP|RENAME)\b", words), f"migration {number} takes away: {statement}"


def test_every_table_is_strict() -> None:
    """All tables are STRICT, so that no column holds what it was not meant for."""
    connection = fresh()
    migrate.migrate(connection)
    tables = connection.execute("SELECT name, strict FROM pragma_table_list WHERE schema = 'main'").fetchall()
    own = {name: strict for name, strict in tables if not name.startswith("sqlite_")}
    assert len(own) > 15
    assert set(own.values()) == {1}
