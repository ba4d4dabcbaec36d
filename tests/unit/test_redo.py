"""Redo: from any state of the files at or above the checkpoint to the same bytes, and never past the commit."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from replication.core.request import DATABASE_FILE, FileChange, Kind, Request, chain_hash, decode, encode
from replication.core.types import Position, State
from replication.errors import BadName, ChecksumMismatch, DiskFull, Retired, Unavailable
from replication.files import Disk
from replication.journal import Journal
from replication.page_sums import SUMS_FILE
from replication.proof import prove_copy
from replication.redo import Applier, open_node, read_copy
from replication.writer import Change
from tests.unit.engine import EPOCH, SEGMENT_BYTES, create_table, insert, opened
from tests.unit.test_store import count_items


async def written(root: Path, count: int = 20) -> list[bytes]:
    """Write a table, `count` rows and an object into a node at `root`; returns its requests."""

    def log(number: int) -> Change[None]:
        return lambda t: t.write_object("log", number * 3, b"abc")

    async with opened(root) as engine:
        await engine.store.write(create_table)
        for number in range(count):
            await engine.store.write(insert("x" * 500))
            await engine.store.write(log(number))
        return [encoded for _, encoded in engine.requests]


def opened_node(root: Path) -> Applier:
    """Open a node's files and redo."""
    return open_node(Disk(root), segment_bytes=SEGMENT_BYTES)


def names_in(root: Path) -> list[str]:
    """Return the names in a directory."""
    return sorted(path.name for path in root.iterdir())


def standby(root: Path, requests: list[bytes]) -> Applier:
    """Return a standby that has journaled and fsynced these requests and applied none."""
    applier = opened_node(root)
    for encoded in requests:
        applier.journal.append(encoded)
    applier.journal.sync()
    return applier


async def test_a_killed_master_has_everything_again(tmp_path: Path) -> None:
    """Without any checkpoint the files come from the journal alone."""
    requests = await written(tmp_path)
    (tmp_path / DATABASE_FILE).write_bytes(b"")
    applier = opened_node(tmp_path)
    applier.apply_all()
    assert applier.checksum == decode(requests[-1]).checksum
    assert prove_copy(applier, lambda: True).bad == ()
    assert read_copy(applier, count_items) == (20, len(requests))
    assert (tmp_path / "objects" / "log").read_bytes() == b"abc" * 20


async def test_both_logs_of_sqlite_are_thrown_away(tmp_path: Path) -> None:
    """A log left behind would let SQLite resurrect what no journal holds."""
    await written(tmp_path, 1)
    for name in ("scheduler.db-wal", "scheduler.db-shm", "scheduler.db-journal"):
        (tmp_path / name).write_bytes(b"left behind")
    opened_node(tmp_path).close()
    assert not [name for name in names_in(tmp_path) if name.startswith("scheduler.db-")]


async def test_a_standby_applies_up_to_the_commit_only(tmp_path: Path) -> None:
    """The tail stays out of the files until its commit is known; that commit is durable first."""
    requests = await written(tmp_path / "master", 5)
    applier = standby(tmp_path / "standby", requests)
    assert applier.apply(None, 4) == 4
    assert applier.journal.synced_commit >= 4
    assert applier.checksum == decode(requests[3]).checksum
    assert applier.position == Position(EPOCH, 4, chain_hash(requests[3]))
    applier.close()
    again = opened_node(tmp_path / "standby")
    assert (again.applied, again.journal.last.sequence) == (again.journal.recorded_commit, len(requests))
    assert again.apply(requests, len(requests)) == len(requests)


async def test_redo_again_from_the_checkpoint_changes_nothing(tmp_path: Path) -> None:
    """Redo is idempotent: repeated over files that are already newer, it ends in the same bytes."""
    requests = await written(tmp_path / "master")
    applier = standby(tmp_path / "standby", requests)
    applier.apply(None, 10)
    applier.checkpoint()
    control = (tmp_path / "standby" / "control").read_bytes()
    applier.apply_all()
    applier.close()
    wanted = (tmp_path / "standby" / DATABASE_FILE).read_bytes()
    for _ in range(2):
        (tmp_path / "standby" / "control").write_bytes(control)
        again = opened_node(tmp_path / "standby")
        assert again.applied == len(requests)
        again.close()
        assert (tmp_path / "standby" / DATABASE_FILE).read_bytes() == wanted


