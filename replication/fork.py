"""Forks: what an old master had and the new master never will, kept before anything of it is changed.

`forks/<first>-<last>-<hash>/` holds `requests` (length-prefixed encoded requests behind the fork point), `blocks` (this
node's own versions of what COMPARE replaced), `fork.json`, and what the application says of it (`fork_tip`). Every file
is fsynced, `fork.json` last and renamed into place, then the folder and `forks/` are fsynced: a fork is either whole or
not there. Deleted only by an operator.

Protocol: docs/protocol.md, section 11.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from replication.core.request import Header, chain_hash, peek
from replication.files import Disk, File
from replication.journal import Journal

FORKS = "forks"
HEAD_BYTES_MAX = 1024


class Fork(msgspec.Struct, frozen=True):
    """What one fork holds: requests `first` to `last` of `epoch`, kept at `kept_at_us` (wall clock, display only)."""

    name: str
    epoch: int
    node: str
    first: int
    last: int
    requests: int
    bytes: int
    kept_at_us: int
    why: str


def keep_suffix(disk: Disk, journal: Journal, after: int, why: str, now_us: int) -> Fork | None:
    """Save every request behind `after`; None when there is none. Durable when it returns; safe to repeat.

    Blocks: call it in a thread. The caller cuts the journal only afterwards.
    """
    last = journal.last
    if last.sequence <= after:
        return None
    first = max(after + 1, journal.first_sequence)
    name = f"{first}-{last.sequence}-{last.hash.hex()[:12]}"
    if disk.exists(f"{FORKS}/{name}/fork.json"):
        return read_fork(disk, name)
    folder = f"{FORKS}/{name}"
    disk.make_directory(FORKS)
    disk.make_directory(folder)
    count, size = _write_requests(disk.open(f"{folder}/requests", create=True), journal.read(first))
    fork = Fork(name, last.epoch.number, last.epoch.node, first, last.sequence, count, size, now_us, why)
    write_whole(disk, f"{folder}/fork.json", msgspec.json.encode(fork))
    disk.sync_directory(folder)
    disk.sync_directory(FORKS)
    return fork


def keep_damage(disk: Disk, why: str, now_us: int) -> Fork:
    """A folder for this node's version of blocks that COMPARE replaces though nothing diverged: one is damaged.

    It is no fork and is not listed as one; it lies beside them, with the reason in `damage.json`. Durable.
    """
    name = f"damaged-{now_us}"
    for folder in (FORKS, f"{FORKS}/{name}"):
        disk.make_directory(folder)
    damage = Fork(name, 0, "", 0, 0, 0, 0, now_us, why)
    write_whole(disk, f"{FORKS}/{name}/damage.json", msgspec.json.encode(damage))
    disk.sync_directory(f"{FORKS}/{name}")
    disk.sync_directory(FORKS)
    return damage


def _write_requests(file: File, requests: Iterable[bytes]) -> tuple[int, int]:
    file.truncate(0)
    at = count = 0
    for encoded in requests:
        file.write(at, len(encoded).to_bytes(4, "big"), encoded)
        at += 4 + len(encoded)
        count += 1
    file.sync()
    file.close()
    return count, at


def write_whole(disk: Disk, name: str, data: bytes) -> None:
    """Write a file of a fork under a temporary name, fsync and rename it; the caller fsyncs the folder.

    `fork.json`, the mark of a whole fork, is written last so, and later `contents.json`, behind the outputs it names.
    """
    file = disk.open(f"{name}.new", create=True)
    file.truncate(0)
    file.write(0, data)
    file.sync()
    file.close()
    disk.rename(f"{name}.new", name)


class KeptBlock(msgspec.Struct, array_like=True, frozen=True):
    """The head of one record of `blocks`. `crc` is the CRC-32 of the data; the first release wrote none."""

    file: str
    number: int
    length: int
    crc: int | None = None


class BlockKeeper:
    """Keeps this node's own, first version of each block that COMPARE is about to replace. Durable after `sync`.

    A COMPARE that was interrupted goes on in the same file: what was kept then is the node's own, what stands in the
    place now came from a master. A record that was being written when the node died is cut off: nothing was replaced.
    """

    def __init__(self, disk: Disk, fork: Fork) -> None:
        self._file = disk.open(f"{FORKS}/{fork.name}/blocks", create=True)
        self._at = 0
        self._kept: set[tuple[str, int]] = set()
        self._changed = False
        self._read_back()

    def _read_back(self) -> None:
        for name, number, data, end in _records(self._file):
            del data
            self._kept.add((name, number))
            self._at = end
        self._file.truncate(self._at)

    def keep(self, file: str, number: int, data: bytes) -> None:
        """Append one block with its name, unless it is there; the caller calls `sync` before it overwrites."""
        if (file, number) in self._kept:
            return
        self._kept.add((file, number))
        self._changed = True
        head = msgspec.msgpack.encode(KeptBlock(file, number, len(data), zlib.crc32(data)))
        self._file.write(self._at, len(head).to_bytes(4, "big"), head, data)
        self._at += 4 + len(head) + len(data)

    def sync(self) -> None:
        """Make the kept blocks durable."""
        if self._changed:
            self._file.sync()
            self._changed = False

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_blocks(disk: Disk, name: str) -> Iterator[tuple[str, int, bytes]]:
    """This node's own version of what COMPARE replaced, of one fork: file, number of the block, bytes."""
    file = disk.open(f"{FORKS}/{name}/blocks")
    try:
        for block_file, number, data, _ in _records(file):
            yield block_file, number, data
    finally:
        file.close()


