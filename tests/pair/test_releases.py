"""Two releases in one pair: a standby that could not open the database receives everything and counts for nothing.

Protocol: docs/protocol.md, section 7.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from replication.core.schema import UNKNOWN, SchemaRange
from replication.core.types import Mode, Refused, State
from replication.node import Node
from tests.pair.pair import A, B, Pair

OLD, NEW = SchemaRange(1, 2), SchemaRange(3, 4)


async def started(pair: Pair, name: str, schema: SchemaRange, **more: Any) -> Node:
    """Start a node of a release."""
    pair.more = {"mode": Mode.STRICT, "schema": schema, **more}
    return await pair.start(name)


async def handed_over_to_a_newer_release(pair: Pair, **more: Any) -> Node:
    """An old release swaps with one that is two schemas newer, which migrates; returns the new master."""
    first = await started(pair, A, OLD, **more)
    await first.found()
    first.releases.opened(1)
    second = await started(pair, B, NEW, **more)
    first.set_peers({B: "b:1"})
    await second.join({A: "a:1"})
    await pair.until(lambda: first.status().in_sync and second.status().in_sync)
    await first.swap(B, b"", 10.0)
    await pair.until(lambda: pair.in_office(B) and second.status().in_sync)
    second.releases.opened(3)
    return second


async def test_a_standby_that_could_not_open_the_database_is_not_taken_in(tmp_path: Path) -> None:
    """It streams, is shown as unable to take over on both sides, and is counted on once its release is the master's."""
    pair = Pair(tmp_path)
    try:
        first = await started(pair, A, NEW)
        await first.found()
        first.releases.opened(3)
        second = await started(pair, B, UNKNOWN)
        first.set_peers({B: "b:1"})
        await second.join({A: "a:1"})
        written = await pair.books[A].write("to both")
        await pair.until(lambda: second.status().applied_sequence >= written)
        await pair.until(lambda: any("is not in sync" in said for said in pair.said))
        heard = first.machine.caught_up_since
        assert (first.machine.state, first.status().in_sync, heard) == (State.ALONE, False, {})
        (peer,) = first.status().peers
        assert "opens databases up to schema 1, and this one has schema 3" in peer.cannot_take_over
        assert "this node cannot take over" in second.status().waiting_for
        await pair.stop(B)
        await started(pair, B, NEW)
        await pair.until(lambda: first.status().in_sync)
        assert [peer.cannot_take_over for peer in first.status().peers] == [""]
    finally:
        await pair.close()


async def test_strict_waits_for_a_standby_that_cannot_take_over(tmp_path: Path) -> None:
    """In the set by a hand-off: writes wait and say why, nobody swaps back, and its new release lets them through."""
    pair = Pair(tmp_path)
    try:
        second = await handed_over_to_a_newer_release(pair)
        writing = asyncio.ensure_future(pair.books[B].write("waits"))
        last = second.journal.last.sequence
        await pair.until(lambda: second.journal.last.sequence > last)
        await pair.until(lambda: second.serving.followers[A].ack.fsynced == second.journal.last.sequence)
        await pair.until(lambda: "Writes wait for it" in second.status().waiting_for)
        assert not writing.done(), "a standby that cannot take over let a write through"
        assert (second.machine.memory.in_sync, second.status().in_sync) == ((A,), False)
        await pair.until(lambda: "this node cannot take over" in pair.nodes[A].status().cannot_take_over)
        assert not pair.nodes[A].status().in_sync
        with pytest.raises(Refused, match="cannot take over"):
            await second.swap(A, b"", 5.0)
        await pair.stop(A)
        await started(pair, A, NEW)
        await writing
        await pair.until(lambda: second.status().in_sync)
        assert second.status().waiting_for == ""
    finally:
        await pair.close()


async def test_available_goes_on_without_a_standby_that_cannot_take_over(tmp_path: Path) -> None:
    """It leaves the set as a lost one does, recorded by the witness first; its new release is counted on again."""
    pair = Pair(tmp_path)
    available = {"mode": Mode.AVAILABLE, "standby_timeout_s": 0.5}
    try:
        second = await handed_over_to_a_newer_release(pair, **available)
        await pair.books[B].write("goes on")
        assert (second.machine.state, second.machine.memory.in_sync) == (State.ALONE, ())
        assert pair.witness.record.alone == B
        await pair.stop(A)
        await started(pair, A, NEW, **available)
        await pair.until(lambda: second.status().in_sync)
        assert await pair.lines(B) == ["goes on"]
    finally:
        await pair.close()


async def test_a_release_that_cannot_open_its_copy_does_not_take_office(tmp_path: Path) -> None:
    """A takeover is refused before anything is asked or changed, with what to install."""
    pair = Pair(tmp_path)
    try:
        second = await handed_over_to_a_newer_release(pair)
        writing = asyncio.ensure_future(_set_schema(pair, 3))
        old = pair.nodes[A]
        await pair.until(lambda: old.journal.synced == second.journal.last.sequence)
        await pair.stop(A)
        await started(pair, A, NEW)
        await writing
        await pair.settle()
        await pair.crash(B)
        await pair.crash(A)
        old = await started(pair, A, OLD)
        with pytest.raises(Refused, match="opens databases up to schema 2, and this one has schema 3: this node"):
            await old.promote(allow_data_loss=True, stopped=True, note=b"")
        assert old.machine.state in (State.SYNCING, State.IN_SYNC)
    finally:
        await pair.close()


async def _set_schema(pair: Pair, schema: int) -> None:
    store = pair.books[B].store
    assert store is not None
    await store.write(lambda transaction: transaction.connection.execute(f"PRAGMA user_version = {schema}"))
