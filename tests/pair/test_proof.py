"""A node reads its files beside everything else, finds what was damaged, and heals from its master (JS7-10, BEY-11)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from replication.copy_target import CopyTarget
from replication.core.request import DATABASE_FILE
from replication.core.types import State
from replication.errors import DiskFull, Unavailable
from replication.store import Store
from tests.pair.pair import A, B, Pair

PAGE = 4096


async def filled(pair: Pair, lines: int = 60) -> None:
    """A pair with a database of some dozens of pages in both files."""
    await pair.found()
    for number in range(lines):
        await pair.books[A].write(f"line {number} " + "x" * 2000)
    office = pair.nodes[A].office
    assert office is not None
    assert office.store is not None
    assert await office.store.checkpoint()
    await pair.settle()


def spoil(pair: Pair, name: str, page: int) -> None:
    """One byte of a page changes on the disk, behind the node's back."""
    with open(pair.root / name[0] / DATABASE_FILE, "r+b") as file:
        file.seek((page - 1) * PAGE + 99)
        byte = file.read(1)[0]
        file.seek((page - 1) * PAGE + 99)
        file.write(bytes([byte ^ 1]))


async def test_both_nodes_are_proven_at_one_position_under_writes(tmp_path: Path) -> None:
    """While lines are written both read all their pages; the standby's checksum is the master's at that request."""
    pair = Pair(tmp_path)
    await filled(pair)
    going = True

    async def write() -> None:
        number = 0
        while going:
            number += 1
            await pair.books[A].write(f"meanwhile {number} " + "y" * 3000)

    load = asyncio.create_task(write())
    for _ in range(3):
        master, standby = await pair.nodes[A].prover.prove(), await pair.nodes[B].prover.prove()
        assert master.is_whole, master.text
        assert standby.is_whole, standby.text
        assert standby.soundness == "ok"
        assert await pair.nodes[A].prover.checksum_at(standby.sequence) == standby.checksum
    going = False
    await load
    assert (pair.nodes[A].status().proof or standby).in_office
    await pair.close()


async def test_a_damaged_page_of_the_standby_is_found_kept_and_healed(tmp_path: Path) -> None:
    """The scan names the page, COMPARE fetches it, the damaged version is kept, and nothing else changed."""
    pair = Pair(tmp_path)
    await filled(pair)
    before = (tmp_path / "b" / DATABASE_FILE).read_bytes()
    spoil(pair, B, 7)
    found = await pair.nodes[B].prover.prove()
    assert found.bad_pages == (7,)
    await pair.until(lambda: pair.nodes[B].machine.state is State.COPYING)
    await pair.until(lambda: pair.is_standing_by(B))
    assert (await pair.nodes[B].prover.prove()).is_whole
    assert (tmp_path / "b" / DATABASE_FILE).read_bytes() == before
    damaged = list((tmp_path / "b" / "forks").glob("damaged-*/blocks"))
    assert len(damaged) == 1
    flipped = bytearray(before[6 * PAGE : 7 * PAGE])
    flipped[99] ^= 1
    assert bytes(flipped) in damaged[0].read_bytes()
    assert pair.nodes[B].status().forks == 0, "damage is no fork"
    await pair.books[A].write("goes on")
    await pair.close()


async def test_an_interrupted_healing_keeps_the_damaged_version_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Links break, then the standby is killed, before a block came: one folder, with what stood here in the end."""
    pair = Pair(tmp_path)
    await filled(pair)
    before = (tmp_path / "b" / DATABASE_FILE).read_bytes()
    spoil(pair, B, 7)
    run, breaks = CopyTarget.run, [4]

    async def broken(target: CopyTarget) -> int:
        breaks[0] -= 1
        if breaks[0] > 0:
            raise ConnectionError("cut")
        if breaks[0] == 0:
            await asyncio.Event().wait()
        return await run(target)

    monkeypatch.setattr(CopyTarget, "run", broken)
    assert (await pair.nodes[B].prover.prove()).bad_pages == (7,)
    await pair.until(lambda: breaks[0] == 0)
    await pair.crash(B)
    await pair.start(B)
    await pair.until(lambda: pair.is_standing_by(B))
    assert (tmp_path / "b" / DATABASE_FILE).read_bytes() == before
    damaged = list((tmp_path / "b" / "forks").glob("damaged-*/blocks"))
    assert len(damaged) == 1
    flipped = bytearray(before[6 * PAGE : 7 * PAGE])
    flipped[99] ^= 1
    assert bytes(flipped) in damaged[0].read_bytes()
    assert pair.nodes[B].control.value.damage == "", "a later copy keeps nothing there"
    await pair.close()


async def test_a_damaged_page_of_the_master_does_not_stop_it(tmp_path: Path) -> None:
    """The master names the page and the command, goes on, and is healed once it is the standby."""
    pair = Pair(tmp_path)
    await filled(pair)
    spoil(pair, A, 7)
    found = await pair.nodes[A].prover.prove()
    assert found.bad_pages == (7,)
    assert "understudy swap" in found.text
    await pair.books[A].write("goes on")
    await pair.nodes[A].swap(B, b"", 5.0)
    await pair.until(lambda: pair.in_office(B) and pair.is_standing_by(A))
    assert (await pair.nodes[A].prover.prove()).bad_pages == (7,)
    await pair.until(lambda: pair.nodes[A].machine.state is State.COPYING)
    await pair.until(lambda: pair.is_standing_by(A))
    assert (await pair.nodes[A].prover.prove()).is_whole
    assert (await pair.lines(A))[-1] == "goes on"
    await pair.close()


async def test_a_full_disk_ends_a_proof_and_not_the_master(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof of a master needs a checkpoint; without room for one it is said, tried again, and all else goes on."""
    pair = Pair(tmp_path)
    await filled(pair, 5)
    ended: list[BaseException] = []
    pair.nodes[A].fatal = ended.append  # type: ignore[method-assign]  # only listens

    async def full(store: Store) -> bool:
        raise DiskFull("no room to checkpoint")

    monkeypatch.setattr(Store, "checkpoint", full)
    with pytest.raises(Unavailable, match="no room to checkpoint"):
        await pair.nodes[A].prover.prove()
    await pair.books[A].write("goes on")
    assert not ended
    await pair.close()


async def test_sqlite_finds_what_no_page_sum_can(tmp_path: Path) -> None:
    """An index that lost its rows is the same on both nodes, so only SQLite's own check of the copy sees it."""
    pair = Pair(tmp_path)
    await filled(pair, 5)
    store = pair.books[A].store
    assert store is not None

    def lose(transaction: object) -> None:
        connection = transaction.connection  # type: ignore[attr-defined]  # a Transaction
        connection.execute("CREATE INDEX by_text ON lines (text)")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET rootpage = 3 WHERE name = 'by_text'")

    await store.write(lose)
    await pair.settle()
    found = await pair.nodes[B].prover.prove()
    assert not found.bad_pages
    assert found.soundness not in ("", "ok")
    assert not found.is_whole
    await pair.close()
