"""The standby's half of COMPARE: ask for the blocks that differ, keep what is replaced, write.

What was written stays: an interrupted copy begins again with the hashes, at the same master or another, and only what
differs is sent again. Four jobs share the work: frames are received into a bounded buffer while blocks are compared,
written, and made durable in threads.

Protocol: docs/protocol.md, section 4.3.
"""

from __future__ import annotations

import asyncio
from collections import deque

from replication import threads
from replication.compare import (
    BLOCK_BYTES,
    GONE_SIZE,
    HASH_BYTES,
    BlockRange,
    allocated_bytes,
    block_hash,
    file_names,
    is_known,
    read_block,
    remove_object,
    set_sizes,
    sync_blocks,
    write_blocks,
)
from replication.core import codec
from replication.core.codec import FrameError
from replication.core.copy_progress import CopyMeter
from replication.core.messages import Block, Copied, CopyState, Decide, Hashes, Want
from replication.core.request import DATABASE_FILE
from replication.core.types import CopyProgress
from replication.errors import DiskFull
from replication.files import Disk
from replication.fork import BlockKeeper
from replication.ports import Connection
from replication.tasks import Bell, run_beside
from replication.threads import finished

BLOCKS_MAX = 65536
BUFFER_BYTES = 8 * 1024 * 1024
COMPARE_BYTES = 8 * 1024 * 1024
COMPARE_RANGES = 256
SYNC_BYTES = 32 * 1024 * 1024
RESERVE_BYTES = 64 * 1024 * 1024
"""Room that must be left before a copy begins: for the journal of what is written meanwhile."""
LOW_BYTES = 32 * 1024 * 1024
"""A copy under way waits while less than this would be left."""
REPORT_S = 1.0
SILENCE_S = 60.0
MIB = 1024 * 1024


def check_room(disk: Disk, copy_bytes: int) -> None:
    """Raise DiskFull, which says what is missing, unless a copy of `copy_bytes` fits beside what is here."""
    missing = max(copy_bytes - allocated_bytes(disk), 0) + RESERVE_BYTES
    free = disk.free_bytes()
    if free < missing:
        raise DiskFull(
            f"no space left on the disk for the copy: it needs {-(-missing // MIB)} MiB more and {free // MIB} MiB are "
            "free. Free some, then it begins"
        )


