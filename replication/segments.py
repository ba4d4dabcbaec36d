"""The bytes of the journal's segment files: headers, records, and the judgement of what follows a bad record.

A segment is `journal/<first sequence, 20 digits>.journal`: a header of HEADER_BYTES, records, zeros. Each record says
up to which sequence this journal was already fsynced when it was written (`durable`). So after a power loss a bad
record can be told apart: below another record's `durable` it had been fsynced and is damage; otherwise it is a tail
that never was promised to anybody.

Protocol: docs/protocol.md, section 11.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from replication.core.request import Header, MalformedRequest, continues, peek, position_of
from replication.core.types import Epoch, Position
from replication.files import Disk, File

DIRECTORY = "journal"
PREPARED = f"{DIRECTORY}/prepared"
SUFFIX = ".journal"
MAGIC = b"USJRNL\x00\x01"
MARKER = b"\xf1\x9eRQ"
_SEGMENT = struct.Struct(">8sQQ16s32sQI")
HEADER_BYTES = 128
RECORD = struct.Struct(">4sIIBQ")
_COVERED = struct.Struct(">IBQ")
REQUEST = 1
COMMIT_MARK = 2
MARK = struct.Struct(">Q")


class Record(NamedTuple):
    """One record as found on disk: `kind` REQUEST or COMMIT_MARK, the payload, and where the next one starts."""

    kind: int
    durable: int
    payload: bytes
    end: int


@dataclass
class Segment:
    """One segment: the place before its first request, and where each request's payload lies."""

    name: str
    before: Position
    capacity: int
    end: int = HEADER_BYTES
    offsets: array[int] = field(default_factory=lambda: array("Q"))
    lengths: array[int] = field(default_factory=lambda: array("Q"))
    file: File | None = None

    @property
    def first(self) -> int:
        """The sequence of its first request."""
        return self.before.sequence + 1

    @property
    def last(self) -> int:
        """The sequence of its last request; `first - 1` while it has none."""
        return self.before.sequence + len(self.offsets)


def segment_name(first: int) -> str:
    """Return the file name of the segment that starts at a sequence."""
    return f"{DIRECTORY}/{first:020d}{SUFFIX}"


def pack_header(before: Position, durable: int) -> bytes:
    """Return a segment's header."""
    node = bytes.fromhex(before.epoch.node)
    body = _SEGMENT.pack(MAGIC, before.sequence, before.epoch.number, node, before.hash, durable, 0)[:-4]
    return (body + zlib.crc32(body).to_bytes(4, "big")).ljust(HEADER_BYTES, b"\0")


def read_header(data: bytes | memoryview) -> tuple[Position, int] | None:
    """Return (position before the first request, durable), or None when it is no valid header."""
    if len(data) < HEADER_BYTES:
        return None
    magic, sequence, number, node, before, durable, crc = _SEGMENT.unpack_from(data)
    if magic != MAGIC or zlib.crc32(data[: _SEGMENT.size - 4]) != crc:
        return None
    return Position(Epoch(number, node.hex() if number else ""), sequence, before), durable


def pack_record(kind: int, durable: int, payload: bytes) -> bytes:
    """Return the header that goes in front of `payload`."""
    covered = _COVERED.pack(len(payload), kind, durable)
    return RECORD.pack(MARKER, len(payload), zlib.crc32(payload, zlib.crc32(covered)), kind, durable)


def parse_record(data: bytes, at: int) -> Record | None:
    """Return the record at an offset, or None when there is no whole, valid one."""
    if at + RECORD.size > len(data) or data[at : at + 4] != MARKER:
        return None
    _, length, crc, kind, durable = RECORD.unpack_from(data, at)
    end = at + RECORD.size + length
    if end > len(data):
        return None
    payload = data[at + RECORD.size : end]
    if zlib.crc32(payload, zlib.crc32(_COVERED.pack(length, kind, durable))) != crc:
        return None
    return Record(kind, durable, payload, end)


def later_records(data: bytes, at: int) -> Iterator[Record]:
    """Find the valid records at or behind an offset, wherever they start."""
    while (at := data.find(MARKER, at)) >= 0:
        record = parse_record(data, at)
        if record is None:
            at += 1
        else:
            yield record
            at = record.end


class Scan:
    """Reads one segment into its index. Afterwards `last` and `commit` are what it proves, and `bad_at` is the offset
    of the first thing that is no valid next record, or None when only zeros follow.
    """

    def __init__(self, segment: Segment, data: bytes) -> None:
        self.segment = segment
        self.data = data
        self.last = segment.before
        self.commit = 0
        self.headers: list[tuple[Header, Position]] = []
        at = HEADER_BYTES
        while (record := parse_record(data, at)) is not None and self._take(record, at):
            at = record.end
        segment.end = at
        rest = memoryview(data)[at:]
        self.bad_at = at if any(rest[i : i + 4096].tobytes().strip(b"\0") for i in range(0, len(rest), 4096)) else None

    def _take(self, record: Record, at: int) -> bool:
        if record.kind == COMMIT_MARK:
            self.commit = max(self.commit, MARK.unpack(record.payload)[0])
            return True
        try:
            header = peek(record.payload)
        except MalformedRequest:
            return False
        if not continues(header, self.last):
            return False
        if header.epoch != self.last.epoch:
            self.headers.append((header, position_of(record.payload)))
        self.last = position_of(record.payload)
        self.commit = max(self.commit, header.commit)
        self.segment.offsets.append(at + RECORD.size)
        self.segment.lengths.append(len(record.payload))
        return True


def newest_within(segments: list[Segment], keep_bytes: int, before: int) -> int:
    """Return the lowest sequence not above `before` such that the segments from it on take `keep_bytes`; else 0."""
    total = 0
    for segment in reversed(segments):
        total += segment.capacity
        if segment.first <= before and total >= keep_bytes:
            return min(segment.first, before)
    return 0


def bytes_behind(segments: list[Segment], sequence: int) -> int:
    """Return the number of bytes of the requests behind `sequence`."""
    behind = [segment for segment in segments if segment.last > sequence]
    return sum(sum(segment.lengths[max(sequence + 1 - segment.first, 0) :]) for segment in behind)


def create_zeroed(disk: Disk, name: str, size: int) -> File:
    """Create a file of zeros, written and fsynced, so that later writes allocate nothing. Raises DiskFull."""
    file = disk.open(name, create=True)
    try:
        step = 1 << 20
        for at in range(0, size, step):
            file.write(at, bytes(min(step, size - at)))
        file.sync()
    except BaseException:
        file.close()
        disk.unlink(name)
        raise
    return file