@pytest.mark.parametrize("remove", [True, False])
async def test_the_page_sums_are_computed_again_when_they_do_not_fit(tmp_path: Path, remove: bool) -> None:
    """An absent or torn table costs a full scan and nothing else."""
    requests = await written(tmp_path / "master", 5)
    applier = standby(tmp_path / "standby", requests)
    applier.apply(None, 6)
    applier.checkpoint()
    applier.apply(None, 8)
    applier.close()
    path = tmp_path / "standby" / SUMS_FILE
    if remove:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-3])
    again = opened_node(tmp_path / "standby")
    again.apply_all()
    assert again.checksum == decode(requests[-1]).checksum


async def test_a_page_that_differs_stops_the_standby(tmp_path: Path) -> None:
    """A request whose checksum does not come out is not applied: the file stays as it was."""
    requests = await written(tmp_path / "master", 3)
    request = decode(requests[2])
    spoilt = encode(request._replace(checksum=request.checksum ^ 1))
    applier = standby(tmp_path / "standby", [*requests[:2], spoilt])
    applier.apply(None, 2)
    before = (tmp_path / "standby" / DATABASE_FILE).read_bytes()
    with pytest.raises(ChecksumMismatch, match="has copied what differs"):
        applier.apply(None, 3)
    assert (applier.applied, (tmp_path / "standby" / DATABASE_FILE).read_bytes()) == (2, before)


async def test_a_flipped_byte_in_the_file_is_found_by_the_scan(tmp_path: Path) -> None:
    """The background proof names the page."""
    await written(tmp_path, 3)
    applier = opened_node(tmp_path)
    applier.apply_all()
    data = bytearray((tmp_path / DATABASE_FILE).read_bytes())
    data[2 * 4096 + 77] ^= 1
    applier.disk.keep(DATABASE_FILE).write(0, bytes(data))
    assert prove_copy(applier, lambda: True).bad == (3,)


@pytest.mark.parametrize("name", ["../scheduler.db", "control", "journal/1", "objects/../control", "/tmp/x"])
def test_a_request_for_another_file_is_refused(tmp_path: Path, name: str) -> None:
    """A master, or who plays one, writes the database and objects and nothing else."""
    change = FileChange(name, 1, ((0, b"x"),))
    applier = standby(tmp_path, [encode(Request(1, EPOCH, Kind.OBJECT, bytes(32), 0, 0, 0, 4096, (change,)))])
    with pytest.raises(BadName):
        applier.apply(None, 1)
    assert applier.applied == 0


def test_an_object_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    """A link planted among the objects does not lead a write elsewhere."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    change = FileChange("objects/link", 1, ((0, b"x"),))
    applier = standby(tmp_path / "node", [encode(Request(1, EPOCH, Kind.OBJECT, bytes(32), 0, 0, 0, 4096, (change,)))])
    (tmp_path / "node" / "objects" / "link").symlink_to(outside)
    with pytest.raises(OSError, match="symbolic"):
        applier.apply(None, 1)
    assert outside.read_bytes() == b"mine"


async def test_a_node_changes_roles_on_the_same_files(tmp_path: Path) -> None:
    """A standby takes office on what it applied; the old master's requests and the new ones are one chain."""
    requests = await written(tmp_path / "master", 4)
    applier = standby(tmp_path / "standby", requests)
    applier.apply(None, 3)
    applier.close()
    async with opened(tmp_path / "standby") as engine:
        assert await engine.store.read(count_items) == (4, len(requests))
        await engine.store.write(insert("new"))
        assert engine.requests[0][0] == len(requests) + 1
        later = [encoded for _, encoded in engine.requests]
    old = opened_node(tmp_path / "master")
    for encoded in later:
        old.journal.append(encoded)
    old.apply_all()
    assert old.checksum == decode(later[-1]).checksum
    assert read_copy(old, count_items)[0] == 5


