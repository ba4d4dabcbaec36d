"""COMPARE on files: hashes of the blocks of the live database and objects, and writing the blocks that differ.

No read transaction is held and nothing is locked: blocks may be read while writes and checkpoints go on, in any order;
redo from the pinned sequence makes them one state. Descriptors of scheduler.db are the kept ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from replication.core.request import DATABASE_FILE, OBJECT_PREFIX
from replication.files import OBJECT_DIRECTORY, Disk, File, checked_name
from replication.objects import sync_objects

BLOCK_BYTES = 256 * 1024
HASH_BYTES = 16
RANGE_BLOCKS = 32
GONE_SIZE = -1
"""The size that a block tells of a file that vanished meanwhile."""
SHA256, BLAKE2B = "sha256", "blake2b"
_HASHES: dict[str, Callable[[bytes], Any]] = {
    SHA256: hashlib.sha256,
    BLAKE2B: lambda data: hashlib.blake2b(data, digest_size=HASH_BYTES),
}
"""Protocol 1 speaks blake2b alone; sha256 is nearly twice as fast on processors of the last years."""


class BlockRange(NamedTuple):
    """Blocks `first` to `first` + `blocks` - 1 of a file of `size` bytes; an empty file has one block of 0 bytes.

    `hashes` is empty when the other side cannot hold any of them: then each is wanted.
    """

    file: str
    size: int
    first: int
    blocks: int
    hashes: bytes

    @property
    def bytes(self) -> int:
        """What the range holds."""
        return max(min(self.size, (self.first + self.blocks) * BLOCK_BYTES) - self.first * BLOCK_BYTES, 0)

    def bytes_of(self, number: int) -> int:
        """What one block of it holds."""
        return max(min(self.size - number * BLOCK_BYTES, BLOCK_BYTES), 0)


class Held(NamedTuple):
    """What the other side says it holds: bytes of its database file, number of its objects; -1 is unknown."""

    database_bytes: int = -1
    objects: int = -1

    def reaches(self, name: str, offset: int) -> bool:
        """May it hold something of this file from `offset` on?"""
        if name != DATABASE_FILE:
            return self.objects != 0
        return self.database_bytes < 0 or offset < self.database_bytes


def held_here(disk: Disk) -> Held:
    """What this node holds, for the master."""
    return Held(disk.size_of(DATABASE_FILE), len(disk.names(OBJECT_DIRECTORY)))


def block_hash(data: bytes, algorithm: str) -> bytes:
    """16 bytes of a strong hash: equal means equal. Raises KeyError for an unknown algorithm."""
    return bytes(_HASHES[algorithm](data).digest()[:HASH_BYTES])


def is_known(algorithm: str) -> bool:
    """Whether this build can compute it."""
    return algorithm in _HASHES


def file_names(disk: Disk) -> list[str]:
    """Return the database and every object, in the order in which they are compared."""
    return [DATABASE_FILE] + [OBJECT_PREFIX + name for name in disk.names(OBJECT_DIRECTORY)]


def total_bytes(disk: Disk) -> int:
    """What a copy into an empty node has to carry."""
    return sum(map(disk.size_of, file_names(disk)))


def allocated_bytes(disk: Disk) -> int:
    """What the database and the objects of this node take on its disk."""
    return sum(map(disk.allocated_of, file_names(disk)))


def ranges(disk: Disk, held: Held, algorithm: str) -> Iterator[BlockRange]:
    """Every block of every file, hashed where the other side may hold something. Blocks: take each from a thread.

    An object that vanishes meanwhile is left out. The size is that of the moment when a range is read.
    """
    for name in file_names(disk):
        first = 0
        while (found := _range(disk, name, first, held, algorithm)) is not None:
            yield found
            first += found.blocks


def _range(disk: Disk, name: str, first: int, held: Held, algorithm: str) -> BlockRange | None:
    try:
        file = _opened(disk, name, create=False)
    except FileNotFoundError:
        return None
    try:
        size, start = file.size(), first * BLOCK_BYTES
        if start >= size and first:
            return None
        blocks = max(min(-(-(size - start) // BLOCK_BYTES), RANGE_BLOCKS), 1)
        if not held.reaches(name, start):
            return BlockRange(name, size, first, blocks, b"")
        data = (file.read(BLOCK_BYTES, (first + index) * BLOCK_BYTES) for index in range(blocks))
        return BlockRange(name, size, first, blocks, b"".join(block_hash(block, algorithm) for block in data))
    finally:
        _done(file)


def read_block(disk: Disk, name: str, number: int) -> bytes | None:
    """Return a block as it is now, shorter or empty at the end; None when the file is gone. Raises BadName."""
    try:
        file = _opened(disk, checked_name(name), create=False)
    except FileNotFoundError:
        return None
    try:
        return file.read(BLOCK_BYTES, number * BLOCK_BYTES)
    finally:
        _done(file)


def write_blocks(disk: Disk, name: str, first: int, blocks: Sequence[bytes]) -> None:
    """Write neighbouring blocks. Not durable before `sync_blocks`; idempotent. Raises BadName, DiskFull.

    Only the last of them may be shorter than BLOCK_BYTES. Only on a node that is persisted as COPYING: its database is
    no state of anything until redo is done. The file never reaches further than what was written, so that its size
    says what an interrupted copy has.
    """
    file = _opened(disk, checked_name(name), create=True)
    try:
        file.write(first * BLOCK_BYTES, *blocks)
    finally:
        _done(file)


def remove_object(disk: Disk, name: str) -> None:
    """Remove an object that the master does not have. The caller has saved it when it may be the only copy."""
    if checked_name(name) != DATABASE_FILE:
        disk.unlink(name)


def sync_blocks(disk: Disk, names: Iterable[str]) -> None:
    """Make the written blocks of these files durable, and the objects' directory."""
    objects = set(names) - {DATABASE_FILE}
    disk.keep(DATABASE_FILE).sync()
    sync_objects(disk, objects)


def set_sizes(disk: Disk, sizes: dict[str, int]) -> None:
    """Cut or grow files to the master's sizes."""
    for name, size in sizes.items():
        file = _opened(disk, checked_name(name), create=True)
        try:
            if file.size() != size:
                file.truncate(size)
        finally:
            _done(file)


def _opened(disk: Disk, name: str, *, create: bool) -> File:
    return disk.keep(name) if name == DATABASE_FILE else disk.open(name, create=create)


def _done(file: File) -> None:
    if file.name != DATABASE_FILE:
        file.close()
