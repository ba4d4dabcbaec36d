"""The long run of capture: many random histories, then databases that grow across 1 GiB and shrink back (slow)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from replication.core.request import DATABASE_FILE, decode
from replication.files import Disk
from replication.page_sums import LOCK_BYTE, PageSums
from replication.writer import Transaction
from tests.process.checker import Verdict
from tests.property.test_capture import CaptureMachine, run_histories
from tests.unit.engine import create_table
from tests.unit.test_capture import Node

BLOB_BYTES = 8 * 1024 * 1024
GIGABYTE_PAGES = (4096, 65536)


class FollowedFile(Node):
    """As `Node`, but the copy is a file, since it passes 1 GiB."""

    def __init__(self, root: Path, page_size: int) -> None:
        super().__init__(root, page_size)
        self.followed = os.open(root / "copy", os.O_RDWR | os.O_CREAT)

    def follow(self, encoded: bytes) -> int:
        """Apply a request to the file."""
        file = decode(encoded).files[0]
        for offset, data in file.extents:
            os.pwrite(self.followed, data, offset)
        os.ftruncate(self.followed, file.size_after)
        return len(file.extents)

    def differing_blocks(self) -> int:
        """Checkpoint and compare in blocks of 1 MiB; the sums must be those of the file."""
        assert self.writer.checkpoint()
        database = self.disk.keep(DATABASE_FILE)
        size = database.size()
        wrong = int(os.fstat(self.followed).st_size != size)
        for at in range(0, size, 1 << 20):
            wrong += database.read(1 << 20, at) != os.pread(self.followed, 1 << 20, at)
        scanned = PageSums(self.writer._sums.page_size)
        scanned.scan(database)
        return wrong + (scanned.sum != self.writer.checksum)


def cross_gigabyte(directory: Path, page_size: int, say: Callable[[str], None]) -> int:
    """Grow over SQLite's lock page and shrink under it again; returns how many blocks were wrong."""
    directory.mkdir()
    node = FollowedFile(directory, page_size)
    try:
        node.run(create_table)
        while node.disk.size_of(DATABASE_FILE) < LOCK_BYTE - 6 * BLOB_BYTES:
            node.run(_add)
            node.writer.checkpoint()
        for _ in range(14):  # across the border in the log alone, without a checkpoint
            node.run(_add)
        wrong = node.differing_blocks()
        over = node.disk.size_of(DATABASE_FILE)
        node.run(lambda t: t.connection.execute("DELETE FROM item WHERE id > 90"))
        node.execute(*["PRAGMA incremental_vacuum(1)"] * 4000)
        wrong += node.differing_blocks()
        for _ in range(10):
            node.run(_add)
        wrong += node.differing_blocks()
        say(f"pages of {page_size}: across 1 GiB to {over} bytes and back, blocks that differ: {wrong}")
        return wrong
    finally:
        node.writer.close()
        node.disk.close()
        os.close(node.followed)
        Disk(directory).unlink(DATABASE_FILE)


def _add(transaction: Transaction) -> None:
    transaction.connection.execute("INSERT INTO item (value) VALUES (hex(randomblob(?)))", (BLOB_BYTES // 2,))


def soak(directory: Path, count: int, say: Callable[[str], None]) -> Verdict:
    """`count` random histories of 50 steps, then 1 GiB at two page sizes."""
    faults = []
    try:
        run_histories(count, 50)
    except AssertionError as error:
        faults.append(f"capture: {error}")
    say(", ".join(f"{what} {times}" for what, times in sorted(CaptureMachine.used.items())))
    for page_size in GIGABYTE_PAGES:
        if wrong := cross_gigabyte(directory / str(page_size), page_size, say):
            faults.append(f"{wrong} blocks differ at pages of {page_size}")
    return Verdict({"histories": count, "statements": sum(CaptureMachine.used.values())}, tuple(faults))
