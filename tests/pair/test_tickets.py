"""Tickets between whole nodes: a standby put back from a snapshot is refused, and no crash is taken for one.

Protocol: docs/protocol.md, section 4.4.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from replication.core.types import Mode
from tests.pair.pair import A, B, Pair


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    made = Pair(tmp_path)
    made.more = {"mode": Mode.STRICT}
    yield made
    await made.close()


async def put_back(pair: Pair, name: str, snapshot: Path) -> None:
    """Stop a node and put an earlier copy of its directory in its place."""
    await pair.crash(name)
    shutil.rmtree(pair.root / name[0])
    shutil.copytree(snapshot, pair.root / name[0])


async def test_a_standby_restored_from_a_snapshot_is_refused_with_what_to_type(pair: Pair, tmp_path: Path) -> None:
    """What it acknowledged since then it has lost, so it must not be counted on as if nothing had happened."""
    await pair.found()
    await pair.stop(B)
    shutil.copytree(pair.root / "b", tmp_path / "snapshot")
    node = await pair.start(B)
    await pair.until(lambda: pair.is_standing_by(B))
    await pair.books[A].write("acknowledged by it")
    await put_back(pair, B, tmp_path / "snapshot")
    node = await pair.start(B)
    await pair.until(lambda: "restored from a snapshot" in node.status().waiting_for)
    assert "master-to-standby" in node.status().waiting_for
    assert node.following is not None
    assert node.following.receiver is None


async def in_step(pair: Pair, master: str, standby: str) -> None:
    """Wait until the pair is whole with these roles."""
    await pair.until(
        lambda: pair.in_office(master) and pair.is_standing_by(standby) and pair.nodes[master].status().in_sync
    )
    await pair.books[master].write("in step")
    await pair.settle()


async def test_crashes_swaps_and_returns_are_never_taken_for_a_clone(pair: Pair) -> None:
    """A standby that is killed, cut off, swapped with and comes back later always has a ticket that fits."""
    await pair.found()
    for _ in range(3):
        await pair.crash(B)
        await pair.start(B)
        await pair.network.cut()
        pair.network.heal()
        await in_step(pair, A, B)
    for old, new in ((A, B), (B, A)):
        await pair.nodes[old].swap(new, b"", 5.0)
        await in_step(pair, new, old)
        await pair.crash(old)
        await pair.start(old)
        await in_step(pair, new, old)
    await pair.crash(A)
    await pair.start(A)
    await in_step(pair, A, B)
    assert not any("refuse" in text.lower() for text in pair.said)


async def test_a_standby_with_a_new_directory_is_no_clone(pair: Pair) -> None:
    """A repaired standby begins empty, without a ticket, and is copied."""
    await pair.found()
    await pair.books[A].write("one")
    await pair.crash(B)
    shutil.rmtree(pair.root / "b")
    second = await pair.start(B)
    await second.join({A: "a:1"})
    await pair.until(lambda: pair.is_standing_by(B))
    assert await pair.lines(B) == ["one"]
