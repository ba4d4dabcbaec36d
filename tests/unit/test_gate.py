"""The gate: nothing passes above the commit sequence, in whatever order things arrive."""

from __future__ import annotations

import asyncio

import pytest

from replication.errors import Closed
from replication.gate import STALL_S, Gate


async def settle() -> None:
    """Let everything that is ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_waiters_pass_in_order_and_only_when_committed() -> None:
    """Each waiter is let through by the advance that reaches its sequence, not before."""
    gate = Gate(5)
    passed: list[int] = []

    async def wait(sequence: int) -> None:
        await gate.wait(sequence)
        passed.append(sequence)

    tasks = [asyncio.create_task(wait(sequence)) for sequence in (9, 7, 5, 8)]
    await settle()
    assert passed == [5]
    gate.advance(8)
    await settle()
    assert passed == [5, 7, 8]
    gate.advance(6)
    assert gate.sequence == 8
    gate.advance(20)
    await asyncio.gather(*tasks)
    assert passed == [5, 7, 8, 9]


async def test_admission_decides_how_far_the_commit_goes() -> None:
    """What `admit` holds back stays held back until it is admitted; it is asked before anybody passes."""
    gate = Gate(0)
    gate.admit = lambda sequence: min(sequence, 2)
    waiting = asyncio.create_task(gate.wait(3))
    gate.advance(3)
    await settle()
    assert (gate.sequence, waiting.done()) == (2, False)
    gate.admit = lambda sequence: sequence
    gate.advance(3)
    assert await waiting == 3


async def test_a_cancelled_waiter_leaves_nothing_behind() -> None:
    """A page that looks every second at an idle pair must not fill the memory."""
    gate = Gate(0)
    for _ in range(10):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(gate.wait(1), 0)
    assert gate._waiting == []


async def test_closing_lets_everybody_go_with_the_reason() -> None:
    """Who waits when office ends is told so; later waiters too; what was committed stays committed."""
    gate = Gate(1)
    waiting = asyncio.create_task(gate.wait(2))
    await settle()
    gate.close(Closed("over"))
    for each in (waiting, asyncio.create_task(gate.wait(3))):
        with pytest.raises(Closed):
            await each
    assert await gate.wait(1) == 1


async def test_it_stalls_only_while_something_is_outstanding() -> None:
    """Invariant 18: an idle pair never stalls; an outstanding request does after STALL_S; progress ends it."""
    now = asyncio.get_running_loop().time()
    gate = Gate(3)
    assert not gate.stalled(now + 100)
    gate.note_captured(4, now)
    gate.note_captured(5, now + STALL_S)
    assert not gate.stalled(now + STALL_S)
    assert gate.stalled(now + STALL_S + 0.01)
    gate.advance(4)
    assert not gate.stalled(asyncio.get_running_loop().time())
    gate.advance(5)
    assert not gate.stalled(now + 100)


async def test_another_thread_can_wait() -> None:
    """The writer thread pauses for the commit before a checkpoint, within its time."""
    gate = Gate(0)
    assert not gate.wait_in_thread(1, 0)
    waiting = asyncio.create_task(asyncio.to_thread(gate.wait_in_thread, 1, 30))
    await asyncio.sleep(0)
    gate.advance(1)
    assert await waiting