def _records(file: File) -> Iterator[tuple[str, int, bytes, int]]:
    """The whole records of `blocks` from its begin, each with the offset of its end; what is torn ends them.

    Each is the length of its head, the head (`KeptBlock`), the data.
    """
    at, size = 0, file.size()
    while at + 4 <= size:
        length = int.from_bytes(file.read(4, at), "big")
        head = file.read(length, at + 4) if length <= HEAD_BYTES_MAX else b""
        try:
            block = msgspec.msgpack.decode(head, type=KeptBlock)
        except msgspec.MsgspecError:
            return
        data = file.read(block.length, at + 4 + length)
        at += 4 + length + block.length
        if at > size or block.crc not in (None, zlib.crc32(data)):
            return
        yield block.file, block.number, data, at


def read_fork(disk: Disk, name: str) -> Fork:
    """The description of one fork."""
    return _described_in(disk, f"{FORKS}/{name}/fork.json")


def read_damage(disk: Disk, name: str) -> Fork | None:
    """What `keep_damage` made; None when somebody removed it."""
    described = f"{FORKS}/{name}/damage.json"
    return _described_in(disk, described) if disk.exists(described) else None


def _described_in(disk: Disk, name: str) -> Fork:
    file = disk.open(name)
    try:
        return msgspec.json.decode(file.read(file.size(), 0), type=Fork)
    finally:
        file.close()


def list_forks(disk: Disk) -> list[Fork]:
    """Every whole fork kept on this node, oldest first."""
    found = (name for name in disk.names(FORKS) if not name.startswith("."))  # those are being deleted
    names = [name for name in found if disk.exists(f"{FORKS}/{name}/fork.json")]
    return sorted((read_fork(disk, name) for name in names), key=lambda fork: (fork.kept_at_us, fork.name))


def read_requests(disk: Disk, name: str) -> list[dict[str, Any]]:
    """What each request of a fork is, for people: sequence, epoch, kind, bytes, time, chain hash."""
    file = disk.open(f"{FORKS}/{name}/requests")
    try:
        found, at, size = [], 0, file.size()
        while at < size:
            length = int.from_bytes(file.read(4, at), "big")
            encoded = file.read(length, at + 4)
            found.append(_described(peek(encoded), encoded))
            at += 4 + length
        return found
    finally:
        file.close()


def _described(header: Header, encoded: bytes) -> dict[str, Any]:
    return {
        "sequence": header.sequence,
        "epoch": header.epoch.number,
        "kind": header.kind.name,
        "bytes": len(encoded),
        "at_us": header.at_us,
        "hash": chain_hash(encoded).hex(),
    }
