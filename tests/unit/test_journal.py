"""The journal on disk: a torn tail is cut, damage is named and nothing of it is cut, and nothing vanishes half.

Protocol: docs/protocol.md, section 11.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from replication.core.request import chain_hash, position_of
from replication.core.types import ORIGIN, Epoch, Position
from replication.errors import Corrupt, DiskFull, Forgotten, JournalFailed, NotNext
from replication.files import Disk, File
from replication.journal import Journal
from replication.segments import HEADER_BYTES, RECORD, pack_header, pack_record
from tests.unit.engine import EPOCH, chain, control_request

SEGMENT_BYTES = 4096
FIRST = "journal/00000000000000000001.journal"
GOLDEN = Path(__file__).parent / "golden" / "segment_v1.hex"


def open_journal(root: Path, **options: object) -> Journal:
    """Open a journal of small segments in `root`."""
    return Journal.open(Disk(root), segment_bytes=SEGMENT_BYTES, **options)  # type: ignore[arg-type]  # passed on


def fill(journal: Journal, requests: list[bytes], *, sync_each: bool = True) -> None:
    """Append requests, fsyncing after each or not at all."""
    for encoded in requests:
        journal.append(encoded)
        if sync_each:
            journal.sync()


def overwrite(path: Path, offset: int, data: bytes) -> None:
    """Change bytes of a file in place."""
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def test_what_was_appended_is_read_again(tmp_path: Path) -> None:
    """Requests, positions and the end survive a reopening, over several segments."""
    requests = chain(40)
    journal = open_journal(tmp_path)
    fill(journal, requests)
    journal.close()
    again = open_journal(tmp_path)
    assert list(again.read(1)) == requests
    assert list(again.read(33)) == requests[32:]
    assert again.last == position_of(requests[-1])
    assert again.synced == 40
    assert again.position(17) == position_of(requests[16])
    assert again.position(0) == ORIGIN
    assert again.position(41) is None
    assert len(os.listdir(tmp_path / "journal")) == 3


def test_segment_bytes_are_the_golden_ones() -> None:
    """The file format is for ever: header, record header, payload."""
    header = pack_header(Position(Epoch(3, "ab" * 16), 9, bytes(range(32))), 7)
    record = pack_record(1, 8, b"payload") + b"payload"
    assert (header + record).hex() == GOLDEN.read_text().strip()


def test_a_request_that_does_not_follow_is_refused(tmp_path: Path) -> None:
    """One total order: a gap and another chain are refused and leave nothing."""
    requests = chain(3)
    journal = open_journal(tmp_path)
    journal.append(requests[0])
    with pytest.raises(NotNext):
        journal.append(requests[2])
    other = control_request(Position(EPOCH, 1, bytes(32)))
    with pytest.raises(NotNext):
        journal.append(other)
    assert journal.last.sequence == 1


def test_a_torn_tail_is_cut_and_the_place_used_again(tmp_path: Path) -> None:
    """Requests behind the last fsync that are torn were promised to nobody: the journal goes on before them."""
    requests = chain(5)
    journal = open_journal(tmp_path)
    fill(journal, requests[:2])
    fill(journal, requests[2:], sync_each=False)
    journal.close()
    record = RECORD.size + len(requests[0])
    overwrite(tmp_path / FIRST, HEADER_BYTES + 2 * record + 50, b"\xff\xff")
    again = open_journal(tmp_path)
    assert again.last.sequence == 2
    fill(again, requests[2:4])
    again.close()
    assert list(open_journal(tmp_path).read(1)) == requests[:4]


def test_a_bad_record_that_had_been_fsynced_is_corruption(tmp_path: Path) -> None:
    """Invariant 17: a flipped byte before fsynced records names segment and offset, and nothing is cut."""
    requests = chain(5)
    journal = open_journal(tmp_path)
    fill(journal, requests)
    journal.close()
    offset = HEADER_BYTES + 2 * (RECORD.size + len(requests[0]))
    overwrite(tmp_path / FIRST, offset + 60, b"\xff")
    before = (tmp_path / FIRST).read_bytes()
    with pytest.raises(Corrupt, match="Nothing was cut") as caught:
        open_journal(tmp_path)
    assert (caught.value.file, caught.value.offset, caught.value.sequence) == (FIRST, offset, 3)
    assert (tmp_path / FIRST).read_bytes() == before


def test_a_whole_record_of_another_chain_is_corruption(tmp_path: Path) -> None:
    """A request that does not follow the one before is not believed, however valid its CRC is."""
    requests = chain(4)
    journal = open_journal(tmp_path)
    fill(journal, requests)
    journal.close()
    other = control_request(Position(EPOCH, 1, bytes(32)), note=b"\0" * 100)
    assert len(other) == len(requests[1])
    overwrite(tmp_path / FIRST, HEADER_BYTES + RECORD.size + len(other), pack_record(1, 1, other) + other)
    with pytest.raises(Corrupt, match="request 2"):
        open_journal(tmp_path)


@pytest.mark.parametrize("damage", ["length", "segment gone", "segment header"])
def test_other_damage_is_corruption_too(tmp_path: Path, damage: str) -> None:
    """A wrong length, a missing segment in the middle and a spoilt header are named, never skipped."""
    journal = open_journal(tmp_path)
    fill(journal, chain(60))
    journal.close()
    second = sorted((tmp_path / "journal").glob("*.journal"))[1]
    if damage == "length":
        overwrite(tmp_path / FIRST, HEADER_BYTES + 4, b"\x7f")
    elif damage == "segment gone":
        second.unlink()
    else:
        overwrite(second, 20, b"\xff\xff\xff")
    with pytest.raises(Corrupt):
        open_journal(tmp_path)


def test_an_end_below_the_checkpoint_is_corruption(tmp_path: Path) -> None:
    """The control file proves how far the journal reached: less is damage, even with nothing behind it."""
    journal = open_journal(tmp_path)
    fill(journal, chain(3))
    journal.close()
    overwrite(tmp_path / FIRST, HEADER_BYTES, bytes(SEGMENT_BYTES - HEADER_BYTES))
    with pytest.raises(Corrupt):
        open_journal(tmp_path, checkpoint=Position(EPOCH, 3, b""))


def test_a_commit_mark_moves_the_commit_and_not_the_sequence(tmp_path: Path) -> None:
    """An idle node can record its commit; redo finds it again."""
    journal = open_journal(tmp_path)
    fill(journal, chain(3))
    assert journal.recorded_commit == 0
    journal.mark_commit(2)
    assert journal.synced_commit == 0
    journal.sync()
    assert (journal.synced_commit, journal.last.sequence) == (2, 3)
    journal.close()
    assert open_journal(tmp_path).recorded_commit == 2


def test_a_cut_is_final_and_the_chain_goes_on(tmp_path: Path) -> None:
    """After a cut in an earlier segment the journal takes other requests in the place of the old ones."""
    requests = chain(60)
    journal = open_journal(tmp_path)
    fill(journal, requests)
    journal.mark_commit(20)
    journal.cut(25)
    assert (journal.last, journal.synced, journal.recorded_commit) == (position_of(requests[24]), 25, 20)
    other = control_request(journal.last, note=b"other")
    journal.append(other)
    journal.sync()
    journal.close()
    again = open_journal(tmp_path)
    assert list(again.read(1)) == [*requests[:25], other]
    assert again.recorded_commit == 20


def test_an_interrupted_cut_is_finished_at_the_next_start(tmp_path: Path) -> None:
    """The note of a cut outlives the process: what it had not removed yet goes at the next opening."""
    requests = chain(30)

    class Stopping(Disk):
        def unlink(self, name: str) -> bool:
            if name.endswith(".journal"):
                raise KeyboardInterrupt
            return super().unlink(name)

    journal = Journal.open(Stopping(tmp_path), segment_bytes=SEGMENT_BYTES)
    fill(journal, requests)
    with pytest.raises(KeyboardInterrupt):
        journal.cut(4)
    again = open_journal(tmp_path)
    assert again.last == position_of(requests[3])
    assert not (tmp_path / "journal" / "cut").exists()


def test_forgetting_drops_whole_segments_only(tmp_path: Path) -> None:
    """Old requests go, the newest stay readable, and asking for an old one says what is needed."""
    requests = chain(60)
    journal = open_journal(tmp_path)
    fill(journal, requests)
    journal.forget(30)
    assert 1 < journal.first_sequence <= 30
    assert list(journal.read(journal.first_sequence)) == requests[journal.first_sequence - 1 :]
    with pytest.raises(Forgotten):
        next(journal.read(1))
    journal.close()
    again = open_journal(tmp_path)
    assert again.position(again.first_sequence - 1) == position_of(requests[again.first_sequence - 2])


def test_epochs_are_listed_with_their_first_request(tmp_path: Path) -> None:
    """HELLO needs to know where each epoch began."""
    journal = open_journal(tmp_path)
    fill(journal, chain(3))
    second = Epoch(2, EPOCH.node)
    later = control_request(journal.last, epoch=second)
    journal.append(later)
    assert [(start.epoch, start.sequence) for start in journal.epochs()] == [(EPOCH, 1), (second, 4)]
    assert journal.epochs()[1].hash == chain_hash(later)
    journal.sync()
    journal.close()
    again = open_journal(tmp_path)
    assert again.epochs() == journal.epochs()
    again.cut(3)
    assert [start.sequence for start in again.epochs()] == [1]


def test_a_restarted_journal_begins_behind_the_pin(tmp_path: Path) -> None:
    """A copied node's journal starts at the pinned position and takes only what follows it."""
    requests = chain(20)
    journal = open_journal(tmp_path)
    fill(journal, requests[:2])
    journal.restart_at(position_of(requests[9]))
    fill(journal, requests[10:])
    journal.close()
    again = open_journal(tmp_path, checkpoint=position_of(requests[9]))
    assert (again.first_sequence, again.last.sequence) == (11, 20)


