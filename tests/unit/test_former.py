"""A standby of this release reads a copy that a master of a former one writes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from server.storage import former, migrate, users
from server.storage.former import completed


def database(path: Path, number: int) -> sqlite3.Connection:
    """A database of a former schema with a user and a job, opened as a standby opens its copy."""
    made = sqlite3.connect(path, isolation_level=None)
    for reached, text in migrate.migrations():
        if reached <= number:
            for statement in migrate.statements(text):
                made.execute(statement)
    made.execute(f"PRAGMA user_version = {number}")
    made.execute("INSERT INTO users (name, password, role, created_at_us) VALUES ('ada', 'p', 'operator', 1)")
    made.execute("INSERT INTO agents (id, name, enrolled_at_us) VALUES ('a', 'alpha', 1)")
    made.execute(
        "INSERT INTO jobs (name, command, agent_id, created_at_us, updated_at_us) VALUES ('j', 'c', 'a', 1, 1)"
    )
    made.close()
    return sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)


@pytest.mark.parametrize("number", range(1, migrate.latest() + 1))
def test_every_column_of_this_release_can_be_read_from_a_former_copy(tmp_path: Path, number: int) -> None:
    """Each table answers each column of today; what a copy lacks has the migration's default (BEY-12)."""
    copy = completed(database(tmp_path / "copy.db", number))
    today = former._schema(migrate.latest())
    for table in former._tables(today):
        columns = [name for name, _ in former._columns(today, table)]
        copy.execute(f"SELECT {', '.join(columns)} FROM {table} LIMIT 1").fetchall()
    ada = users.by_name(copy, "ada")
    assert ada is not None
    assert (ada.role, ada.tenant) == ("operator", "")
    assert copy.execute("SELECT tenant, own_name, misfire_policy FROM jobs").fetchall() == [("", "j", "once")]


def test_a_copy_of_this_schema_is_read_as_it_is(tmp_path: Path) -> None:
    """Nothing is put before its tables."""
    copy = completed(database(tmp_path / "copy.db", migrate.latest()))
    assert copy.execute("SELECT count(*) FROM sqlite_temp_schema").fetchone() == (0,)
