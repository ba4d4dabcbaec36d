"""A standby's journal thread: one fsync for what waits, the commit in the same one, and an end without rest."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from replication.errors import DiskFull
from replication.files import Disk
from replication.journal import Journal
from replication.journal_thread import JournalThread
from tests.unit.engine import chain

SEGMENT_BYTES = 16384


class GatedDisk(Disk):
    """Counts fsyncs of the journal's files; while `answers` is not set, each waits."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.answers = threading.Event()
        self.answers.set()
        self.waiting = threading.Event()
        self.syncs = 0
        self.free = 1 << 40

    def begin(self, operation: str, name: str) -> None:
        """One more fsync."""
        if operation == "sync" and name.startswith("journal"):
            self.syncs += 1
            self.waiting.set()
            assert self.answers.wait(30.0)

    def free_bytes(self) -> int:
        """What the test says."""
        return self.free


class Stream:
    """A journal thread, what it reported, and its end."""

    def __init__(self, root: Path) -> None:
        self.disk = GatedDisk(root)
        self.journal = Journal.open(self.disk, segment_bytes=SEGMENT_BYTES)
        self.disk.syncs = 0
        self.batches: list[int] = []
        self.errors: list[BaseException] = []
        self._moved = asyncio.Event()
        self.thread = JournalThread(self.journal, self._journaled, self._failed)

    def _journaled(self, batch: list[bytes], last: int) -> None:
        assert self.journal.synced >= last
        self.batches.append(len(batch))
        self._moved.set()

    def _failed(self, error: BaseException) -> None:
        self.errors.append(error)
        self._moved.set()

    async def moved(self) -> None:
        """Until it reported once more."""
        async with asyncio.timeout(30.0):
            await self._moved.wait()
        self._moved.clear()

    async def hang(self, request: bytes) -> None:
        """Put one request whose fsync does not come back."""
        self.disk.waiting.clear()
        self.disk.answers.clear()
        self.thread.put(request)
        assert await asyncio.to_thread(self.disk.waiting.wait, 30.0)


async def test_one_fsync_for_all_that_waits_commit_included(tmp_path: Path) -> None:
    """While one fsync runs, requests and a new commit sequence gather; the next fsync makes all of them durable."""
    stream = Stream(tmp_path)
    requests = chain(12)
    await stream.hang(requests[0])
    for request in requests[1:]:
        stream.thread.put(request)
    stream.thread.commit = 11
    stream.thread.put_commit()
    stream.disk.answers.set()
    while sum(stream.batches) < 12:
        await stream.moved()
    assert stream.batches == [1, 11]
    assert stream.disk.syncs == 2
    assert (stream.journal.synced, stream.journal.synced_commit) == (12, 11)
    await asyncio.to_thread(stream.thread.stop)


async def test_a_commit_alone_is_recorded_too(tmp_path: Path) -> None:
    """Nothing else arrives: the commit sequence is fsynced by itself, and what a disk recorded is read again."""
    stream = Stream(tmp_path)
    for request in chain(3):
        stream.thread.put(request)
    while sum(stream.batches) < 3:
        await stream.moved()
    stream.thread.commit = 3
    stream.thread.put_commit()
    await stream.moved()
    assert stream.journal.synced_commit == 3
    await asyncio.to_thread(stream.thread.stop)
    stream.journal.close()
    assert Journal.open(Disk(tmp_path), segment_bytes=SEGMENT_BYTES).recorded_commit == 3


async def test_a_full_disk_is_told_before_anything_of_the_group_is_appended(tmp_path: Path) -> None:
    """What is journaled stays; the group that does not fit is refused whole, and the stream hears it once."""
    stream = Stream(tmp_path)
    requests = chain(200)
    stream.disk.free = 0
    await stream.hang(requests[0])
    for request in requests[1:]:
        stream.thread.put(request)
    stream.disk.answers.set()
    while not stream.errors:
        await stream.moved()
    assert isinstance(stream.errors[0], DiskFull)
    assert stream.journal.last.sequence == stream.journal.synced == sum(stream.batches) == 1
    await asyncio.to_thread(stream.thread.stop)
    assert len(stream.errors) == 1


async def test_stop_ends_the_group_under_way_and_forgets_the_rest(tmp_path: Path) -> None:
    """A stream that ends leaves whole, fsynced requests; nothing is appended once `stop` has returned."""
    stream = Stream(tmp_path)
    requests = chain(5)
    await stream.hang(requests[0])
    for request in requests[1:]:
        stream.thread.put(request)
    stopping = asyncio.ensure_future(asyncio.to_thread(stream.thread.stop))
    await asyncio.sleep(0)
    while not stream.thread._stopping:
        await asyncio.sleep(0.001)
    stream.disk.answers.set()
    await stopping
    assert stream.journal.last.sequence == stream.journal.synced == 1


@pytest.mark.parametrize("took_s", [0.0, 1.0])
async def test_a_group_is_as_large_as_the_disk_is_quick(tmp_path: Path, took_s: float) -> None:
    """A slow disk gets smaller groups, so that it still acknowledges several times a second; a quick one large ones."""
    thread = Stream(tmp_path).thread
    for _ in range(8):
        thread._resize_group(thread._group_bytes, took_s)
    assert thread._group_bytes == (256 * 1024 if took_s else 8 * 1024 * 1024)
    await asyncio.to_thread(thread.stop)
