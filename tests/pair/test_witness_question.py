"""A standby asks the witnesses that its copy names: the copy must not move on while it asks (decision 0054)."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from replication.core.witness import Claim, WitnessVerdict
from replication.operations import Operations
from tests.pair.pair import A, B, Pair


async def test_the_copy_stands_still_while_the_witnesses_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The master lives and writes when an operator forces the promotion, and the standby is slow to stop following:
    nothing is received or applied behind the question."""
    pair = Pair(tmp_path)
    seen: list[set[tuple[int, int]]] = []
    shipped, stop = pair.witness.grant, Operations.stop_following

    async def slow_stop(self: Operations) -> None:
        await asyncio.sleep(0.2)
        await stop(self)

    async def grant(claim: Claim) -> WitnessVerdict:
        if claim.epoch.node == B:
            seen.append(set())
            for _ in range(30):
                node = pair.nodes[B]
                seen[-1].add((node.journal.last.sequence, node.applier.applied))
                await asyncio.sleep(0.01)
        return await shipped(claim)

    async def write() -> None:
        while True:
            await pair.books[A].write("one more")

    monkeypatch.setattr(pair.witness, "grant", grant)
    await pair.found()
    writing = asyncio.gather(*(write() for _ in range(8)))
    try:
        await pair.until(lambda: pair.nodes[B].journal.last.sequence > 20)
        monkeypatch.setattr(Operations, "stop_following", slow_stop)
        await pair.nodes[B].promote(allow_data_loss=True, stopped=False, note=b"")
    finally:
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await writing
        await pair.close()
    assert seen
    assert all(len(places) == 1 for places in seen), "the copy moved on behind the question"
