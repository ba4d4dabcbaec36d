"""The master's half of COMPARE: tell block hashes, send the blocks that are wanted.

First copy is the same with a standby that holds nothing: then nothing is hashed. Writes and checkpoints go on
meanwhile: redo from the pinned checkpoint makes one state of it. Four jobs share the work, each bounded: hashes are
told ahead of the answers, answers are taken, blocks are read ahead of the sending, and sent at the pace allowed.

Protocol: docs/protocol.md, sections 4.3 and 8.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from itertools import pairwise

from replication import threads
from replication.compare import (
    BLAKE2B,
    BLOCK_BYTES,
    GONE_SIZE,
    SHA256,
    BlockRange,
    Held,
    ranges,
    read_block,
    total_bytes,
)
from replication.control import ControlFile
from replication.core import codec
from replication.core.codec import FrameError
from replication.core.compression import agreed
from replication.core.copy_progress import CopyMeter
from replication.core.messages import Block, Copied, CopyState, Follow, Hashes, Want, common_protocol
from replication.core.types import ORIGIN, CopyProgress, Position
from replication.files import Disk
from replication.office import Office
from replication.ports import Connection
from replication.tasks import Bell, run_beside
from replication.threads import finished
from replication.writer import Writer

WINDOW_BYTES = 32 * 1024 * 1024
WINDOW_RANGES = 512
CHUNK_BYTES = 2 * 1024 * 1024
CHUNKS_AHEAD = 2
SILENCE_S = 30.0

Chunk = tuple[list[tuple[bytes, int]], list[BlockRange]]
"""Frames with the bytes of their block, and the ranges that are answered with the last of them."""


class Pace:
    """Keeps what is sent at or below a rate, which may change at any time. 0 bytes per second is no limit."""

    def __init__(self, bytes_per_s: Callable[[], float]) -> None:
        self._bytes_per_s = bytes_per_s
        self._free_at = 0.0

    async def wait(self, size: int) -> None:
        """Return when `size` more bytes may go."""
        rate = self._bytes_per_s()
        if rate <= 0:
            return
        now = threads.monotonic()
        self._free_at = max(self._free_at, now) + size / rate
        await asyncio.sleep(self._free_at - now)


class CopySource:
    """One copy to one follower. `pin` is the checkpoint where its redo starts; the journal is kept from there on."""

    def __init__(
        self,
        connection: Connection,
        disk: Disk,
        control: ControlFile,
        office: Office,
        follow: Follow,
        bytes_per_s: Callable[[], float],
    ) -> None:
        self.connection = connection
        self._disk = disk
        self._control = control
        self._office = office
        self._protocol = common_protocol(follow.protocol)
        self._held = Held(follow.database_bytes, follow.objects) if self._protocol > 1 else Held()
        self._compression = agreed(follow.compression)
        self._pace = Pace(bytes_per_s)
        self._meter = CopyMeter(0, threads.monotonic())
        self._bell = Bell()
        self._offered: deque[BlockRange] = deque()
        self._is_all_offered = False
        self._wanted: deque[tuple[BlockRange, deque[int]]] = deque()
        self._open_ranges = 0
        self._open_bytes = 0
        self._chunks: asyncio.Queue[Chunk | None] = asyncio.Queue(CHUNKS_AHEAD)
        self._names: dict[str, None] = {}
        self.position: Position = ORIGIN
        self.state: CopyState | None = None
        self.bytes_total = 0
        self.frame_bytes_sent = 0

    @property
    def pin(self) -> int:
        """The sequence from which the journal must be kept."""
        return self.position.sequence

    @property
    def progress(self) -> CopyProgress:
        """How far it is."""
        return self._meter.reading(threads.monotonic())

    async def pin_now(self) -> None:
        """Checkpoint if the commit allows it, then pin, between two groups."""
        store = self._office.store
        assert store is not None
        await store.checkpoint()

        def pin(writer: Writer) -> Position:
            position = self._control.value.checkpoint
            writer.keep_from = min(position.sequence + 1, writer.keep_from or position.sequence + 1)
            return position

        self.position = await store.run_in_writer(pin)
        self.bytes_total = self._meter.total = await asyncio.to_thread(total_bytes, self._disk)

    async def run(self) -> None:
        """Serve hashes and blocks to the end; returns after COPIED was sent. Raises ConnectionError, FrameError."""
        await run_beside(self._send_all(), self._offer_all(), self._take_answers(), self._read_all())

    async def _offer_all(self) -> None:
        """Tell the hashes, WINDOW_BYTES ahead of what is answered; with protocol 1 one range after the other."""
        found = ranges(self._disk, self._held, SHA256 if self._protocol > 1 else BLAKE2B)
        while batch := await finished(some_ranges, found):
            for offered in batch:
                await self._bell.until(self._may_offer)
                self._open_ranges += 1
                self._open_bytes += offered.bytes
                self._names[offered.file] = None
                self._offered.append(offered)
                await self.connection.send(codec.encode(_hashes(offered, self._protocol)))
        self._is_all_offered = True
        self._bell.ring()

    def _may_offer(self) -> bool:
        if self._protocol == 1:
            return self._open_ranges == 0
        return self._open_bytes < WINDOW_BYTES and self._open_ranges < WINDOW_RANGES

    async def _take_answers(self) -> None:
        while True:
            message = codec.decode(await self._received())
            if isinstance(message, CopyState):
                self.state = message
                self._meter.waiting = message.waiting
            elif isinstance(message, Want):
                self._take(message)
            else:
                raise FrameError("something else than WANT after HASHES")

    async def _received(self) -> bytes:
        if self._protocol == 1:
            return await self.connection.receive()
        async with asyncio.timeout(SILENCE_S):
            return await self.connection.receive()

    def _take(self, want: Want) -> None:
        offered = self._offered.popleft() if self._offered else None
        if offered is None or want.file != offered.file or not _fits(want.blocks, offered):
            raise FrameError("a WANT that answers no HASHES")
        missing = sum(map(offered.bytes_of, want.blocks))
        self._meter.equal(offered.bytes - missing, threads.monotonic())
        self._wanted.append((offered, deque(want.blocks)))
        self._bell.ring()

    async def _read_all(self) -> None:
        """Read wanted blocks ahead of the sending, in the order of the answers."""
        while True:
            await self._bell.until(lambda: self._wanted or (self._is_all_offered and not self._offered))
            if not self._wanted:
                await self._chunks.put(None)
                return
            blocks, answered = self._next_blocks()
            await self._chunks.put((await finished(self._read, blocks), answered))

    def _next_blocks(self) -> tuple[list[tuple[str, int]], list[BlockRange]]:
        blocks: list[tuple[str, int]] = []
        answered: list[BlockRange] = []
        size = 0
        while self._wanted and size < CHUNK_BYTES and len(answered) < WINDOW_RANGES:
            offered, numbers = self._wanted[0]
            while numbers and size < CHUNK_BYTES:
                number = numbers.popleft()
                blocks.append((offered.file, number))
                size += offered.bytes_of(number)
            if not numbers:
                answered.append(offered)
                self._wanted.popleft()
        return blocks, answered

    def _read(self, blocks: list[tuple[str, int]]) -> list[tuple[bytes, int]]:
        """Blocks: in a thread. Frames are made here too, so that the event loop only sends."""
        frames = []
        for name, number in blocks:
            data = read_block(self._disk, name, number)
            size = self._disk.size_of(name) if data is not None else GONE_SIZE
            block = Block(file=name, number=number, size=size, data=data or b"")
            frames.append((codec.encode(block, self._compression), len(block.data)))
        return frames

    async def _send_all(self) -> None:
        while (chunk := await self._chunks.get()) is not None:
            frames, answered = chunk
            for frame, size in frames:
                await self._pace.wait(len(frame))
                await self.connection.send(frame)
                self.frame_bytes_sent += len(frame)
                self._meter.moved(size, threads.monotonic())
            self._open_ranges -= len(answered)
            self._open_bytes -= sum(offered.bytes for offered in answered)
            self._bell.ring()
        store = self._office.store
        if store is None:
            raise ConnectionError("this node left office")
        files = list(self._names) if self._protocol == 1 else []
        await self.connection.send(codec.encode(Copied(sequence=store.last.sequence, files=files)))


def some_ranges(found: Iterator[BlockRange]) -> list[BlockRange]:
    """The next ranges: enough for one turn of a thread. [] at the end. Blocks."""
    taken: list[BlockRange] = []
    size = 0
    while size < CHUNK_BYTES and len(taken) < WINDOW_RANGES and (offered := next(found, None)) is not None:
        taken.append(offered)
        size += offered.bytes
    return taken


def _hashes(offered: BlockRange, protocol: int) -> Hashes:
    end = (offered.first + offered.blocks) * BLOCK_BYTES
    return Hashes(
        file=offered.file,
        size=offered.size,
        block_bytes=BLOCK_BYTES,
        first=offered.first,
        hashes=offered.hashes,
        last=end >= offered.size,
        algorithm=SHA256 if protocol > 1 else BLAKE2B,
        blocks=0 if offered.hashes else offered.blocks,
    )


def _fits(blocks: list[int], offered: BlockRange) -> bool:
    """Numbers of the range, ascending: nobody gets a block twice, or one that was not offered."""
    allowed = range(offered.first, offered.first + offered.blocks)
    return all(number in allowed for number in blocks) and all(a < b for a, b in pairwise(blocks))
