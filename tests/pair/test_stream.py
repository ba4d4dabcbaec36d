"""What a write costs a streaming standby: one frame and one fsync, its commit sequence going with the next write.

Protocol: docs/protocol.md, section 4.1.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from replication.files import Disk
from tests.pair.pair import A, B, Pair

WRITES = 30


class CountingDisk(Disk):
    """Counts fsyncs of the journal."""

    syncs = 0

    def end(self, operation: str, name: str) -> None:
        """One more fsync is done."""
        self.syncs += operation == "sync" and name.startswith("journal")


async def test_a_commit_goes_with_the_next_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One writer, one after the other: the standby fsyncs once for each write, not once more for its commit; and the
    commits that came with later writes are durable there."""
    disk = CountingDisk(tmp_path / "b")
    pair = Pair(tmp_path)
    pair.disks[B] = disk
    try:
        await pair.found()
        monkeypatch.setattr("replication.sender.COMMIT_S", 60.0)
        await pair.settle()
        await pair.books[A].write("first")
        before = disk.syncs
        for number in range(WRITES):
            last = await pair.books[A].write(f"{number}")
        assert disk.syncs - before == WRITES
        assert pair.nodes[B].journal.synced_commit == last - 1
        await pair.until(lambda: pair.nodes[B].applier.applied == last - 1)
    finally:
        await pair.close()


async def test_a_stream_that_is_cancelled_twice_leaves_no_thread_behind(tmp_path: Path) -> None:
    """Its threads are done with the files when it has ended, however impatiently it was ended."""
    pair = Pair(tmp_path)
    try:
        await pair.found()
        task = pair.nodes[B]._operations._following_task
        following = pair.nodes[B].following
        assert task is not None
        assert following is not None
        assert following.receiver is not None
        journaling = following.receiver._journaling
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert not journaling._thread.is_alive()
    finally:
        await pair.close()


async def test_a_lone_commit_arrives_by_itself(tmp_path: Path) -> None:
    """Nothing is written any more: the commit sequence of the last write reaches the standby's disk and its files."""
    pair = Pair(tmp_path)
    try:
        await pair.found()
        last = await pair.books[A].write("only")
        await pair.until(lambda: pair.nodes[B].journal.synced_commit == pair.nodes[B].applier.applied == last)
    finally:
        await pair.close()
