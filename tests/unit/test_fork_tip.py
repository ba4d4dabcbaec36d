"""What a fork holds is read from the state at its last request: of a copy, or of the node's own files (BEY-3)."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from replication.files import Disk
from replication.fork import FORKS, Fork, keep_suffix, list_forks
from replication.fork_tip import CONTENTS, TIP_FILE, describe_fork
from replication.redo import Applier, open_node
from tests.unit.engine import SEGMENT_BYTES, create_table, insert, opened


class ItemReader:
    """Lists the items of the engine's table, and one object."""

    def __init__(self) -> None:
        self.calls = 0

    def describe(
        self, fork: str, after: int, connection: sqlite3.Connection, read_object: Callable[[str, int], bytes]
    ) -> Iterator[tuple[str, bytes]]:
        """The object's first bytes, then the items."""
        self.calls += 1
        yield "picture", read_object("picture", 6)
        items = [row[0] for row in connection.execute("SELECT value FROM item ORDER BY id")]
        yield CONTENTS, ",".join(items).encode()

    def unknown(self, why: str) -> bytes:
        """Why not."""
        return f"unknown: {why}".encode()


async def journaled(root: Path) -> int:
    """Requests that were committed, and a tail of an item and half an object that never was; returns the fork point."""
    async with opened(root) as engine:
        for change in (create_table, insert("kept"), lambda t: t.write_object("picture", 0, b"abc")):
            _, after = await engine.store.write(change)
    async with opened(root, alone=False) as engine:
        tail = [
            insert("cut"),
            lambda t: t.write_object("picture", 3, b"defgh"),
            lambda t: t.write_object("new", 0, b"x"),
        ]
        writes = [asyncio.ensure_future(engine.store.write(change)) for change in tail]
        await asyncio.wait(writes, timeout=0.2)
        assert not any(write.done() for write in writes)
        for write in writes:
            write.cancel()
    return after


@contextlib.contextmanager
def returned(root: Path, after: int, applied: bool = False) -> Iterator[tuple[Disk, Applier, Fork]]:
    """The node after its restart, with the fork kept; `applied`: it had applied its tail."""
    disk = Disk(root)
    applier = open_node(disk, segment_bytes=SEGMENT_BYTES)
    if applied:
        applier.apply_all()
    fork = keep_suffix(disk, applier.journal, after, "A tail.", 1)
    assert fork is not None
    assert applier.applied == (fork.last if applied else after)
    yield disk, applier, fork
    applier.close()
    disk.close()


def held(root: Path, fork: Fork, name: str) -> bytes:
    """A file of the fork's folder."""
    return (root / FORKS / fork.name / name).read_bytes()


@pytest.mark.parametrize("applied", [False, True])
async def test_both_ways_on_show_the_state_at_the_last_request(tmp_path: Path, applied: bool) -> None:
    """CUT reads a copy with the tail redone, COMPARE the node's own files; the node's files are as before."""
    after = await journaled(tmp_path)
    before = (tmp_path / "scheduler.db").read_bytes()
    with returned(tmp_path, after, applied) as (disk, applier, fork):
        whole = (tmp_path / "scheduler.db").read_bytes()
        assert describe_fork(disk, applier, fork, after, ItemReader()) == ""
        assert held(tmp_path, fork, CONTENTS) == b"kept,cut"
        assert held(tmp_path, fork, "picture") == b"abcdef", "the node has abc of it, the tail the rest"
        assert not (tmp_path / FORKS / fork.name / TIP_FILE).exists()
        assert (tmp_path / "scheduler.db").read_bytes() == whole
        assert (whole == before) is not applied


async def test_it_is_asked_once_however_often_the_node_returns(tmp_path: Path) -> None:
    """A crash between the list and the cut brings the node back to the same fork: nothing is done again."""
    after = await journaled(tmp_path)
    reader = ItemReader()
    for _ in range(2):
        with returned(tmp_path, after) as (disk, applier, fork):
            (tmp_path / FORKS / fork.name / TIP_FILE).write_bytes(b"left by a crash")
            assert describe_fork(disk, applier, fork, after, reader) == ""
            assert not (tmp_path / FORKS / fork.name / TIP_FILE).exists()
    assert reader.calls == 1


@pytest.mark.parametrize(
    ("bound", "value", "why"),
    [("RESERVE_BYTES", 1 << 60, "the disk has no room"), ("TIME_S", -1.0, "took longer")],
)
async def test_beyond_its_bounds_the_contents_are_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: float, why: str
) -> None:
    """Neither time nor disk is without end: the reason is kept where the list would be, and the fork is whole."""
    after = await journaled(tmp_path)
    monkeypatch.setattr(f"replication.fork_tip.{bound}", value)
    with returned(tmp_path, after) as (disk, applier, fork):
        assert why in describe_fork(disk, applier, fork, after, ItemReader())
        assert held(tmp_path, fork, CONTENTS).startswith(b"unknown: ")
        assert [kept.name for kept in list_forks(disk)] == [fork.name]


async def test_outputs_that_take_too_long_are_left_out_and_the_list_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fork of a week is not searched for hours: rejoining is not held up, and no part passes for a whole."""
    after = await journaled(tmp_path)
    monkeypatch.setattr("replication.fork_tip.OUTPUTS_S", -1.0)
    with returned(tmp_path, after) as (disk, applier, fork):
        assert describe_fork(disk, applier, fork, after, ItemReader()) == ""
        assert held(tmp_path, fork, CONTENTS) == b"kept,cut"
        assert held(tmp_path, fork, "picture") == b""
