"""The life of a pair: first copy, stop, restart, swap, promotion, return of an old master.

Protocol: docs/protocol.md, sections 4.3 and 5.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from replication.core.types import Refused, State
from server.office.fleet import is_everywhere
from tests.pair.pair import A, B, Pair


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    made = Pair(tmp_path)
    yield made
    await made.close()


async def test_first_copy_and_stream(pair: Pair) -> None:
    """SKY-1, SKY-4: an empty node is copied, counted on, and then holds every acknowledged line with backlog 0."""
    await pair.found()
    assert is_everywhere(pair.nodes[A].status())
    await asyncio.gather(*(pair.books[A].write(f"line {n}") for n in range(200)))
    await pair.settle()
    assert sorted(await pair.lines(B)) == sorted(f"line {n}" for n in range(200))
    backlog = pair.nodes[A].status().backlog
    assert backlog is not None
    assert backlog.requests == 0


async def test_strict_waits_for_the_standby(pair: Pair) -> None:
    """Invariant 6: with the standby cut off nothing is acknowledged; healed, the waiting write is."""
    await pair.found()
    await pair.network.cut()
    write = asyncio.ensure_future(pair.books[A].write("while cut"))
    done, _ = await asyncio.wait([write], timeout=0.5)
    assert not done
    pair.network.heal()
    await write
    await pair.settle()
    assert "while cut" in await pair.lines(B)


async def test_planned_swap_there_and_back(pair: Pair) -> None:
    """BEY-1: two swaps in a row, no copy, the note of HANDOFF reaches the new master, epochs grow."""
    await pair.found()
    await pair.books[A].write("before")
    first = pair.nodes[A].status().epoch
    await pair.nodes[A].swap(B, b"steps so far", 5.0)
    await pair.until(lambda: pair.in_office(B) and pair.is_standing_by(A))
    assert pair.books[B].openings[-1].note == b"steps so far"
    await pair.books[B].write("between")
    await pair.nodes[B].swap(A, b"", 5.0)
    await pair.until(lambda: pair.in_office(A) and pair.is_standing_by(B))
    await pair.books[A].write("after")
    await pair.settle()
    assert await pair.lines(A) == await pair.lines(B) == ["before", "between", "after"]
    assert pair.nodes[A].status().epoch.number == first.number + 2
    assert pair.nodes[A].status().forks == pair.nodes[B].status().forks == 0


async def test_swap_aborts_when_the_standby_goes_silent(pair: Pair) -> None:
    """A standby that does not confirm in time costs a second, not the office."""
    await pair.found()
    await pair.network.cut()
    with pytest.raises(Refused):
        await pair.nodes[A].swap(B, b"", 0.5)
    pair.network.heal()
    await pair.until(lambda: pair.is_standing_by(B) and pair.nodes[A].status().in_sync)
    await pair.books[A].write("still master")
    await pair.settle()
    assert pair.nodes[A].machine.state is State.MASTER


@pytest.mark.parametrize("crash", [False, True])
async def test_restarted_master_is_master_again(pair: Pair, crash: bool) -> None:
    """SKY-22: a stopped or killed master takes office again by its standby's grant, in a higher epoch."""
    await pair.found()
    await pair.books[A].write("one")
    before = pair.nodes[A].status().epoch
    await (pair.crash(A) if crash else pair.stop(A))
    await pair.start(A)
    await pair.until(lambda: pair.in_office(A) and pair.is_standing_by(B))
    await pair.books[A].write("two")
    await pair.settle()
    assert await pair.lines(B) == ["one", "two"]
    assert pair.nodes[A].status().epoch > before


@pytest.mark.parametrize("order", [(A, B), (B, A)])
async def test_power_back_on_both_nodes(pair: Pair, order: tuple[str, str]) -> None:
    """SKY-22: both killed, started in either order: the master of before is master again without a person."""
    await pair.found()
    await pair.books[A].write("one")
    await pair.crash(A)
    await pair.crash(B)
    for name in order:
        await pair.start(name)
    await pair.until(lambda: pair.in_office(A) and pair.is_standing_by(B))
    await pair.settle()
    assert await pair.lines(B) == ["one"]


async def test_master_without_its_standby_waits_and_goes_alone_by_leave(pair: Pair) -> None:
    """Restart, case 3: with the standby dead the node waits, says for whom, and `go-alone` opens office."""
    await pair.found()
    await pair.books[A].write("one")
    await pair.crash(A)
    await pair.crash(B)
    node = await pair.start(A)
    await pair.until(lambda: node.machine.state is State.RESUMING)
    assert "go-alone" in node.status().waiting_for
    await node.go_alone(b"")
    await pair.until(lambda: pair.in_office(A))
    assert not is_everywhere(node.status()), "agents would forget what only this node has"
    await pair.books[A].write("alone")
    assert pair.witness.record.alone == A
    await pair.start(B)
    await pair.until(lambda: pair.is_standing_by(B))
    await pair.until(lambda: pair.witness.record.alone == "")
    assert await pair.lines(B) == ["one", "alone"]


