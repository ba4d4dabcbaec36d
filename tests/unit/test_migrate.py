"""storage.migrate: the schema comes up in the caller's transaction, once, and never from the future."""

from __future__ import annotations

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


def test_a_newer_database_is_refused() -> None:
    """A database of a newer release is not touched, and the text says what to do."""
    connection = fresh()
    connection.execute(f"PRAGMA user_version = {migrate.latest() + 1}")
    with pytest.raises(RuntimeError, match="start the newer release"):
        migrate.migrate(connection)


def test_every_table_is_strict() -> None:
    """All tables are STRICT, so that no column holds what it was not meant for."""
    connection = fresh()
    migrate.migrate(connection)
    tables = connection.execute("SELECT name, strict FROM pragma_table_list WHERE schema = 'main'").fetchall()
    own = {name: strict for name, strict in tables if not name.startswith("sqlite_")}
    assert len(own) > 15
    assert set(own.values()) == {1}
