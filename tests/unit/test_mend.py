"""A damaged journal is made whole from the peer's, byte for byte; what does not fit changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replication.control import ControlFile
from replication.core.request import position_of
from replication.core.types import Epoch, Position
from replication.errors import Corrupt
from replication.files import Disk
from replication.journal import Journal
from replication.mend import Gap, Unmendable, check, find_gap, keep_name, mend
from tests.unit.engine import chain, control_request

SEGMENT_BYTES = 4096
REQUESTS = chain(60)


def written(root: Path, count: int = 60) -> list[Path]:
    """A journal of small segments, every request fsynced; its segment files."""
    disk = Disk(root)
    ControlFile(disk).close()
    journal = Journal.open(disk, segment_bytes=SEGMENT_BYTES)
    for number, encoded in enumerate(REQUESTS[:count]):
        journal.append(encoded)
        if number % 7 == 3:
            journal.mark_commit(number)
        journal.sync()
    journal.close()
    disk.close()
    return sorted((root / "journal").glob("*.journal"))


def spoil(path: Path, at: int, length: int = 1) -> None:
    """Change bytes in place."""
    data = bytearray(path.read_bytes())
    for offset in range(at, at + length):
        data[offset] ^= 0x55
    path.write_bytes(bytes(data))


def mended(root: Path) -> int:
    """Mend until nothing is found; how often that was."""
    disk = Disk(root)
    times = 0
    while (gap := find_gap(disk)) is not None:
        mend(disk, gap, REQUESTS[gap.first - 1 : gap.last], 60, keep_name(disk, gap.segment, times))
        times += 1
        assert times < 9
    disk.close()
    return times


def read_all(root: Path) -> tuple[list[bytes], int]:
    """Every request of the journal, and the commit sequence that it records."""
    journal = Journal.open(Disk(root), segment_bytes=SEGMENT_BYTES)
    try:
        return list(journal.read(1)), journal.recorded_commit
    finally:
        journal.close()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_damage_below_the_last_segment_is_mended(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Wherever bytes are spoilt in a segment that is not the last: afterwards the journal is what it was."""
    root = tmp_path_factory.mktemp("mend")
    segments = written(root)
    path = data.draw(st.sampled_from(segments[:-1]), "segment")
    used = len(path.read_bytes().rstrip(b"\0"))
    at = data.draw(st.integers(0, used - 1), "at")
    length = data.draw(st.integers(1, min(900, used - at)), "length")
    damaged = path.read_bytes()
    spoil(path, at, length)
    try:
        found, _ = read_all(root)
        assert found == REQUESTS, "the damage hit nothing that is read"
        return
    except Corrupt:
        pass
    if path == segments[0] and at < 128:
        return  # the first segment's header: nothing says where the journal began
    assert mended(root) >= 1
    assert read_all(root) == (REQUESTS, 60)
    kept = list(root.glob("forks/damaged-*/*"))
    assert kept
    assert any(len(file.read_bytes()) == len(damaged) for file in kept)


def test_a_damaged_end_takes_requests_of_its_own_epoch_only(tmp_path: Path) -> None:
    """Behind the last good request nothing vouches: the peer's requests of another epoch are refused."""
    before = position_of(REQUESTS[9])
    gap = Gap("journal/x", before, 12, None)
    check(gap, REQUESTS[10:12])
    other = control_request(before, epoch=Epoch(9, "b" * 32))
    with pytest.raises(Unmendable, match="another way"):
        check(Gap("journal/x", before, 11, None), [other])


def test_what_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    """Too few requests, or those of another history: the damaged segment stays as it is."""
    segments = written(tmp_path)
    spoil(segments[1], 700)
    disk = Disk(tmp_path)
    gap = find_gap(disk)
    assert gap is not None
    before = segments[1].read_bytes()
    forged = control_request(gap.before, note=b"forged")
    for requests in ([], [forged], [b"x"], REQUESTS[gap.first - 2 : gap.last]):
        with pytest.raises(Unmendable):
            mend(disk, gap, requests, 60, keep_name(disk, gap.segment, 1))
    assert segments[1].read_bytes() == before
    assert not list(tmp_path.glob("forks/damaged-*/*"))


def test_a_whole_journal_has_no_gap(tmp_path: Path) -> None:
    """Also with a torn tail that never was promised."""
    segments = written(tmp_path)
    disk = Disk(tmp_path)
    assert find_gap(disk) is None
    with open(segments[-1], "r+b") as file:
        file.seek(len(segments[-1].read_bytes().rstrip(b"\0")))
        file.write(b"torn")
    assert find_gap(disk) is None
    assert isinstance(position_of(REQUESTS[0]), Position)