async def test_promotion_after_death_is_proven_lossless(pair: Pair) -> None:
    """SKY-5: the master dies, the witness says nobody wrote alone, the standby takes over with every line."""
    await pair.found()
    await pair.books[A].write("one")
    await pair.crash(A)
    await pair.nodes[B].promote(allow_data_loss=False, stopped=False, note=b"")
    await pair.until(lambda: pair.in_office(B))
    assert await pair.lines(B) == ["one"]
    await pair.books[B].write("two")
    await pair.start(A)
    await pair.until(lambda: pair.is_standing_by(A))
    await pair.settle()
    assert await pair.lines(A) == ["one", "two"]


async def test_old_masters_tail_is_cut_and_kept(pair: Pair) -> None:
    """BEY-3, JS7-9: what the dead master journaled and never replicated is kept as a fork on its node."""
    await pair.found()
    await pair.books[A].write("one")
    await pair.network.cut()
    lost = asyncio.ensure_future(pair.books[A].write("never acknowledged"))
    await asyncio.wait([lost], timeout=0.3)
    assert not lost.done()
    await pair.crash(A)
    lost.cancel()
    pair.network.heal()
    await pair.nodes[B].promote(allow_data_loss=False, stopped=False, note=b"")
    await pair.until(lambda: pair.in_office(B))
    await pair.books[B].write("two")
    await pair.start(A)
    await pair.until(lambda: pair.is_standing_by(A))
    await pair.settle()
    assert await pair.lines(A) == ["one", "two"]
    assert pair.nodes[A].status().forks == 1


async def test_promotion_is_refused_when_the_master_wrote_alone(pair: Pair) -> None:
    """BEY-6: the witness knows that the master wrote alone; only the flag takes over; the rest becomes a fork."""
    await pair.found()
    await pair.crash(B)
    await pair.nodes[A].go_alone(b"")
    await pair.books[A].write("only here")
    await pair.nodes[A].office.store.checkpoint()  # type: ignore[union-attr]  # in office
    await pair.crash(A)
    node = await pair.start(B)
    with pytest.raises(Refused, match="allow-data-loss"):
        await node.promote(allow_data_loss=False, stopped=True, note=b"")
    await node.promote(allow_data_loss=True, stopped=True, note=b"")
    await pair.until(lambda: pair.in_office(B))
    await pair.books[B].write("new life")
    await pair.start(A)
    await pair.until(lambda: pair.is_standing_by(A))
    await pair.settle()
    assert await pair.lines(A) == ["new life"]
    assert pair.nodes[A].status().forks == 1


async def test_clean_stop_then_promotion_needs_only_a_word(pair: Pair) -> None:
    """SKY-22: after CLOSED the standby takes over without a data-loss flag, once told that the old master is down."""
    await pair.found()
    await pair.books[A].write("one")
    await pair.stop(A)
    with pytest.raises(Refused, match="--yes"):
        await pair.nodes[B].promote(allow_data_loss=False, stopped=False, note=b"")
    await pair.nodes[B].promote(allow_data_loss=False, stopped=True, note=b"")
    await pair.until(lambda: pair.in_office(B))
    await pair.start(A)
    await pair.until(lambda: pair.is_standing_by(A))
    await pair.settle()
    assert await pair.lines(A) == ["one"]


async def test_promotion_of_a_healthy_pair_is_refused(pair: Pair) -> None:
    """A live master is connected: the answer names the swap."""
    await pair.found()
    with pytest.raises(Refused, match="understudy swap"):
        await pair.nodes[B].promote(allow_data_loss=False, stopped=True, note=b"")


async def test_an_unapplied_tail_is_applied_without_a_new_request(pair: Pair) -> None:
    """SKY-9: a standby that restarts behind its own journal catches up with an idle master by the commit alone."""
    await pair.found()
    await pair.books[A].write("one")
    await pair.settle()
    pair.nodes[B].journal.mark_commit = lambda sequence: None  # type: ignore[method-assign]  # the crash comes first
    await pair.books[A].write("two")
    await pair.crash(B)
    node = await pair.start(B)
    await pair.until(lambda: node.status().applied_sequence == node.journal.last.sequence)
    await pair.settle()
    assert await pair.lines(B) == ["one", "two"]