class CopyTarget:
    """One copy, on a node that is persisted as COPYING. `keeper` keeps what is replaced, or None."""

    def __init__(self, connection: Connection, disk: Disk, keeper: BlockKeeper | None, decide: Decide) -> None:
        self._connection = connection
        self._disk = disk
        self._keeper = keeper
        self._protocol = decide.protocol
        self._meter = CopyMeter(decide.copy_bytes, threads.monotonic())
        self._bell = Bell()
        self._ranges: deque[BlockRange] = deque()
        self._algorithm = ""
        self._expected: deque[tuple[str, int]] = deque()
        self._blocks: list[Block] = []
        self._buffered = 0
        self._unsynced = 0
        self._dirty: set[str] = set()
        self._sizes: dict[str, int] = {}
        self._offered: set[str] = set()
        self._copied: Copied | None = None

    @property
    def progress(self) -> CopyProgress:
        """How far it is."""
        return self._meter.reading(threads.monotonic())

    @property
    def waiting(self) -> str:
        """A sentence for people while there is no room to go on, else ""."""
        return self._meter.waiting

    async def run(self) -> int:
        """Fetch what differs; returns the sequence at the end of the last block. Everything is durable then.

        Raises ConnectionError, FrameError, DiskFull. What was written stays for the next copy.
        """
        return await run_beside(
            self._write_all(), self._receive_all(), self._compare_all(), self._sync_all(), self._report()
        )

    async def _receive_all(self) -> None:
        while self._copied is None:
            await self._bell.until(lambda: self._buffered < BUFFER_BYTES)
            message = codec.decode(await self._received())
            if isinstance(message, Block):
                self._take_block(message)
            elif isinstance(message, Hashes):
                self._take_hashes(message)
            elif isinstance(message, Copied):
                if self._expected or self._ranges:
                    raise FrameError("COPIED before every wanted block came")
                self._copied = message
            else:
                raise FrameError(f"a {type(message).__name__} frame in a copy")
            self._bell.ring()

    async def _received(self) -> bytes:
        """The next frame; while blocks are due, silence means that the master is gone."""
        if not self._expected:
            return await self._connection.receive()
        async with asyncio.timeout(SILENCE_S):
            return await self._connection.receive()

    def _take_hashes(self, message: Hashes) -> None:
        if message.block_bytes != BLOCK_BYTES or not is_known(message.algorithm):
            raise FrameError(f"hashes of {message.block_bytes} bytes by {message.algorithm}, which nobody asked for")
        blocks = message.blocks or len(message.hashes) // HASH_BYTES
        if len(message.hashes) % HASH_BYTES or not 0 < blocks <= BLOCKS_MAX:
            raise FrameError("HASHES of no block")
        self._algorithm = message.algorithm
        if message.file not in self._offered:
            self._offered.add(message.file)
            if not self._copy_bytes_known:
                self._meter.total += message.size
        self._sizes[message.file] = message.size
        self._ranges.append(BlockRange(message.file, message.size, message.first, blocks, message.hashes))

    @property
    def _copy_bytes_known(self) -> bool:
        return self._protocol > 1

    def _take_block(self, block: Block) -> None:
        if not self._expected or self._expected.popleft() != (block.file, block.number):
            raise FrameError("another block than the one wanted")
        if block.size == GONE_SIZE:
            self._sizes.pop(block.file, None)
            return
        self._sizes[block.file] = block.size
        self._buffered += len(block.data)
        self._blocks.append(block)

    async def _compare_all(self) -> None:
        while True:
            await self._bell.until(lambda: self._ranges)
            batch = self._some_ranges()
            await self._wait_for_room(batch)
            for offered, wanted in await finished(self._differing, batch):
                self._expected += [(offered.file, number) for number in wanted]
                missing = sum(map(offered.bytes_of, wanted))
                self._meter.equal(offered.bytes - missing, threads.monotonic())
                await self._connection.send(codec.encode(Want(file=offered.file, blocks=wanted)))

    def _some_ranges(self) -> list[BlockRange]:
        batch: list[BlockRange] = []
        size = 0
        while self._ranges and size < COMPARE_BYTES and len(batch) < COMPARE_RANGES:
            batch.append(self._ranges.popleft())
            size += batch[-1].bytes
        return batch

    async def _wait_for_room(self, batch: list[BlockRange]) -> None:
        """While there is no room for these blocks nothing more is asked for; the copy goes on when there is."""
        while (lacking := await asyncio.to_thread(self._lacking, batch)) > 0:
            self._meter.waiting = (
                f"no space left on the disk: the copy needs {-(-lacking // MIB)} MiB more. Free some, then it goes on"
            )
            await asyncio.sleep(REPORT_S)
        self._meter.waiting = ""

    def _lacking(self, batch: list[BlockRange]) -> int:
        needed = LOW_BYTES
        for offered in batch:
            end = offered.first * BLOCK_BYTES + offered.bytes
            growth = min(max(end - self._disk.size_of(offered.file), 0), offered.bytes)
            needed += growth + (offered.bytes - growth if self._keeper is not None else 0)
        return needed - self._disk.free_bytes()

    def _differing(self, batch: list[BlockRange]) -> list[tuple[BlockRange, list[int]]]:
        """The blocks of each range that are not as the master says; what stands there is kept, durably, first."""
        found = [(offered, self._differing_in(offered)) for offered in batch]
        if self._keeper is not None:
            self._keeper.sync()
        return found

    def _differing_in(self, offered: BlockRange) -> list[int]:
        wanted = []
        for index in range(offered.blocks):
            number = offered.first + index
            if not offered.hashes and self._keeper is None:
                wanted.append(number)
                continue
            mine = read_block(self._disk, offered.file, number)
            theirs = offered.hashes[index * HASH_BYTES : (index + 1) * HASH_BYTES]
            if mine is None or not theirs or block_hash(mine, self._algorithm) != theirs:
                wanted.append(number)
                self._keep(offered.file, number, mine)
        return wanted

    def _keep(self, name: str, number: int, data: bytes | None) -> None:
        if self._keeper is not None and data:
            self._keeper.keep(name, number, data)

    async def _write_all(self) -> int:
        while True:
            await self._bell.until(lambda: self._blocks or self._copied)
            if not self._blocks:
                break
            batch, self._blocks = self._blocks, []
            await finished(self._write, batch)
            size = sum(len(block.data) for block in batch)
            self._buffered -= size
            self._unsynced += size
            self._dirty.update(block.file for block in batch)
            self._meter.moved(size, threads.monotonic())
            self._bell.ring()
        assert self._copied is not None
        await finished(self._finish)
        return self._copied.sequence

    def _write(self, batch: list[Block]) -> None:
        for name, first, data in _runs(batch):
            write_blocks(self._disk, name, first, data)

    async def _sync_all(self) -> None:
        """Make durable what is written, beside the writing, so that little is left for the end."""
        while True:
            await self._bell.until(lambda: self._unsynced >= SYNC_BYTES)
            names, self._dirty, self._unsynced = self._dirty, set(), 0
            await finished(sync_blocks, self._disk, names)

    async def _report(self) -> None:
        """Tell the master that this node is there, what room it has, and what it waits for."""
        while self._protocol > 1:
            state = CopyState(disk_free_bytes=self._disk.free_bytes(), waiting=self._meter.waiting)
            await self._connection.send(codec.encode(state))
            await asyncio.sleep(REPORT_S)

    def _finish(self) -> None:
        """Remove and cut what the master does not have, kept first; then everything is durable."""
        for name in file_names(self._disk):
            if name != DATABASE_FILE and name not in self._offered:
                self._keep_from(name, 0)
                remove_object(self._disk, name)
            elif name in self._sizes and self._disk.size_of(name) > self._sizes[name]:
                self._keep_from(name, self._sizes[name] // BLOCK_BYTES)
        set_sizes(self._disk, self._sizes)
        sync_blocks(self._disk, self._sizes)

    def _keep_from(self, name: str, number: int) -> None:
        if self._keeper is None:
            return
        while data := read_block(self._disk, name, number):
            self._keeper.keep(name, number, data)
            number += 1
        self._keeper.sync()


def _runs(batch: list[Block]) -> list[tuple[str, int, list[bytes]]]:
    """Neighbouring blocks put together, for one write each: file, first number, the blocks' bytes."""
    runs: list[tuple[str, int, list[bytes]]] = []
    for block in batch:
        if runs and _continues(runs[-1], block):
            runs[-1][2].append(block.data)
        else:
            runs.append((block.file, block.number, [block.data]))
    return runs


def _continues(run: tuple[str, int, list[bytes]], block: Block) -> bool:
    """Whether the block lies just behind: a short one was the end of its file, and what came later leaves a gap."""
    name, first, data = run
    return (name, first + len(data)) == (block.file, block.number) and len(data[-1]) == BLOCK_BYTES
