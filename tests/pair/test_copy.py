"""Copies between whole nodes: cut short, at a new master, without room, and what may not be promoted.

Protocol: docs/protocol.md, section 4.3.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from replication import compare
from replication.copy_target import CopyTarget
from replication.core.types import Refused, State
from replication.files import Disk
from tests.pair.pair import A, B, Pair

C = "d" * 32
ROOM = 1 << 40


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    made = Pair(tmp_path)
    yield made
    await made.close()


async def test_a_copy_goes_on_at_a_new_master(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A third node whose master gives office away in the middle asks the new one for the rest, and for no more."""
    await pair.found()
    for number in range(12):
        await pair.books[A].write(f"{number}" * 500_000)
    await pair.settle()
    read: dict[str, list[int]] = {"a": [], "b": []}

    def read_some(disk: Disk, name: str, number: int) -> bytes | None:
        if disk.root.name == "a" and number >= 10:
            raise ConnectionError("the link broke")
        read[disk.root.name].append(number)
        return compare.read_block(disk, name, number)

    monkeypatch.setattr("replication.copy_source.read_block", read_some)
    third = await pair.start(C)
    for name, others in ((A, {B: "b:1", C: "d:1"}), (B, {A: "a:1", C: "d:1"})):
        pair.nodes[name].set_peers(others)
    await third.join({A: "a:1", B: "b:1"})
    await pair.until(lambda: third.machine.state is State.COPYING and third.disk.size_of("scheduler.db") > 0)
    there = third.disk.size_of("scheduler.db") // compare.BLOCK_BYTES
    await pair.nodes[A].swap(B, b"", 5.0)
    await pair.until(lambda: pair.in_office(B))
    await pair.until(lambda: third.machine.state is State.SYNCING and third.status().copy is None, 30.0)
    await pair.settle()
    assert await pair.lines(C) == await pair.lines(B)
    assert there > 0
    assert read["b"]
    assert len(read["b"]) < len(range(0, third.disk.size_of("scheduler.db"), compare.BLOCK_BYTES)) - there // 2


async def test_a_copy_whose_last_requests_never_came_cannot_take_over(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every block is there, and nothing says that they are one state: the promotion is refused, flag or not."""
    first = await pair.start(A)
    await first.found()
    await pair.books[A].write("before the pin")
    run = CopyTarget.run
    ends: list[int] = []

    async def run_and_die(copy: CopyTarget) -> int:
        await pair.books[A].write("while it is copied")
        ends.append(await run(copy))
        await pair.crash(A)
        return ends[-1]

    with monkeypatch.context() as patch:
        patch.setattr(CopyTarget, "run", run_and_die)
        second = await pair.start(B)
        first.set_peers({B: "b:1"})
        await second.join({A: "a:1"})
        await pair.until(lambda: bool(ends) and A not in pair.nodes)
    assert second.machine.state is State.COPYING
    with pytest.raises(Refused, match="copy"):
        await second.promote(allow_data_loss=True, stopped=True, note=b"")
    await pair.start(A)
    await pair.until(lambda: pair.is_standing_by(B))
    assert await pair.lines(B) == ["before the pin", "while it is copied"]


async def test_without_room_a_copy_does_not_begin(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The standby says how much is needed and how much is there, and begins by itself when there is room."""
    free = 10 << 20
    monkeypatch.setattr(Disk, "free_bytes", lambda disk: free if disk.root.name == "b" else ROOM)
    first = await pair.start(A)
    await first.found()
    await pair.books[A].write("one")
    second = await pair.start(B)
    first.set_peers({B: "b:1"})
    await second.join({A: "a:1"})
    await pair.until(lambda: "MiB more and 10 MiB are free" in second.status().waiting_for)
    assert second.machine.state is not State.COPYING
    assert not second.disk.size_of("scheduler.db")
    free = ROOM
    await pair.until(lambda: pair.is_standing_by(B))
    assert await pair.lines(B) == ["one"]
