"""Whatever SQL runs: the file built from the requests is, byte by byte, the master's after a checkpoint (JS7-10)."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from replication.writer import Transaction
from tests.unit.engine import create_table
from tests.unit.test_capture import SHRINK, Node

PAGE_SIZES = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)

Statement = Callable[[sqlite3.Connection, int], object]

KEYLESS = "CREATE TABLE IF NOT EXISTS keyless (a ANY, b ANY, PRIMARY KEY (a, b)) STRICT, WITHOUT ROWID"
LOG = "CREATE TRIGGER IF NOT EXISTS logged AFTER DELETE ON item BEGIN INSERT INTO log VALUES (old.id); END"
WORDS = "CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(text)"

STATEMENTS: dict[str, Statement] = {
    "insert": lambda c, n: c.execute("INSERT INTO item (value) VALUES (hex(randomblob(?)))", (n,)),
    "insert from select": lambda c, n: c.execute("INSERT INTO item (value) SELECT value FROM item LIMIT ?", (n % 50,)),
    "replace": lambda c, n: c.execute("REPLACE INTO item (id, value) VALUES (?, hex(zeroblob(?)))", (n % 40, n)),
    "upsert": lambda c, n: c.execute(
        "INSERT INTO item (id, value) VALUES (?, 'new') ON CONFLICT (id) DO UPDATE SET value = value || 'x'", (n % 40,)
    ),
    "insert or ignore": lambda c, n: c.execute("INSERT OR IGNORE INTO item (id, value) VALUES (?, 'i')", (n % 40,)),
    "update": lambda c, n: c.execute("UPDATE item SET value = hex(randomblob(?)) WHERE id % 3 = 0", (n // 4,)),
    "update of a key": lambda c, n: c.execute("UPDATE OR IGNORE item SET id = id + ? WHERE id % 7 = 0", (n,)),
    "update from": lambda c, n: c.execute("UPDATE item SET value = o.value FROM item AS o WHERE o.id = item.id + 1"),
    "delete": lambda c, n: c.execute("DELETE FROM item WHERE id % ? = 0", (n % 5 + 1,)),
    "delete all": lambda c, n: c.execute("DELETE FROM item"),
    "returning": lambda c, n: c.execute(
        "DELETE FROM item WHERE id IN (SELECT id FROM item LIMIT ?) RETURNING id", (n % 9,)
    ).fetchall(),
    "with": lambda c, n: c.execute(
        "WITH RECURSIVE k(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM k WHERE n < ?)"
        " INSERT INTO item (value) SELECT hex(randomblob(n)) FROM k",
        (n % 120 + 1,),
    ),
    "table without rowid": lambda c, n: (
        c.execute(KEYLESS),
        c.execute("INSERT OR REPLACE INTO keyless VALUES (?, hex(randomblob(?)))", (n % 20, n % 700)),
    ),
    "table with generated columns": lambda c, n: (
        c.execute(
            "CREATE TABLE IF NOT EXISTS made (a INTEGER, b TEXT AS (hex(a)) STORED, c INTEGER AS (a + 1)) STRICT"
        ),
        c.execute("INSERT INTO made (a) VALUES (?)", (n,)),
    ),
    "foreign keys": lambda c, n: (
        c.execute("CREATE TABLE IF NOT EXISTS parent (id INTEGER PRIMARY KEY) STRICT"),
        c.execute("CREATE TABLE IF NOT EXISTS child (p INTEGER REFERENCES parent ON DELETE CASCADE) STRICT"),
        c.execute("INSERT OR IGNORE INTO parent VALUES (?)", (n % 9,)),
        c.execute("INSERT INTO child VALUES (?)", (n % 9,)),
        c.execute("DELETE FROM parent WHERE id = ?", ((n + 4) % 9,)),
    ),
    "trigger": lambda c, n: (
        c.execute("CREATE TABLE IF NOT EXISTS log (id INTEGER) STRICT"),
        c.execute(LOG),
        c.execute("DELETE FROM item WHERE id % 4 = ?", (n % 4,)),
        c.execute("DROP TRIGGER logged"),
    ),
    "view with a trigger": lambda c, n: (
        c.execute("CREATE VIEW IF NOT EXISTS seen AS SELECT value FROM item"),
        c.execute(
            "CREATE TRIGGER IF NOT EXISTS into_view INSTEAD OF INSERT ON seen"
            " BEGIN INSERT INTO item (value) VALUES (new.value); END"
        ),
        c.execute("INSERT INTO seen VALUES (hex(randomblob(?)))", (n % 400,)),
    ),
    "virtual table": lambda c, n: (
        c.execute(WORDS),
        c.execute("INSERT INTO words VALUES (?)", (f"the standby knows part {n}",)),
        c.execute("DELETE FROM words WHERE rowid % 3 = ?", (n % 3,)),
    ),
    "merge of a virtual table": lambda c, n: (
        c.execute(WORDS),
        c.execute("INSERT INTO words(words) VALUES ('optimize')"),
    ),
    "alter table": lambda c, n: (
        c.execute("DROP TABLE IF EXISTS changing"),
        c.execute("CREATE TABLE changing (a TEXT) STRICT"),
        c.execute("INSERT INTO changing SELECT value FROM item LIMIT 20"),
        c.execute("ALTER TABLE changing ADD COLUMN b INTEGER DEFAULT 7"),
        c.execute("ALTER TABLE changing RENAME COLUMN b TO c"),
        c.execute("ALTER TABLE changing DROP COLUMN c"),
        c.execute(f"DROP TABLE IF EXISTS changed_{n % 3}"),
        c.execute(f"ALTER TABLE changing RENAME TO changed_{n % 3}"),
    ),
    "partial index": lambda c, n: c.execute("CREATE INDEX IF NOT EXISTS some ON item (value) WHERE id % 2 = 0"),
    "unique index": lambda c, n: c.execute("CREATE UNIQUE INDEX IF NOT EXISTS pairs ON item (id, value)"),
    "drop index": lambda c, n: c.execute("DROP INDEX IF EXISTS some"),
    "reindex": lambda c, n: c.execute("REINDEX"),
    "analyze": lambda c, n: c.execute("ANALYZE"),
    "user version": lambda c, n: c.execute(f"PRAGMA user_version = {n}"),
    "incremental vacuum": lambda c, n: [c.execute("PRAGMA incremental_vacuum(1)").fetchall() for _ in range(n % 30)],
    "released savepoint": lambda c, n: (
        c.execute("SAVEPOINT inner_one"),
        c.execute("INSERT INTO item (value) VALUES (hex(randomblob(?)))", (n,)),
        c.execute("RELEASE inner_one"),
    ),
    "savepoint undone": lambda c, n: (
        c.execute("SAVEPOINT inner_one"),
        c.executemany("INSERT INTO item (value) VALUES (hex(randomblob(?)))", [(n,)] * 20).close(),
        c.execute("SAVEPOINT inner_two"),
        c.execute("DELETE FROM item"),
        c.execute("ROLLBACK TO inner_one"),
        c.execute("RELEASE inner_one"),
    ),
    "statement undone": lambda c, n: _refused(c),
}


def _refused(connection: sqlite3.Connection) -> None:
    """A statement that fails half way is undone by SQLite itself, within the change."""
    connection.execute("INSERT INTO item (id, value) VALUES (1, 'one') ON CONFLICT DO NOTHING")
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute("INSERT INTO item (id, value) SELECT max(id) + 1, 'a' FROM item UNION ALL SELECT 1, 'b'")


class CaptureMachine(RuleBasedStateMachine):
    """Random groups of every kind of statement, undone savepoints, spills, checkpoints and pinned readers."""

    used: dict[str, int] = {}

    @initialize(page_size=st.sampled_from(PAGE_SIZES), spill=st.booleans())
    def open(self, page_size: int, spill: bool) -> None:
        """Start a node; with `spill` its cache overflows into the log in the middle of transactions."""
        self.base = tempfile.TemporaryDirectory(prefix="capture-")
        self.node = Node(Path(self.base.name), page_size)
        self.node.run(create_table)
        self.pinned = False
        self._count(f"pages of {page_size}")
        if spill:
            self._count("spill")
            self.node.writer.connection.execute("PRAGMA cache_spill = ON")
            self.node.writer.connection.execute("PRAGMA cache_size = 4")

    def _count(self, what: str) -> None:
        self.used[what] = self.used.get(what, 0) + 1

    @rule(names=st.lists(st.sampled_from(sorted(STATEMENTS)), min_size=1, max_size=6), number=st.integers(1, 9000))
    def change(self, names: list[str], number: int) -> None:
        """Several statements as one change."""

        def change(transaction: Transaction) -> None:
            for name in names:
                STATEMENTS[name](transaction.connection, number)

        self.node.run(change)
        for name in names:
            self._count(name)

    @rule(names=st.lists(st.sampled_from(sorted(STATEMENTS)), min_size=2, max_size=5), number=st.integers(1, 3000))
    def group(self, names: list[str], number: int) -> None:
        """The same as a group of changes, each in a savepoint of its own, in one transaction."""
        self.node.run(*(lambda t, name=name: STATEMENTS[name](t.connection, number) for name in names))

    @rule(pages=st.integers(1, 30))
    def shrink(self, pages: int) -> None:
        """Give back free pages: the file gets smaller."""
        self.node.execute(*SHRINK[:pages])

    @rule(count=st.integers(1, 40))
    def fail_beside_another(self, count: int) -> None:
        """A change that raises after many writes is undone within a group that commits."""

        def bad(transaction: Transaction) -> None:
            for _ in range(count):
                transaction.connection.execute("INSERT INTO item (value) VALUES (hex(randomblob(3000)))")
            raise ValueError("undone on purpose")

        group = self.node.writer.run_group([bad, lambda t: None])
        assert group.encoded is None

    @precondition(lambda self: not self.pinned)
    @rule()
    def pin(self) -> None:
        """A reader begins a snapshot and keeps it."""
        guard = self.node.writer._guard
        guard.execute("BEGIN")
        guard.execute("SELECT count(*) FROM item").fetchone()
        self.pinned = True
        self._count("pinned reader")

    @rule(truncate=st.booleans())
    def checkpoint(self, truncate: bool) -> None:
        """Try the writer's own checkpoint, PASSIVE or TRUNCATE; with a pinned reader it may do a part."""
        self.node.writer.connection.execute("PRAGMA busy_timeout = 1")
        self.node.writer.checkpoint(truncate=truncate)

    @rule(mode=st.sampled_from(("PASSIVE", "FULL", "RESTART", "TRUNCATE")))
    def checkpoint_of_sqlite(self, mode: str) -> None:
        """Every mode that SQLite knows, in the writer's thread; when it moved all, the log may begin anew."""
        connection = self.node.writer.connection
        connection.execute("PRAGMA busy_timeout = 1")
        with self.node.disk.sqlite_writing():
            busy, frames, moved = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        if not busy and frames == moved:
            self.node.writer._capture.allow_restart()
            self._count(f"checkpoint {mode}")

    @rule()
    def compare(self) -> None:
        """Let the reader go, checkpoint, and hold both files beside each other."""
        if self.pinned:
            self.node.writer._guard.execute("ROLLBACK")
            self.pinned = False
        self.node.assert_equal()

    @invariant()
    def no_transaction_is_left_open(self) -> None:
        """Between groups the writer holds nothing."""
        if hasattr(self, "node"):
            assert not self.node.writer.connection.in_transaction

    def teardown(self) -> None:
        """Compare once more and close."""
        if hasattr(self, "node"):
            self.compare()
            assert self.node.writer.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            self.node.writer.close()
            self.node.disk.close()
            self.base.cleanup()


def run_histories(count: int, steps: int) -> None:
    """Run random histories; raises AssertionError with the shortest one that fails."""
    CaptureMachine.used.clear()
    run_state_machine_as_test(
        CaptureMachine,
        settings=settings(
            max_examples=count, stateful_step_count=steps, suppress_health_check=list(HealthCheck), deadline=None
        ),
    )


def test_random_histories_are_captured() -> None:
    """Statements, page sizes, spills, pinned readers and every checkpoint mode in random order."""
    run_histories(60, 25)
    assert CaptureMachine.used["pinned reader"]
    assert CaptureMachine.used["spill"]


@pytest.mark.parametrize("page_size", PAGE_SIZES)
def test_each_statement_at_each_page_size(tmp_path: Path, page_size: int) -> None:
    """No kind of statement is left to chance: each runs twice, alone, at every page size."""
    node = Node(tmp_path, page_size)
    try:
        node.run(create_table)
        for name in sorted(STATEMENTS) * 2:
            node.run(lambda t, name=name: STATEMENTS[name](t.connection, 1234))
        node.assert_equal()
    finally:
        node.writer.close()
        node.disk.close()
