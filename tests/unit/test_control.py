"""The control file: two slots, so that a torn save leaves the state before; and epochs that never fall.

Protocol: docs/protocol.md, section 11.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from replication.control import CONTROL_FILE, SLOT_BYTES, Control, ControlFile, EpochStart, merge_epochs
from replication.core.types import Epoch, Position, State
from replication.errors import Corrupt
from replication.files import Disk

NODE = "0" * 31 + "1"


def slot_of(path: Path) -> int:
    """Return the number of the slot that was written last."""
    data = path.read_bytes()
    counters = [int.from_bytes(data[at + 8 : at + 16], "big") for at in (0, SLOT_BYTES)]
    return counters.index(max(counters))


def test_what_was_saved_is_found_again(tmp_path: Path) -> None:
    """Every field survives a restart, after an odd and an even number of saves."""
    for count in (1, 2, 3):
        control = ControlFile(Disk(tmp_path))
        for _ in range(count):
            control.update(
                state=State.IN_SYNC,
                checkpoint=Position(Epoch(2, NODE), count, bytes(32)),
                memory=b"what the role machine remembers",
                peers={NODE: "127.0.0.1:7000"},
            )
        saved = control.value
        control.close()
        assert ControlFile(Disk(tmp_path)).value == saved
        assert saved.checkpoint.sequence == count


def test_a_torn_save_leaves_the_state_before(tmp_path: Path) -> None:
    """Whatever bytes of the newest slot are spoilt, the other one counts."""
    control = ControlFile(Disk(tmp_path))
    control.update(state=State.MASTER)
    control.update(state=State.DEMOTED)
    control.close()
    at = slot_of(tmp_path / "control") * SLOT_BYTES
    with open(tmp_path / "control", "r+b") as file:
        file.seek(at + 30)
        file.write(b"\xff")
    assert ControlFile(Disk(tmp_path)).value.state == State.MASTER


def test_two_spoilt_slots_are_not_taken_for_a_new_node(tmp_path: Path) -> None:
    """A node must not guess who it is: it says that the file is damaged."""
    control = ControlFile(Disk(tmp_path))
    control.update(state=State.MASTER)
    control.close()
    with open(tmp_path / "control", "r+b") as file:
        for at in (0, SLOT_BYTES):
            file.seek(at)
            file.write(bytes(8))
    with pytest.raises(Corrupt, match="neither of its two copies"):
        ControlFile(Disk(tmp_path))


def test_a_file_torn_at_its_birth_is_a_new_node(tmp_path: Path) -> None:
    """A power loss during the very first save has lost nothing."""
    (tmp_path / "control").write_bytes(bytes(100))
    assert ControlFile(Disk(tmp_path)).value == Control()


def test_fields_of_a_newer_version_are_skipped(tmp_path: Path) -> None:
    """Fields are only appended, so an older program reads a newer file."""

    class Newer(Control, frozen=True, omit_defaults=True):
        later: int = 0

    encoded = msgspec.msgpack.encode(Newer(state=State.ALONE, later=3))
    assert msgspec.msgpack.decode(encoded, type=Control).state == State.ALONE


def test_history_of_epochs_outlives_the_journal_and_loses_what_was_cut() -> None:
    """The journal wins from its first entry on; what it forgot stays remembered."""
    starts = [EpochStart(Epoch(number, NODE), number * 10, bytes([number]) * 32) for number in (1, 2, 3, 4)]
    assert merge_epochs((starts[0], starts[1]), [starts[2]]) == tuple(starts[:3])
    other = EpochStart(Epoch(9, NODE), 25, bytes(32))
    assert merge_epochs(tuple(starts), [starts[1], other]) == (starts[0], starts[1], other)
    assert merge_epochs(tuple(starts), []) == tuple(starts)


def test_a_save_needs_no_room_on_the_disk(tmp_path: Path) -> None:
    """Both slots are allocated at the first start, so that a full disk never keeps a role from being persisted."""
    disk = Disk(tmp_path)
    control = ControlFile(disk)
    path = tmp_path / CONTROL_FILE
    before = path.stat().st_blocks
    assert before * 512 >= 2 * SLOT_BYTES
    control.update(peers={"a" * 32: "x" * 100_000})
    control.update(peers={"a" * 32: "y" * 100_000})
    assert path.stat().st_blocks == before
    assert ControlFile(Disk(tmp_path)).value.peers == {"a" * 32: "y" * 100_000}
