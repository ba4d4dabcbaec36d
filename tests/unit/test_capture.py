"""Capture on the cases that decide: what SQLite leaves in its log is not always what was committed."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from replication.control import ControlFile
from replication.core.request import DATABASE_FILE, decode
from replication.errors import CaptureBroken
from replication.files import Disk
from replication.journal import Journal
from replication.page_sums import PageSums, page_size_of
from replication.writer import Change, Writer
from tests.unit.engine import EPOCH, create_table

SHRINK = ["PRAGMA incremental_vacuum(1)"] * 60
"""Python's sqlite3 steps this pragma once, that is one page, whatever its argument."""


class Node:
    """A writer driven by hand, and the file that a standby would have."""

    def __init__(self, root: Path, page_size: int = 4096) -> None:
        self.disk = Disk(root)
        self.journal = Journal.open(self.disk, segment_bytes=1 << 20)
        control = ControlFile(self.disk)
        self.commit: int | None = None
        self.writer = Writer(self.disk, self.journal, control, PageSums(page_size), EPOCH, self.known_commit)
        self.writer.connection.execute("PRAGMA secure_delete = OFF")  # else freed pages are written, as zeros
        self.copy = bytearray()

    def known_commit(self) -> int:
        """Everything is committed at once, unless a test says otherwise."""
        return self.journal.last.sequence if self.commit is None else self.commit

    def run(self, *changes: Change[object]) -> int:
        """Run a group; returns the number of pages that its request carries."""
        group = self.writer.run_group(list(changes))
        pages = 0 if group.encoded is None else self.follow(group.encoded)
        for outcome in group.outcomes:
            if outcome.error is not None:
                raise outcome.error
        return pages

    def follow(self, encoded: bytes) -> int:
        """Apply a request to the copy; returns the number of pages that it carries."""
        file = decode(encoded).files[0]
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
        scanned = PageSums(page_size_of(self.disk.keep(DATABASE_FILE)))
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


def test_frames_that_sqlite_left_without_salts_are_captured(node: Node) -> None:
    """A savepoint undone after a spill makes SQLite commit frames with empty salts; they are part of the commit."""
    node.writer.connection.execute("PRAGMA cache_spill = ON")
    node.writer.connection.execute("PRAGMA cache_size = 4")
    node.execute(
        "INSERT INTO item (value) VALUES (hex(zeroblob(9000)))",
        "SAVEPOINT inner_one",
        *["INSERT INTO item (value) VALUES (hex(randomblob(3000)))"] * 20,
        "DELETE FROM item",
        "ROLLBACK TO inner_one",
        "RELEASE inner_one",
        *["INSERT INTO item (value) VALUES (hex(randomblob(3000)))"] * 9,
    )
    node.assert_equal()


def test_shrinking_and_growing_without_a_checkpoint(node: Node) -> None:
    """Pages cut off and grown again within one generation of the log end as they were last written."""
    big = [f"INSERT INTO item (value) VALUES (hex(randomblob(6000 + {n})))" for n in range(10)]
    for _ in range(4):
        node.execute(*big)
        node.execute("DELETE FROM item WHERE id % 2 = 0", *SHRINK[:4])
        node.execute("DELETE FROM item", *big[:3], "DELETE FROM item WHERE id % 2 = 1")
        node.execute(*SHRINK)
    node.assert_equal()
    node.execute(*big)
    node.assert_equal()


def test_a_new_page_without_a_frame_is_not_guessed(node: Node) -> None:
    """In this mode SQLite logs every page by which a database grows; were one missing, no copy would be right."""
    node.writer._capture.page_count = 2
    with pytest.raises(CaptureBroken, match="grew over page 3"):
        node.execute("PRAGMA user_version = 7")


def test_no_page_reaches_the_file_above_the_commit(node: Node) -> None:
    """Invariant 3 where it is decided: the writer refuses a checkpoint while anything is uncommitted."""
    node.assert_equal()
    before = node.disk.path(DATABASE_FILE).read_bytes()
    node.execute("INSERT INTO item (value) VALUES ('a')")
    node.commit = node.journal.last.sequence - 1
    assert not node.writer.checkpoint()
    assert node.disk.path(DATABASE_FILE).read_bytes() == before
    node.commit = None
    node.assert_equal()


def test_a_cursor_in_a_cycle_does_not_make_the_writer_close_last(tmp_path: Path) -> None:
    """Only garbage collection ends such a cursor; until then its connection is half open and could write at its end."""
    node = Node(tmp_path)
    node.run(create_table)
    before = node.disk.path(DATABASE_FILE).read_bytes()
    gc.disable()
    try:
        cycle: list[object] = [node.writer.connection.execute("SELECT 1 UNION SELECT 2")]
        cycle.append(cycle)
        del cycle
        node.writer.close()
        gc.collect()
    finally:
        gc.enable()
    assert node.disk.path(DATABASE_FILE).read_bytes() == before
    node.disk.close()


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
