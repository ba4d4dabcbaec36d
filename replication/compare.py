"""COMPARE on files: block hashes of the live database and objects, and writing the blocks that differ.

No read transaction is held and nothing is locked: blocks may be read while writes and checkpoints go on, in any order;
redo from the pinned sequence makes them one state. Descriptors of scheduler.db are the kept ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from replication.core.request import DATABASE_FILE, OBJECT_PREFIX
from replication.files import OBJECT_DIRECTORY, Disk, File, checked_name
from replication.objects import sync_objects

BLOCK_BYTES = 256 * 1024
HASH_BYTES = 16


class BlockHash(NamedTuple):
    """One block of one file: `number` from 0, `length` bytes (the last one is shorter; an empty file has one of 0)."""

    file: str
    number: int
    length: int
    hash: bytes


@dataclass
class Difference:
    """What to do to become equal: blocks to fetch, in order; the size that each file gets; objects to remove."""

    fetch: list[tuple[str, int]] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    remove: list[str] = field(default_factory=list)

    @property
    def blocks(self) -> int:
        """The number of blocks to fetch."""
        return len(self.fetch)


def file_names(disk: Disk) -> list[str]:
    """Return the database and every object, in the order in which they are compared."""
    return [DATABASE_FILE] + [OBJECT_PREFIX + name for name in disk.names(OBJECT_DIRECTORY)]


def block_hashes(disk: Disk, block_bytes: int = BLOCK_BYTES) -> Iterator[BlockHash]:
    """Hash every block of every file. Run it in a thread; an object that vanishes meanwhile is left out."""
    for name in file_names(disk):
        try:
            file = _opened(disk, name, create=False)
        except FileNotFoundError:
            continue
        try:
            number = 0
            while (data := file.read(block_bytes, number * block_bytes)) or number == 0:
                yield BlockHash(name, number, len(data), hashlib.blake2b(data, digest_size=HASH_BYTES).digest())
                number += 1
        finally:
            _done(file)


def read_block(disk: Disk, name: str, number: int, block_bytes: int = BLOCK_BYTES) -> bytes | None:
    """Return a block as it is now, shorter or empty at the end; None when the file is gone. Raises BadName."""
    try:
        file = _opened(disk, checked_name(name), create=False)
    except FileNotFoundError:
        return None
    try:
        return file.read(block_bytes, number * block_bytes)
    finally:
        _done(file)


def write_block(disk: Disk, name: str, number: int, data: bytes, size: int, block_bytes: int = BLOCK_BYTES) -> None:
    """Write a block and set the file's size. Not durable before `sync_blocks`; idempotent. Raises BadName, DiskFull.

    Only on a node that is persisted as COPYING: its database is no state of anything until redo is done.
    """
    file = _opened(disk, checked_name(name), create=True)
    try:
        file.write(number * block_bytes, data)
        if file.size() != size:
            file.truncate(size)
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


def differing(remote: Iterable[BlockHash], local: Iterable[BlockHash]) -> Difference:
    """Return what this node (`local`) has to fetch, cut and remove to hold what `remote` holds."""
    mine = {(block.file, block.number): block for block in local}
    result = Difference()
    for block in remote:
        result.sizes[block.file] = result.sizes.get(block.file, 0) + block.length
        own = mine.get((block.file, block.number))
        if own is None or (own.length, own.hash) != (block.length, block.hash):
            result.fetch.append((block.file, block.number))
    gone = {name for name, _ in mine} - set(result.sizes) - {DATABASE_FILE}
    result.remove = sorted(gone)
    return result


def set_sizes(disk: Disk, sizes: dict[str, int]) -> None:
    """Cut or grow files to the master's sizes, where no fetched block did it."""
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
