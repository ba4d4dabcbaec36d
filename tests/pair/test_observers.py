"""Three whole nodes: an observer is streamed to and never counted on, until it is given the seat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from replication.core.types import Mode, Refused, State
from replication.node import Node
from tests.pair.pair import A, B, Pair

C = "d" * 32


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """A strict pair, so that nobody goes on alone by itself."""
    made = Pair(tmp_path)
    made.more = {"mode": Mode.STRICT}
    yield made
    await made.close()


async def observe(pair: Pair) -> Node:
    """C joins the pair as its third node and holds everything."""
    await pair.found()
    third = await pair.start(C)
    pair.nodes[A].set_peers({C: "c:1", B: "b:1"})
    pair.nodes[B].set_peers({A: "a:1", C: "c:1"})
    await third.join({A: "a:1", B: "b:1"})
    await pair.until(lambda: third.machine.state is State.SYNCING and third.status().observer)
    await pair.settle()
    return third


async def give_seat(pair: Pair, to: str) -> None:
    """As an operator does, again until the observer has kept up for long enough."""
    it = pair.nodes[A].machine
    await pair.until(lambda: it.is_steady(to) and not (it.clear_alone or it.clear_after))
    assert "has the seat" in await pair.nodes[A].give_seat(to)


async def test_an_observer_is_streamed_to_and_never_counted_on(pair: Pair) -> None:
    """It holds every line; while it is gone writes go on, and while the standby is gone they wait although it has
    them."""
    third = await observe(pair)
    await pair.books[A].write("to all")
    await pair.settle()
    assert await pair.lines(C) == ["to all"]
    assert pair.nodes[A].machine.memory.in_sync == (B,)
    seen = {peer.node: peer.observer for peer in pair.nodes[A].status().peers}
    assert seen == {B: False, C: True}
    assert (pair.nodes[B].status().observer, third.status().seat) == (False, B)
    await pair.crash(C)
    await pair.books[A].write("without it")
    await pair.start(C)
    await pair.until(lambda: pair.nodes[C].journal.last == pair.nodes[A].journal.last)
    await pair.crash(B)
    waiting = asyncio.ensure_future(pair.books[A].write("waits"))
    await pair.until(lambda: pair.nodes[C].journal.synced == pair.nodes[A].journal.last.sequence)
    done, _ = await asyncio.wait([waiting], timeout=0.3)
    assert not done
    await pair.start(B)
    await waiting


async def test_a_lone_master_counts_on_no_observer_by_itself(pair: Pair) -> None:
    """The seat of a lost standby stays its own until an operator gives it to the observer, which is counted on then."""
    await observe(pair)
    await pair.crash(B)
    await pair.nodes[A].go_alone(b"test")
    await pair.books[A].write("alone")
    await pair.until(lambda: pair.nodes[A].machine.is_steady(C))
    await asyncio.sleep(0.2)
    assert pair.nodes[A].machine.state is State.ALONE
    assert "has the seat" in await pair.nodes[A].give_seat(C)
    await pair.until(lambda: pair.nodes[A].machine.memory.in_sync == (C,) and pair.is_standing_by(C))
    await pair.until(lambda: pair.witness.record.alone == C)
    await pair.start(B)
    await pair.until(lambda: pair.nodes[B].status().observer)
    await pair.books[A].write("with C")
    await pair.settle()
    assert pair.nodes[A].machine.memory.in_sync == (C,)


async def test_the_seat_goes_to_an_observer_and_office_by_a_swap(pair: Pair) -> None:
    """While in sync the set changes from one to the other; then the former standby dies, and office goes to the new
    one with nothing lost; the old master has the seat there."""
    await observe(pair)
    await pair.books[A].write("one")
    with pytest.raises(Refused, match="Give it the seat first"):
        await pair.nodes[A].swap(C, b"", 5.0)
    await give_seat(pair, C)
    assert pair.nodes[A].machine.memory.in_sync == (C,)
    assert pair.witness.record.alone == C
    await pair.until(lambda: pair.nodes[B].status().observer and not pair.nodes[B].machine.memory.enlisted)
    await pair.crash(B)
    await pair.books[A].write("two")
    await pair.nodes[A].swap(C, b"", 5.0)
    await pair.until(lambda: pair.in_office(C) and pair.is_standing_by(A))
    await pair.books[C].write("three")
    await pair.start(B)
    await pair.until(lambda: pair.nodes[B].status().observer and pair.nodes[B].status().seat == A)
    await pair.settle()
    for name in (A, B, C):
        assert await pair.lines(name) == ["one", "two", "three"]
    await pair.until(lambda: pair.witness.record.alone == A)


async def test_a_former_standby_that_missed_the_change_proves_nothing(pair: Pair) -> None:
    """It still believes that it is counted on; the witness names another, so that it takes over with the flag only."""
    await observe(pair)
    await pair.crash(B)
    await pair.nodes[A].go_alone(b"test")
    await pair.nodes[A].give_seat(C)
    await pair.until(lambda: pair.is_standing_by(C))
    await pair.until(lambda: pair.witness.record.alone == C)
    await pair.books[A].write("never at B")
    await pair.crash(A)
    await pair.crash(C)
    late = await pair.start(B)
    assert late.machine.memory.enlisted
    with pytest.raises(Refused, match="name node dddddddd") as refused:
        await late.promote(allow_data_loss=False, stopped=True, note=b"")
    assert refused.value.code == "data_loss"


async def test_an_observer_takes_over_with_the_flag_only(pair: Pair) -> None:
    """Also when the master closed cleanly: another could have gone on. Then everybody follows it and the pair heals."""
    third = await observe(pair)
    await pair.books[A].write("before")
    await pair.settle()
    await pair.stop(A)
    assert third.last_is_closed()
    with pytest.raises(Refused, match="is an observer"):
        await third.promote(allow_data_loss=False, stopped=True, note=b"")
    assert "is an observer" in await third.promote(allow_data_loss=True, stopped=True, note=b"")
    await pair.until(lambda: pair.in_office(C))
    await pair.until(lambda: pair.is_standing_by(B))
    await pair.books[C].write("after")
    await pair.start(A)
    await pair.settle()
    assert await pair.lines(A) == ["before", "after"]
    assert pair.nodes[C].status().seat == B


async def test_a_restarted_master_asks_the_node_with_the_seat(pair: Pair) -> None:
    """An observer grants it nothing that counts; it is master again when its standby is back."""
    await observe(pair)
    await pair.books[A].write("before")
    await pair.crash(B)
    await pair.crash(A)
    again = await pair.start(A)
    await pair.until(lambda: pair.nodes[C].machine.memory.granted.node == A)
    await asyncio.sleep(0.3)
    assert again.machine.state is State.RESUMING
    await pair.start(B)
    await pair.until(lambda: pair.in_office(A) and again.machine.memory.in_sync == (B,))
    await pair.settle()