def test_a_large_request_gets_a_segment_of_its_own(tmp_path: Path) -> None:
    """A request larger than a segment is kept whole."""
    large = chain(1, note_bytes=3 * SEGMENT_BYTES)
    journal = open_journal(tmp_path)
    fill(journal, large)
    journal.close()
    assert list(open_journal(tmp_path).read(1)) == large


def test_a_full_disk_is_answered_before_anything_is_written(tmp_path: Path) -> None:
    """Invariant 17: space is reserved first; the journal stays usable and takes requests when there is room again."""

    class Full(Disk):
        full = False

        def free_bytes(self) -> int:
            return 0 if self.full else super().free_bytes()

    disk = Full(tmp_path)
    journal = Journal.open(disk, segment_bytes=SEGMENT_BYTES)
    disk.full = True
    requests = chain(40)
    fill(journal, requests[:5])
    with pytest.raises(DiskFull, match="free some"):
        journal.reserve(SEGMENT_BYTES // 2 + 2000)
    disk.full = False
    journal.reserve(SEGMENT_BYTES // 2 + 2000)
    fill(journal, requests[5:])
    assert journal.synced == 40


def test_a_failed_fsync_is_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed fsync nobody knows what is on the disk: no later call may claim durability."""
    journal = open_journal(tmp_path)
    requests = chain(2)
    journal.append(requests[0])

    def fail(self: File) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(File, "sync", fail)
        with pytest.raises(JournalFailed):
            journal.sync()
    with pytest.raises(JournalFailed):
        journal.sync()
    with pytest.raises(JournalFailed):
        journal.append(requests[1])
    assert journal.synced == 0


def test_backlog_bytes_are_those_of_the_requests_behind(tmp_path: Path) -> None:
    """The size of the backlog counts requests, not segments."""
    requests = chain(40)
    journal = open_journal(tmp_path)
    fill(journal, requests)
    assert journal.bytes_behind(0) == sum(map(len, requests))
    assert journal.bytes_behind(37) == sum(map(len, requests[37:]))
    assert journal.bytes_behind(40) == 0
