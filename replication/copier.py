"""COMPARE over the bulk channel: the master tells block hashes, the standby asks for what differs.

First copy is the same with an empty node. Writes and checkpoints go on meanwhile: redo from the pinned checkpoint makes
one state of it. A copy that is interrupted begins again with the hashes, so blocks that arrived are not sent twice.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from itertools import groupby, islice

from replication.compare import (
    BLOCK_BYTES,
    HASH_BYTES,
    BlockHash,
    block_hashes,
    file_names,
    read_block,
    remove_object,
    set_sizes,
    sync_blocks,
    write_block,
)
from replication.control import ControlFile
from replication.core import codec
from replication.core.codec import FrameError
from replication.core.messages import Block, Copied, Hashes, Want
from replication.core.request import DATABASE_FILE
from replication.core.types import ORIGIN, Position
from replication.files import Disk
from replication.fork import BlockKeeper
from replication.office import Office
from replication.ports import Connection
from replication.threads import finished
from replication.writer import Writer

BATCH_BLOCKS = 256
GONE_SIZE = -1


class CopySource:
    """The master's half. `pin` is the checkpoint where the copy's redo starts; the journal is kept from there on."""

    def __init__(self, connection: Connection, disk: Disk, control: ControlFile, office: Office) -> None:
        self.connection = connection
        self._disk = disk
        self._control = control
        self._office = office
        self.position: Position = ORIGIN
        self.bytes_sent = 0

    @property
    def pin(self) -> int:
        """The sequence from which the journal must be kept."""
        return self.position.sequence

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

    async def run(self) -> None:
        """Serve hashes and blocks to the end; returns after COPIED was sent. Raises ConnectionError, FrameError."""
        hashes = block_hashes(self._disk)
        names: list[str] = []
        while batch := await asyncio.to_thread(lambda: list(islice(hashes, BATCH_BLOCKS))):
            for name, blocks in groupby(batch, key=lambda block: block.file):
                if name not in names:
                    names.append(name)
                await self._offer(name, list(blocks))
        store = self._office.store
        if store is None:
            raise ConnectionError("this node left office")
        await self.connection.send(codec.encode(Copied(sequence=store.last.sequence, files=names)))

    async def _offer(self, name: str, blocks: list[BlockHash]) -> None:
        size = self._disk.size_of(name)
        digest = b"".join(block.hash for block in blocks)
        end = blocks[-1].number * BLOCK_BYTES + blocks[-1].length
        message = Hashes(
            file=name, size=size, block_bytes=BLOCK_BYTES, first=blocks[0].number, hashes=digest, last=end >= size
        )
        await self.connection.send(codec.encode(message))
        want = codec.decode(await self.connection.receive())
        if not isinstance(want, Want) or want.file != name:
            raise FrameError("something else than WANT after HASHES")
        for number in want.blocks:
            data = await asyncio.to_thread(read_block, self._disk, name, number)
            now = self._disk.size_of(name) if data is not None else GONE_SIZE
            self.bytes_sent += len(data or b"")
            await self.connection.send(codec.encode(Block(file=name, number=number, size=now, data=data or b"")))


class CopyTarget:
    """The standby's half, on a node that is persisted as COPYING. `keeper` keeps what is replaced, or None."""

    def __init__(self, connection: Connection, disk: Disk, keeper: BlockKeeper | None) -> None:
        self._connection = connection
        self._disk = disk
        self._keeper = keeper
        self._sizes: dict[str, int] = {}
        self.bytes_received = 0
        self.blocks_compared = 0
        self.blocks_total = 1

    @property
    def progress(self) -> float:
        """0.0 to 1.0 of the blocks of the database and of the objects seen so far."""
        return min(self.blocks_compared / max(self.blocks_total, 1), 1.0)

    async def run(self) -> int:
        """Fetch what differs; returns the sequence at the end of the last block. Everything is durable then."""
        while True:
            message = codec.decode(await self._connection.receive())
            if isinstance(message, Copied):
                await finished(self._finish, message)
                return message.sequence
            if not isinstance(message, Hashes) or message.block_bytes != BLOCK_BYTES:
                raise FrameError("something else than HASHES in a copy")
            await self._take(message)

    async def _take(self, message: Hashes) -> None:
        if message.first == 0:
            self.blocks_total += -(-message.size // BLOCK_BYTES)
        self._sizes[message.file] = message.size
        wanted = await finished(lambda: list(self._differing(message)))
        self.blocks_compared += len(message.hashes) // HASH_BYTES - len(wanted)
        await self._connection.send(codec.encode(Want(file=message.file, blocks=wanted)))
        for number in wanted:
            block = codec.decode(await self._connection.receive())
            if not isinstance(block, Block) or (block.file, block.number) != (message.file, number):
                raise FrameError("another block than the one wanted")
            self.blocks_compared += 1
            self.bytes_received += len(block.data)
            if block.size != GONE_SIZE:
                self._sizes[block.file] = block.size
                await finished(
                    write_block, self._disk, block.file, block.number, block.data, max(block.size, self._end(block))
                )

    @staticmethod
    def _end(block: Block) -> int:
        return block.number * BLOCK_BYTES + len(block.data)

    def _differing(self, message: Hashes) -> Iterator[int]:
        """Blocks that are not as the master says; what stands in their place is kept durably first."""
        wanted = []
        for index in range(len(message.hashes) // HASH_BYTES):
            number = message.first + index
            theirs = message.hashes[index * HASH_BYTES : (index + 1) * HASH_BYTES]
            mine = read_block(self._disk, message.file, number)
            if mine is None or hashlib.blake2b(mine, digest_size=HASH_BYTES).digest() != theirs:
                wanted.append(number)
                if self._keeper is not None and mine:
                    self._keeper.keep(message.file, number, mine)
        if self._keeper is not None:
            self._keeper.sync()
        return iter(wanted)

    def _finish(self, message: Copied) -> None:
        for name in file_names(self._disk):
            if name != DATABASE_FILE and name not in message.files:
                self._keep_object(name)
                remove_object(self._disk, name)
        set_sizes(self._disk, {name: size for name, size in self._sizes.items() if name in message.files})
        sync_blocks(self._disk, self._sizes)

    def _keep_object(self, name: str) -> None:
        if self._keeper is None:
            return
        number = 0
        while data := read_block(self._disk, name, number):
            self._keeper.keep(name, number, data)
            number += 1
        self._keeper.sync()
