"""Mode `available` on two nodes with real files: a lost standby, a stalled one, a lone restart, a refused number."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from replication.core.types import Epoch, Mode, Refused, State
from tests.pair.pair import A, B, Pair


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    made = Pair(tmp_path)
    made.more = {"mode": Mode.AVAILABLE, "standby_timeout_s": 0.6}
    yield made
    await made.close()


async def test_a_lost_standby_does_not_stop_writes(pair: Pair) -> None:
    """Invariant 12: the witness has it before the write is answered; the standby comes back, and the witness hears."""
    await pair.found()
    await pair.crash(B)
    await pair.books[A].write("alone")
    assert pair.nodes[A].machine.state is State.ALONE
    assert pair.witness.record.alone == A
    await pair.start(B)
    await pair.until(lambda: pair.is_standing_by(B) and pair.witness.record.alone == "")
    await pair.settle()
    assert await pair.lines(B) == ["alone"]


async def test_without_its_witness_it_waits_for_the_standby_and_says_so(pair: Pair) -> None:
    """No majority, no write alone: the sentence counts the witnesses; the standby's return answers the write."""
    await pair.found()
    await pair.crash(B)
    pair.witness.is_silent = True
    write = asyncio.ensure_future(pair.books[A].write("waits"))
    await pair.until(lambda: "0 of 1 witnesses answered" in pair.nodes[A].status().waiting_for)
    assert not write.done()
    await pair.start(B)
    await write
    assert pair.nodes[A].machine.state is State.MASTER
    await pair.until(lambda: pair.nodes[A].status().waiting_for == "")


async def test_a_lone_master_resumes_by_the_witness(pair: Pair) -> None:
    """Restart, case 2: nobody types anything; what it then acknowledges is known to the witness."""
    await pair.found()
    await pair.crash(A)
    await pair.crash(B)
    await pair.start(A)
    await pair.until(lambda: pair.in_office(A))
    await pair.books[A].write("alone")
    await pair.crash(A)
    node = await pair.start(B)
    with pytest.raises(Refused, match=r"at stake.*--allow-data-loss"):
        await node.promote(allow_data_loss=False, stopped=True, note=b"")


async def test_a_lone_master_does_not_resume_after_its_standby_took_over(pair: Pair) -> None:
    """The witness granted the standby a later epoch: the old master waits, also in `available`."""
    await pair.found()
    await pair.crash(A)
    await pair.nodes[B].promote(allow_data_loss=False, stopped=True, note=b"")
    await pair.until(lambda: pair.in_office(B))
    await pair.crash(B)
    node = await pair.start(A)
    await pair.until(lambda: "later master" in node.status().waiting_for)
    assert node.machine.state is State.RESUMING


async def test_what_a_promotion_is_told_reaches_the_application(pair: Pair) -> None:
    """BEY-6: the application gets the sentence with the office, to keep it."""
    await pair.found()
    await pair.crash(B)
    await pair.books[A].write("lost")
    await pair.crash(A)
    node = await pair.start(B)
    said = await node.promote(allow_data_loss=True, stopped=True, note=b"")
    await pair.until(lambda: pair.in_office(B))
    assert pair.books[B].openings[-1].report == said


async def test_a_number_that_agents_refuse_is_raised_by_a_lone_master(pair: Pair) -> None:
    """Agents obey epoch 9 of another node: the office goes on in 10, granted and recorded, its data as before."""
    await pair.found()
    await pair.crash(B)
    await pair.books[A].write("before")
    node = pair.nodes[A]
    node.epoch_heard(Epoch(9, B))
    await pair.until(lambda: pair.books[A].openings[-1].epoch == Epoch(10, A) and pair.in_office(A))
    await pair.books[A].write("after")
    assert (pair.witness.record.epoch, pair.witness.record.alone_epoch) == (Epoch(10, A), Epoch(10, A))
    assert await pair.lines(A) == ["before", "after"]


async def test_a_number_that_agents_refuse_is_raised_by_the_standbys_grant(pair: Pair) -> None:
    """With the standby counted on it is that which grants; nothing is written alone meanwhile."""
    await pair.found()
    node = pair.nodes[A]
    node.epoch_heard(Epoch(9, "e" * 32))
    await pair.until(lambda: node.status().epoch == Epoch(10, A) and pair.in_office(A) and pair.is_standing_by(B))
    await pair.books[A].write("after")
    assert pair.witness.record.alone == ""


class Hook:
    """A fence that says what it is told to say."""

    timeout_s = 1.0

    def __init__(self, held: bool) -> None:
        self.held = held
        self.fenced: list[tuple[str, str, int]] = []

    async def fence(self, old: str, address: str, epoch: Epoch) -> tuple[bool, str]:
        self.fenced.append((old, address, epoch.number))
        return self.held, "the switch said so."


async def test_a_promotion_waits_for_the_fence(pair: Pair) -> None:
    """It fails: refused, the witness heard nothing. It holds: the promotion goes on."""
    hook = Hook(held=False)
    pair.more["fence"] = hook
    await pair.found()
    await pair.crash(A)
    granted = pair.witness.record.epoch
    with pytest.raises(Refused, match=r"switch said so.*standby-to-master"):
        await pair.nodes[B].promote(allow_data_loss=True, stopped=True, note=b"")
    assert pair.witness.record.epoch == granted
    hook.held = True
    await pair.nodes[B].promote(allow_data_loss=False, stopped=True, note=b"")
    await pair.until(lambda: pair.in_office(B))
    assert hook.fenced == [(A, "a:1", 1)] * 2
