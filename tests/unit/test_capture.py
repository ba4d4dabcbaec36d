"""Capture on the cases that decide: what SQLite leaves in its log is not always what was committed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from replication.control import ControlFile
from replication.core.request import DATABASE_FILE, decode
from replication.errors import CaptureBroken
from replication.files import Disk
from replication.journal import Journal
from replication.page_sums import PageSums
from replication.writer import Change, Writer
from tests.unit.engine import EPOCH, create_table


class Node:
    """A writer driven by hand, and the file that a standby would have."""

    def __init__(self, root: Path) -> None:
        self.disk = Disk(root)
        self.journal = Journal.open(self.disk, segment_bytes=1 << 20)
        control = ControlFile(self.disk)
        self.writer = Writer(self.disk, self.journal, control, PageSums(), EPOCH, lambda: self.journal.last.sequence)
        self.copy = bytearray()

    def run(self, *changes: Change[object]) -> int:
        """Run a group; returns the number of pages that its request carries."""
        group = self.writer.run_group(list(changes))
        for outcome in group.outcomes:
            if outcome.error is not None:
                raise outcome.error
        if group.encoded is None:
            return 0
        file = decode(group.encoded).files[0]
        self.copy[file.size_after :] = bytes(max(file.size_after - len(self.copy), 0))
        for offset, data in file.extents:
            self.copy[offset : offset + len(data)] = data
        return len(file.extents)

    def execute(self, *statements: str) -> int:
        """Run statements as one change."""
        return self.run(lambda t: [t.connection.execute(statement).fetchall() for statement in statements])

    def assert_equal(self) -> None:
        """After a checkpoint the database file is what the requests built, and the sums are those of the file."""
        assert self.writer.checkpoint()
        assert self.disk.path(DATABASE_FILE).read_bytes() == bytes(self.copy)
        scanned = PageSums()
        scanned.scan(self.disk.keep(DATABASE_FILE))
        assert scanned.sum == self.writer.checksum


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node with one table."""
    node = Node(tmp_path)
    node.run(create_table)
    yield node
    node.writer.close()
    node.disk.close()


def test_each_page_is_carried_once(node: Node) -> None:
    """A group that writes a page many times sends its last image only."""
    pages = node.execute(*(f"INSERT INTO item (value) VALUES ('{n}')" for n in range(50)))
    assert 1 <= pages <= 3
    node.assert_equal()


def test_a_rolled_back_group_leaves_no_trace(node: Node) -> None:
    """Frames of a transaction that spilled and was rolled back are valid in the log, and are not captured."""
    connection = node.writer.connection
    connection.execute("PRAGMA cache_spill = ON")
    connection.execute("PRAGMA cache_size = 5")
    node.execute("INSERT INTO item (value) VALUES ('kept')")
    before = node.disk.size_of(DATABASE_FILE + "-wal")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO item (value) VALUES (?)", [("x" * 3000,) for _ in range(200)])
    connection.execute("ROLLBACK")
    assert node.disk.size_of(DATABASE_FILE + "-wal") > before
    node.execute("INSERT INTO item (value) VALUES ('after')")
    node.assert_equal()
    assert connection.execute("SELECT count(*) FROM item").fetchone()[0] == 2


def test_a_spilling_commit_is_captured_whole(node: Node) -> None:
    """When the cache spills, frames are overwritten within the transaction: only what the commit left counts."""
    node.writer.connection.execute("PRAGMA cache_spill = ON")
    node.writer.connection.execute("PRAGMA cache_size = 5")
    for _ in range(3):
        node.execute(
            *(f"INSERT INTO item (value) VALUES (hex(zeroblob({n * 20})))" for n in range(100)),
            "UPDATE item SET value = 'u' WHERE id % 3 = 0",
        )
    node.assert_equal()


def test_shrinking_and_growing_without_a_checkpoint(node: Node) -> None:
    """Free pages that come back into the file without being written keep what a checkpoint will leave there."""
    big = [f"INSERT INTO item (value) VALUES (hex(randomblob(6000 + {n})))" for n in range(10)]
    for _ in range(4):
        node.execute(*big)
        node.execute("DELETE FROM item WHERE id % 2 = 0", "PRAGMA incremental_vacuum(4)")
        node.execute("DELETE FROM item", *big[:3], "DELETE FROM item WHERE id % 2 = 1")
        node.execute("PRAGMA incremental_vacuum")
    node.assert_equal()
    node.execute(*big)
    node.assert_equal()


def test_the_log_starts_anew_after_a_checkpoint(node: Node) -> None:
    """New salts after our own checkpoint are expected; nothing is captured twice or left out."""
    for _ in range(5):
        node.execute("INSERT INTO item (value) VALUES ('a')")
        node.assert_equal()


def test_a_checkpoint_that_a_reader_holds_back_changes_nothing_we_rely_on(node: Node) -> None:
    """With a reader pinning the log the checkpoint sequence stays, and capture goes on in the same generation."""
    node.assert_equal()
    node.execute("INSERT INTO item (value) VALUES ('a')")
    node.writer._guard.execute("BEGIN")
    assert node.writer._guard.execute("SELECT count(*) FROM item").fetchone() == (1,)
    node.execute("INSERT INTO item (value) VALUES ('b')")
    assert not node.writer.checkpoint()
    node.execute("INSERT INTO item (value) VALUES ('c')")
    node.writer._guard.execute("ROLLBACK")
    node.assert_equal()


def test_a_log_that_goes_back_is_not_believed(node: Node) -> None:
    """Fewer frames than were captured, under the same salts, means that somebody else wrote: stop."""
    node.writer._capture.frames += 5
    with pytest.raises(CaptureBroken, match="went back"):
        node.execute("INSERT INTO item (value) VALUES ('a')")
