"""BEY-3 at the level of replication: a fork that the application cannot list keeps no node from its master."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from replication.core.types import Refused, State
from replication.errors import DiskFull
from replication.fork import list_forks
from replication.fork_tip import CONTENTS, TIP_FILE
from tests.pair.pair import A, B, Pair


class BrokenReader:
    """Understands nothing."""

    def describe(
        self, fork: str, after: int, connection: sqlite3.Connection, read_object: Callable[[str, int], bytes]
    ) -> Iterator[tuple[str, bytes]]:
        """Writes one file, then fails."""
        yield "picture", read_object("picture", 6)
        raise ValueError("rows that nobody understands")

    def unknown(self, why: str) -> bytes:
        """Why not."""
        return f"unknown: {why}".encode()


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    made = Pair(tmp_path)
    made.more["fork_reader"] = BrokenReader()
    yield made
    await made.close()


async def test_a_fork_that_cannot_be_listed_is_kept_and_the_node_rejoins(pair: Pair) -> None:
    """Invariant 14: whatever the application's rows are like, the requests stay and the reason is written down."""
    await pair.found()
    await pair.books[A].write("one")
    await pair.network.cut()
    lost = asyncio.ensure_future(pair.books[A].write("never acknowledged"))
    await asyncio.wait([lost], timeout=0.3)
    await pair.crash(A)
    lost.cancel()
    pair.network.heal()
    await pair.nodes[B].promote(allow_data_loss=False, stopped=False, note=b"")
    await pair.until(lambda: pair.in_office(B))
    await pair.start(A)
    await pair.until(lambda: pair.is_standing_by(A))
    (fork,) = list_forks(pair.nodes[A].disk)
    folder = pair.root / "a" / "forks" / fork.name
    assert (folder / CONTENTS).read_text() == "unknown: rows that nobody understands"
    assert (folder / "requests").stat().st_size == fork.bytes > 0
    assert not (folder / TIP_FILE).exists()
    assert any("could not be listed: rows that nobody understands" in line for line in pair.said)
    await pair.settle()
    assert await pair.lines(A) == ["one"]


async def test_a_node_that_keeps_its_fork_can_take_over_when_the_master_is_gone(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FORKED is whole: nothing was replaced. Its disk has no room for the fork, and the master dies for good: with the
    flag it takes over, with what only it had."""
    await pair.found()
    await pair.books[A].write("one")
    await pair.network.cut()
    lost = asyncio.ensure_future(pair.books[A].write("never acknowledged"))
    await asyncio.wait([lost], timeout=0.3)
    await pair.crash(A)
    lost.cancel()
    pair.network.heal()
    await pair.nodes[B].promote(allow_data_loss=False, stopped=False, note=b"")
    await pair.until(lambda: pair.in_office(B))

    def no_room(*anything: object) -> None:
        raise DiskFull("no room for the fork: free some disk space")

    with monkeypatch.context() as full:
        full.setattr("replication.following.keep_suffix", no_room)
        await pair.start(A)
        await pair.until(lambda: pair.nodes[A].machine.state is State.FORKED)
        await pair.crash(B)
        with pytest.raises(Refused, match="allow-data-loss"):
            await pair.nodes[A].promote(allow_data_loss=False, stopped=False, note=b"")
        await pair.nodes[A].promote(allow_data_loss=True, stopped=False, note=b"")
        await pair.until(lambda: pair.in_office(A))
    assert await pair.lines(A) == ["one", "never acknowledged"]
    await pair.start(B)
    await pair.until(lambda: pair.is_standing_by(B))
    await pair.settle()
