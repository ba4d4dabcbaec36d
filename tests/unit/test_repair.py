"""Setting a damaged copy aside: nothing is deleted, and no promise about epochs is forgotten with it."""

from __future__ import annotations

from pathlib import Path

from replication.control import ControlFile
from replication.core.memory import Memory, decode
from replication.core.types import State
from replication.files import Disk
from server.integrity.repair import set_aside
from tests.unit.role_world import A, B, epoch, place


def remembered(data: Path) -> Memory:
    """What the role machine would start with."""
    disk = Disk(data)
    control = ControlFile(disk)
    found = decode(control.value.memory)
    assert control.value.state is found.state
    control.close()
    disk.close()
    return found


def test_epochs_and_a_token_outlive_a_damaged_copy(tmp_path: Path) -> None:
    """Invariant 9: what was seen and granted, and an unconfirmed hand-off, stay known; being counted on does not."""
    before = Memory(
        state=State.IN_SYNC, seen=epoch(7), granted=epoch(8), office=epoch(5, B), enlisted=True, standby=A,
        token=epoch(6, A), token_last=place(5, 9, B), taken=epoch(5, B),
    )  # fmt: skip
    disk = Disk(tmp_path)
    control = ControlFile(disk)
    control.update(memory=before.encode(), state=before.state)
    control.close()
    disk.close()
    kept = set_aside(tmp_path)
    after = remembered(tmp_path)
    assert (after.state, after.enlisted) == (State.INIT, False)
    assert (after.seen, after.granted, after.office) == (before.seen, before.granted, before.office)
    assert (after.token, after.token_last, after.taken) == (before.token, before.token_last, before.taken)
    assert remembered(kept) == before


def test_a_control_file_that_cannot_be_read_is_set_aside_too(tmp_path: Path) -> None:
    """Asked for by a person: then there is nothing to remember."""
    (tmp_path / "control").write_bytes(b"x" * 600_000)
    kept = set_aside(tmp_path)
    assert remembered(tmp_path) == Memory()
    assert (kept / "control").stat().st_size == 600_000
