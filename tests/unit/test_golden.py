"""Bytes that earlier builds sent and left on disks are read for ever, and the same are written again.

`golden/` has every frame of each protocol, a slot of the control file and a fork's folder. The frames of protocol 1
were encoded by a build that knew no other. Only the file of the newest protocol is ever changed: a field that is
appended makes its frames longer.

Protocol: docs/protocol.md, sections 1, 3, 4 and 11.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from replication.control import SLOT_BYTES, Control, ControlFile, EpochStart
from replication.core import codec
from replication.core.messages import PROTOCOL_MAX, Requests
from replication.core.slots import Cap, Slot
from replication.core.tickets import Given, Ticket
from replication.core.types import Epoch, Position, State
from replication.files import Disk
from replication.fork import BlockKeeper, keep_suffix, list_forks, read_blocks, read_requests
from replication.journal import Journal
from tests.unit.engine import chain

GOLDEN = Path(__file__).parent / "golden"
NODE, PEER = "a1" * 16, "b2" * 16
CONTROL = Control(
    state=State.IN_SYNC,
    checkpoint=Position(Epoch(7, NODE), 1200, bytes(range(32))),
    epochs=(EpochStart(Epoch(1, PEER), 1, bytes(32)), EpochStart(Epoch(7, NODE), 1100, bytes(range(32)))),
    peers={PEER: "127.0.0.1:8009"},
    memory=b"what the role machine remembers",
    slots=(Slot(PEER, 1199, 1_700_000_000_000_000, 1_700_000_000_000_001, 2.5, Cap.BYTES),),
    tickets_given={PEER: Given(Ticket(5, b"12345678"), Ticket(4, b"87654321"), True, (Ticket(3, b"abcdefgh"),), 6)},
    tickets_held={PEER: Ticket(2, b"hgfedcba")},
)


def entries(protocol: int) -> list[dict[str, Any]]:
    """The frames of a protocol: name, bytes in hex, and the fields that they mean."""
    return list(json.loads((GOLDEN / f"frames_protocol_{protocol}.json").read_text()))


def fields_of(message: object) -> dict[str, Any]:
    """What was decoded, as the golden files say it."""
    if isinstance(message, Requests):
        texts = [request.decode() for request in message.requests]
        return {"commit": message.commit, "requests": texts, "more": message.more}
    names = type(message).__struct_fields__  # type: ignore[attr-defined]  # every frame is a struct
    return {name: json.loads(msgspec.json.encode(getattr(message, name))) for name in names}


@pytest.mark.parametrize("protocol", range(1, PROTOCOL_MAX + 1))
def test_every_frame_is_read_as_it_was_meant(protocol: int) -> None:
    """Also those of a former protocol: each field that it had has the value that was sent."""
    for entry in entries(protocol):
        found = fields_of(codec.decode(bytes.fromhex(entry["hex"])))
        assert {name: found[name] for name in entry["fields"]} == entry["fields"], entry["frame"]


def test_every_frame_of_this_protocol_is_written_as_before() -> None:
    """Decoded and encoded again, a frame is the same bytes: no field moved, none was lost."""
    for entry in entries(PROTOCOL_MAX):
        message = codec.decode(bytes.fromhex(entry["hex"]))
        if isinstance(message, Requests) and not message.more:
            (again,) = codec.encode_requests(message.commit, list(message.requests))
        elif isinstance(message, Requests):
            continue  # parts come of requests above 4 MiB only
        else:
            again = codec.encode(message)
        assert again.hex() == entry["hex"], entry["frame"]


def test_the_golden_files_have_every_frame_with_every_field() -> None:
    """A new frame or field has to be added there too, with a value that is not its default."""
    kinds = {kind.__name__: kind for kind in codec.TYPES.values()}
    found = {entry["frame"]: entry["fields"] for entry in entries(PROTOCOL_MAX)}
    assert set(found) == {*kinds, "Requests"}
    for name, kind in kinds.items():
        assert list(found[name]) == list(kind.__struct_fields__)
        for field in msgspec.structs.fields(kind):
            assert found[name][field.name] != msgspec.to_builtins(field.default, enc_hook=str), (name, field.name)


def test_the_control_file_is_the_golden_one(tmp_path: Path) -> None:
    """A slot of an earlier build is the same node again, and is written with the same bytes."""
    golden = bytes.fromhex((GOLDEN / "control_slot_v1.hex").read_text())
    (tmp_path / "control").write_bytes(bytes(SLOT_BYTES) + golden)
    control = ControlFile(Disk(tmp_path))
    assert control.value == CONTROL
    control.close()
    (tmp_path / "again").mkdir()
    control = ControlFile(Disk(tmp_path / "again"))
    control.update(**{name: getattr(CONTROL, name) for name in CONTROL.__struct_fields__})
    control.close()
    assert (tmp_path / "again" / "control").read_bytes()[SLOT_BYTES:].rstrip(b"\0") == golden


def test_the_folder_of_a_fork_is_the_golden_one(tmp_path: Path) -> None:
    """`requests`, `blocks` and `fork.json` are written as ever, and what an earlier build kept is read."""
    golden = json.loads((GOLDEN / "fork_v1.json").read_text())
    write_fork(tmp_path / "new")
    folder = next((tmp_path / "new" / "forks").iterdir())
    assert folder.name == golden["name"]
    assert {name: (folder / name).read_bytes().hex() for name in golden["files"]} == golden["files"]
    kept = tmp_path / "old" / "forks" / golden["name"]
    kept.mkdir(parents=True)
    for name, data in golden["files"].items():
        (kept / name).write_bytes(bytes.fromhex(data))
    disk = Disk(tmp_path / "old")
    (fork,) = list_forks(disk)
    assert (fork.first, fork.last, fork.why, fork.kept_at_us) == (2, 3, "Went another way.", 1_700_000_000_000_000)
    assert [line["sequence"] for line in read_requests(disk, fork.name)] == [2, 3]
    assert list(read_blocks(disk, fork.name)) == [("scheduler.db", 4, b"its own"), ("objects/output-1", 0, b"block")]
    disk.close()


def write_fork(root: Path) -> None:
    """A fork of two requests and two blocks."""
    root.mkdir()
    disk = Disk(root)
    journal = Journal.open(disk)
    for encoded in chain(3, note_bytes=4):
        journal.append(encoded)
    journal.sync()
    fork = keep_suffix(disk, journal, 1, "Went another way.", 1_700_000_000_000_000)
    assert fork is not None
    keeper = BlockKeeper(disk, fork)
    keeper.keep("scheduler.db", 4, b"its own")
    keeper.keep("objects/output-1", 0, b"block")
    keeper.sync()
    keeper.close()
    journal.close()
    disk.close()
