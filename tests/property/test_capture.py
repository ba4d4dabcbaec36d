"""Whatever SQL runs: the file built from the requests is, byte by byte, the master's after a checkpoint."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from replication.writer import Transaction
from tests.unit.engine import create_table
from tests.unit.test_capture import SHRINK, Node


class CaptureMachine(RuleBasedStateMachine):
    """Random groups, savepoints undone, spills, vacuum, schema changes, checkpoints and pinned readers."""

    @initialize(spill=st.booleans())
    def open(self, spill: bool) -> None:
        """Start a node; with `spill` its cache overflows into the log."""
        self.base = tempfile.TemporaryDirectory(prefix="capture-")
        self.node = Node(Path(self.base.name))
        self.node.run(create_table)
        self.pinned = False
        if spill:
            self.node.writer.connection.execute("PRAGMA cache_spill = ON")
            self.node.writer.connection.execute("PRAGMA cache_size = 4")

    @rule(first=st.integers(1, 40), count=st.integers(1, 12), size=st.sampled_from((5, 900, 4100, 9000)))
    def insert(self, first: int, count: int, size: int) -> None:
        """Insert or replace rows of up to three pages."""
        self.node.run(
            lambda t: t.connection.executemany(
                "INSERT OR REPLACE INTO item (id, value) VALUES (?, hex(randomblob(?)))",
                [(key, size) for key in range(first, first + count)],
            ).close()
        )

    @rule(divisor=st.integers(1, 5))
    def delete(self, divisor: int) -> None:
        """Delete every n-th row."""
        self.node.execute(f"DELETE FROM item WHERE id % {divisor} = 0")

    @rule(pages=st.integers(1, 30))
    def vacuum(self, pages: int) -> None:
        """Give back free pages: the file shrinks."""
        self.node.execute(*SHRINK[:pages])

    @rule(name=st.sampled_from(("one", "two")), drop=st.booleans())
    def change_schema(self, name: str, drop: bool) -> None:
        """Create and fill, or drop, an index or a table."""
        if drop:
            self.node.execute(f"DROP TABLE IF EXISTS {name}", f"DROP INDEX IF EXISTS by_{name}")
        else:
            self.node.execute(
                f"CREATE TABLE IF NOT EXISTS {name} AS SELECT * FROM item",
                f"CREATE INDEX IF NOT EXISTS by_{name} ON item (value)",
            )

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

    @rule(truncate=st.booleans())
    def checkpoint(self, truncate: bool) -> None:
        """Try a checkpoint; with a pinned reader it may do a part."""
        self.node.writer.connection.execute("PRAGMA busy_timeout = 1")
        self.node.writer.checkpoint(truncate=truncate)

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
            self.node.writer.close()
            self.node.disk.close()
            self.base.cleanup()


CaptureMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, suppress_health_check=list(HealthCheck)
)
TestCapture = CaptureMachine.TestCase
