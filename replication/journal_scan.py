"""Reading a journal's directory at start: which segments are good, and whether a bad end is damage or a torn tail."""

from __future__ import annotations

from dataclasses import dataclass, field

from replication.control import EpochStart
from replication.core.types import ORIGIN, Position
from replication.errors import Corrupt
from replication.files import Disk
from replication.segments import (
    DIRECTORY,
    MARK,
    SUFFIX,
    Scan,
    Segment,
    later_records,
    read_header,
)

CUT_FILE = f"{DIRECTORY}/cut"


@dataclass
class Found:
    """What the directory proves. `cut_after` is set when a cut was interrupted and has to be finished."""

    segments: list[Segment] = field(default_factory=list)
    epochs: list[EpochStart] = field(default_factory=list)
    last: Position = ORIGIN
    commit: int = 0
    cut_after: int | None = None


def read_directory(disk: Disk, proven: int) -> Found:
    """Verify every record and the chain; remove a tail that never was durable.

    `proven` is a sequence known to have been durable. Raises Corrupt, with nothing cut, when a record is bad that was.
    """
    found = Found(cut_after=_cut_note(disk))
    names = [f"{DIRECTORY}/{name}" for name in disk.names(DIRECTORY) if name.endswith(SUFFIX)]
    for index, name in enumerate(names):
        file = disk.open(name)
        data = file.read(file.size(), 0)
        header = read_header(data)
        if header is None or (found.segments and header[0] != found.last):
            file.close()
            _judge(disk, found, 0, names[index:], proven)
            break
        segment = Segment(name, header[0], len(data), file=file)
        scan = Scan(segment, data)
        found.segments.append(segment)
        found.last = scan.last
        found.commit = max(found.commit, scan.commit)
        found.epochs += [EpochStart(head.epoch, head.sequence, at.hash) for head, at in scan.headers]
        if scan.bad_at is not None:
            _judge(disk, found, scan.bad_at, names[index:], proven)
            break
    if proven and not found.segments:
        raise Corrupt(DIRECTORY, 0, proven, "its segments are missing")
    return found


def _judge(disk: Disk, found: Found, at: int, names: list[str], proven: int) -> None:
    """What lies at `at` of `names[0]` is no next record: damage (Corrupt), or a tail that never was promised."""
    bad = found.last.sequence + 1
    durable = proven
    for name in names:
        file = disk.open(name)
        data = file.read(file.size(), 0)
        file.close()
        start = at if name == names[0] else 0
        header = read_header(data) if start == 0 else None
        durable = max(durable, header[1] if header else 0)
        durable = max([durable, *(record.durable for record in later_records(data, start))])
    cut_away = found.cut_after is not None and bad > found.cut_after
    if durable >= bad and not cut_away:
        raise Corrupt(names[0], at, bad, f"request {bad} had been fsynced")
    for name in reversed(names[1:] if at else names):
        disk.unlink(name)
    disk.sync_directory(DIRECTORY)
    if at:
        zero_behind(found.segments[-1])


def _cut_note(disk: Disk) -> int | None:
    """The sequence behind which everything goes, when a cut was interrupted."""
    if not disk.exists(CUT_FILE):
        return None
    file = disk.open(CUT_FILE)
    record = next(later_records(file.read(file.size(), 0), 0), None)
    file.close()
    return MARK.unpack(record.payload)[0] if record else None


def zero_behind(segment: Segment) -> None:
    """Overwrite what lies behind the last good record, so that it can never be taken for one; fsynced."""
    assert segment.file is not None
    step = 1 << 20
    for at in range(segment.end, segment.capacity, step):
        segment.file.write(at, bytes(min(step, segment.capacity - at)))
    segment.file.sync()