async def copied(root: Path) -> tuple[Applier, int, int]:
    """A standby whose blocks are in place, newer than the pin; the pin and how many requests lie behind it."""
    async with opened(root / "master") as engine:
        await engine.store.write(create_table)
        await engine.store.checkpoint()
        pin = engine.applier.control.value.checkpoint
        for _ in range(10):
            await engine.store.write(insert("y" * 3000))
        await engine.store.checkpoint()
        await engine.store.write(insert("last"))
        fuzzy = (root / "master" / DATABASE_FILE).read_bytes()
        later = [encoded for sequence, encoded in engine.requests if sequence > pin.sequence]
    node = opened_node(root / "standby")
    node.control.update(state=State.COPYING, checkpoint=pin)
    node.journal.restart_at(pin)
    node.close()
    copying = opened_node(root / "standby")
    (root / "standby" / DATABASE_FILE).write_bytes(fuzzy)
    for encoded in later:
        copying.journal.append(encoded)
    copying.journal.sync()
    return copying, pin.sequence, len(later)


async def test_a_copy_taken_while_writing_is_redone_from_its_pin(tmp_path: Path) -> None:
    """COMPARE in small: a file newer than the pin, then redo to the end of the copy, the checksum equal."""
    copying, pin, later = await copied(tmp_path)
    assert copying.apply(None, 5) == pin
    with pytest.raises(Unavailable):
        read_copy(copying, count_items)
    assert copying.finish_copy(copying.journal.last.sequence) == pin + later
    copying.control.update(state=State.SYNCING)
    copying.checkpoint()
    copying.close()
    assert read_copy(opened_node(tmp_path / "standby"), count_items)[0] == 11


async def test_a_copy_that_cannot_be_finished_is_still_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk in the middle of redo: nobody takes the mixture for a standby's files, and it is finished later."""
    copying, pin, later = await copied(tmp_path)
    write, room = Applier._write_database, [3]

    def fills(applier: Applier, file: FileChange) -> None:
        room[0] -= 1
        if room[0] == 0:
            raise DiskFull("no space left on the disk")
        write(applier, file)

    monkeypatch.setattr(Applier, "_write_database", fills)
    with pytest.raises(DiskFull):
        copying.finish_copy(copying.journal.last.sequence)
    assert copying.copying
    with pytest.raises(Unavailable):
        read_copy(copying, count_items)
    assert copying.finish_copy(copying.journal.last.sequence) == pin + later
    assert not copying.copying
    assert read_copy(copying, count_items)[0] == 11


async def test_the_held_copy_leaves_no_files_and_cannot_write(tmp_path: Path) -> None:
    """A standby may look into its copy; nothing but the copy is there afterwards."""
    await written(tmp_path, 2)
    applier = opened_node(tmp_path)
    applier.apply_all()
    before = names_in(tmp_path)
    assert read_copy(applier, count_items)[0] == 2
    with pytest.raises(Unavailable):
        read_copy(applier, lambda c: c.execute("DELETE FROM item"))
    assert names_in(tmp_path) == before


def test_an_empty_node_has_no_copy(tmp_path: Path) -> None:
    """Before the first request there is nothing to look at, and the answer says whom to ask."""
    with pytest.raises(Unavailable, match="ask the master"):
        read_copy(opened_node(tmp_path), count_items)


async def test_a_journal_dropped_by_a_checkpoint_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a checkpoint on the standby old segments go, and the node opens without them, its epochs known."""
    monkeypatch.setattr("replication.redo.KEEP_BYTES", 0)
    requests = await written(tmp_path / "master", 40)
    applier = standby(tmp_path / "standby", requests)
    applier.apply_all()
    applier.checkpoint()
    assert applier.journal.first_sequence > 1
    applier.close()
    shutil.copytree(tmp_path / "standby", tmp_path / "copy")
    again = opened_node(tmp_path / "copy")
    assert again.applied == len(requests)
    assert [start.sequence for start in again.control.value.epochs] == [1]
    assert isinstance(again.journal, Journal)


async def test_a_request_applied_in_part_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk between the sums and the file: a proof would call the pages damaged and begin a copy without room."""
    requests = await written(tmp_path / "master")
    applier = standby(tmp_path / "standby", requests)
    write = Applier._write_database

    def full(applier: Applier, file: FileChange) -> None:
        raise DiskFull("no space left on the disk")

    applier.apply(None, 5)
    monkeypatch.setattr(Applier, "_write_database", full)
    with pytest.raises(DiskFull):
        applier.apply(None, len(requests))
    with pytest.raises(Retired):
        prove_copy(applier, lambda: True)
    monkeypatch.setattr(Applier, "_write_database", write)
    assert applier.apply(None, len(requests)) == len(requests)
    assert prove_copy(applier, lambda: True).bad == ()
