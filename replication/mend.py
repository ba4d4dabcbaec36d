"""Mending a damaged journal: the range that cannot be read is put back, byte for byte, from the peer's journal.

Used before a node opens (design: a bad record below what was fsynced is fetched, nothing is cut). What is put back must
fit: each request continues the one before, and the next good one carries the hash of the last. At the end of a journal
no later request can vouch; then only requests of the same epoch are taken, since an epoch is written by one node alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from replication.control import ControlFile
from replication.core.request import HASH_BYTES, MalformedRequest, continues, peek, position_of
from replication.core.types import ORIGIN, Position
from replication.errors import ReplicationError
from replication.files import Disk
from replication.segments import (
    COMMIT_MARK,
    DIRECTORY,
    HEADER_BYTES,
    MARK,
    REQUEST,
    SUFFIX,
    Record,
    Scan,
    Segment,
    create_zeroed,
    later_records,
    pack_header,
    pack_record,
    read_header,
)

MENDED = f"{DIRECTORY}/mended"


class Unmendable(ReplicationError):
    """What the peer has does not fit here; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Requests `before.sequence` + 1 to `last` of one segment cannot be read.

    `next_hash` is the hash of request `last` as the next good request says it, or None at the end of the journal.
    """

    segment: str
    before: Position
    last: int
    next_hash: bytes | None

    @property
    def first(self) -> int:
        """The first request that is missing."""
        return self.before.sequence + 1


def find_gap(disk: Disk) -> Gap | None:
    """The first damage that could be mended; None when there is none, or a whole segment is gone. Blocks."""
    control = ControlFile(disk)
    proven = control.value.checkpoint.sequence
    control.close()
    last = ORIGIN
    names = _segments(disk)
    for index, name in enumerate(names):
        data = _content(disk, name)
        header = read_header(data)
        if header is None or (index and header[0] != last):
            return _gap(disk, names[index:], data, 0, last, proven) if index else None
        scan = Scan(Segment(name, header[0], len(data)), data)
        last = scan.last
        if scan.bad_at is not None:
            return _gap(disk, names[index:], data, scan.bad_at, last, proven)
    return None


def _gap(disk: Disk, names: list[str], data: bytes, at: int, before: Position, proven: int) -> Gap | None:
    for record in later_records(data, at):
        found = _request(record)
        if found is not None and found.sequence > before.sequence:
            return Gap(names[0], before, found.sequence - 1, record.payload[:HASH_BYTES])
    for name in names[1:]:
        following = read_header(_content(disk, name))
        if following is not None and following[0].sequence >= before.sequence:
            return Gap(names[0], before, following[0].sequence, following[0].hash)
        return None
    durable = max([proven, *(record.durable for record in later_records(data, at))])
    return Gap(names[0], before, durable, None) if durable > before.sequence else None


def _request(record: Record) -> Position | None:
    if record.kind != REQUEST:
        return None
    try:
        peek(record.payload)
    except MalformedRequest:
        return None
    return position_of(record.payload)


def _segments(disk: Disk) -> list[str]:
    return [f"{DIRECTORY}/{name}" for name in disk.names(DIRECTORY) if name.endswith(SUFFIX)]


def _content(disk: Disk, name: str) -> bytes:
    file = disk.open(name)
    try:
        return file.read(file.size(), 0)
    finally:
        file.close()


def mend(disk: Disk, gap: Gap, requests: list[bytes], commit: int, keep: str) -> None:
    """Write the segment anew with the missing requests. The damaged one is kept as file `keep` first. Blocks.

    `commit` is the peer's commit sequence: a mark of ours may have been in what was damaged, and the file may hold
    pages up to it. Both copies are fsynced before the rename, the directory after it: at every moment there is the
    damaged segment or the whole one. Raises Unmendable, with nothing changed, when the requests do not fit.
    """
    check(gap, requests)
    data = _content(disk, gap.segment)
    _write(disk, keep, data, len(data))
    header = read_header(data)
    start = header if header is not None and header[0].sequence <= gap.before.sequence else (gap.before, 0)
    parts = [pack_header(*start)]
    parts += [_packed(*record[:3]) for record in _good_prefix(data) if start is header]
    parts += [_packed(REQUEST, gap.before.sequence, encoded) for encoded in requests]
    parts += [_packed(*record[:3]) for record in later_records(data, HEADER_BYTES) if _is_behind(record, gap)]
    parts += [_packed(COMMIT_MARK, 0, MARK.pack(commit))]
    disk.unlink(MENDED)
    whole = b"".join(parts)
    _write(disk, MENDED, whole, max(len(whole), len(data)))
    disk.rename(MENDED, gap.segment)
    disk.sync_directory(DIRECTORY)


def check(gap: Gap, requests: list[bytes]) -> None:
    """Raise Unmendable unless these are exactly the requests that are missing."""
    at = gap.before
    for encoded in requests:
        try:
            header = peek(encoded)
        except MalformedRequest as error:
            raise Unmendable(f"what the other node sent is no request: {error}") from error
        if not continues(header, at):
            raise Unmendable(f"request {at.sequence + 1} of the other node is not the one that was here")
        if gap.next_hash is None and header.epoch != gap.before.epoch:
            raise Unmendable(f"the other node went another way from request {at.sequence + 1} on")
        at = position_of(encoded)
    if at.sequence != gap.last or (gap.next_hash is not None and at.hash != gap.next_hash):
        raise Unmendable(f"the other node does not have requests {gap.first} to {gap.last} as they were here")


def _good_prefix(data: bytes) -> list[Record]:
    header = read_header(data)
    if header is None:
        return []
    segment = Segment("", header[0], len(data))
    end = Scan(segment, data).bad_at
    return [record for record in later_records(data, HEADER_BYTES) if end is None or record.end <= end]


def _is_behind(record: Record, gap: Gap) -> bool:
    found = _request(record)
    return record.kind == COMMIT_MARK or (found is not None and found.sequence > gap.last)


def _packed(kind: int, durable: int, payload: bytes) -> bytes:
    return pack_record(kind, durable, payload) + payload


def _write(disk: Disk, name: str, data: bytes, size: int) -> None:
    file = create_zeroed(disk, name, size)
    try:
        file.write(0, data)
        file.sync()
    finally:
        file.close()


def keep_name(disk: Disk, segment: str, now_us: int) -> str:
    """Where the damaged segment is kept: a folder of its own beside the forks. Durable."""
    folder = f"forks/damaged-{now_us}"
    for name in ("forks", folder):
        disk.make_directory(name)
    return f"{folder}/{segment.removeprefix(DIRECTORY + '/')}"
