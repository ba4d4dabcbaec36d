"""Slots between whole nodes: a standby that was away streams on as long as its slot holds, and copies only when not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from replication.copy_target import CopyTarget
from replication.core.types import Retention, SlotState, SlotStatus
from tests.pair.pair import A, B, Pair

SEGMENT_BYTES = 256 * 1024
SIZE = 300_000
ROOM = Retention(slot_bytes_max=64 << 20, slot_age_max_s=1000.0, journal_free_bytes_min=0)


@pytest.fixture
async def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    """A pair that keeps nothing of the journal but what slots pin, in small segments."""
    for module in ("writer", "slots", "redo"):
        monkeypatch.setattr(f"replication.{module}.KEEP_BYTES", 0)
    monkeypatch.setattr("replication.serving.WATCH_S", 0.02)
    made = Pair(tmp_path)
    made.more = {"segment_bytes": SEGMENT_BYTES, "retention": ROOM}
    yield made
    await made.close()


async def write_much(pair: Pair, name: str, rounds: int = 5) -> None:
    """Write several segments, with a checkpoint after each that forgets whatever nobody needs."""
    for turn in range(rounds):
        await pair.books[name].write(f"{turn}" * SIZE)
        assert await pair.nodes[name].office.store.checkpoint()  # type: ignore[union-attr]  # in office


def slot(pair: Pair, name: str) -> SlotStatus:
    """The only slot of a node in office."""
    (only,) = pair.nodes[name].status().slots
    return only


def decided(pair: Pair, word: str) -> int:
    """How often a standby was told this decision."""
    return sum(f"decided {word}" in text for text in pair.said)


async def lone_master(pair: Pair) -> None:
    """A has B as its standby, which is gone; A writes alone."""
    await pair.found()
    await pair.crash(B)
    await pair.nodes[A].go_alone(b"")


async def test_a_standby_that_was_away_streams_on_from_its_slot(pair: Pair) -> None:
    """Invariant 3: no segment goes that a slot needs, however often the absent standby's master checkpoints."""
    await lone_master(pair)
    copies = decided(pair, "compare")
    await write_much(pair, A)
    assert slot(pair, A).state is SlotState.ABSENT
    assert slot(pair, A).pinned_bytes >= 5 * SIZE
    await pair.start(B)
    await pair.until(lambda: pair.is_standing_by(B))
    await pair.settle()
    assert decided(pair, "compare") == copies
    assert len(await pair.lines(B)) == 5


async def test_slots_survive_a_restart_of_the_master(pair: Pair) -> None:
    """A crash of the lone master does not let go of what its standby needs."""
    await lone_master(pair)
    copies = decided(pair, "compare")
    await write_much(pair, A, 2)
    await pair.until(lambda: bool(pair.nodes[A].control.value.slots))
    await pair.crash(A)
    await pair.start(A)
    await pair.nodes[A].go_alone(b"")
    await pair.until(lambda: pair.in_office(A))
    await write_much(pair, A, 2)
    await pair.start(B)
    await pair.until(lambda: pair.is_standing_by(B))
    await pair.settle()
    assert decided(pair, "compare") == copies
    assert len(await pair.lines(B)) == 4


async def test_beyond_its_cap_a_slot_is_lost_and_says_so_before_the_standby_is_back(pair: Pair) -> None:
    """The journal is bounded; what comes next for the standby is known, and then it is what happens."""
    pair.more["retention"] = Retention(1_500_000, 1000.0, 0)
    await lone_master(pair)
    copies = decided(pair, "compare")
    await write_much(pair, A, 8)
    await pair.until(lambda: slot(pair, A).state is SlotState.LOST)
    assert "slot_bytes_max" in slot(pair, A).text
    assert any("slot_bytes_max allows no more" in text for text in pair.said)
    await write_much(pair, A, 2)
    assert pair.nodes[A].status().journal_bytes < 4 * SIZE + 4 * SEGMENT_BYTES
    await pair.start(B)
    await pair.until(lambda: pair.is_standing_by(B))
    await pair.settle()
    assert decided(pair, "compare") == copies + 1
    await pair.until(lambda: slot(pair, A).state is SlotState.STREAMING)


async def test_little_free_disk_lets_go_of_a_slot(pair: Pair) -> None:
    """The master's disk comes first: with less free than the floor nothing is pinned for an absent standby."""
    pair.more["retention"] = Retention(64 << 20, 1000.0, 1 << 60)
    await lone_master(pair)
    await write_much(pair, A, 3)
    await pair.until(lambda: slot(pair, A).state is SlotState.LOST)
    assert "journal_free_bytes_min" in slot(pair, A).text


async def test_a_new_master_begins_with_a_slot_for_the_old_one(pair: Pair) -> None:
    """After a promotion the journal is kept for the old master from where it was last heard to be."""
    await pair.found()
    await pair.books[A].write("one")
    await pair.settle()
    await pair.crash(A)
    await pair.nodes[B].promote(allow_data_loss=False, stopped=True, note=b"")
    await pair.until(lambda: pair.in_office(B))
    copies = decided(pair, "compare")
    await write_much(pair, B)
    assert slot(pair, B).node == A
    await pair.start(A)
    await pair.until(lambda: pair.is_standing_by(A))
    await pair.settle()
    assert decided(pair, "compare") == copies
    assert len(await pair.lines(A)) == 6


async def test_a_copy_that_is_cut_off_at_its_end_still_finds_its_pin(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pin is a slot: checkpoints between the last block and the stream do not send the standby round again."""
    first = await pair.start(A)
    await first.found()
    await pair.books[A].write("before")
    done: list[int] = []
    run = CopyTarget.run

    async def run_and_lose_the_link(copy: CopyTarget) -> int:
        until = await run(copy)
        if not done:
            done.append(until)
            await copy._connection.close()
            await write_much(pair, A)
        return until

    monkeypatch.setattr(CopyTarget, "run", run_and_lose_the_link)
    second = await pair.start(B)
    first.set_peers({B: "b:1"})
    await second.join({A: "a:1"})
    await pair.until(lambda: pair.is_standing_by(B))
    await pair.settle()
    assert decided(pair, "compare") == 1
    assert len(await pair.lines(B)) == 6


async def test_copies_that_cannot_succeed_are_not_begun_again_and_again(pair: Pair) -> None:
    """With a cap below what is written during a copy two are tried; then the standby's page says what to change."""
    pair.more["retention"] = Retention(1_000_000, 1000.0, 0)
    first = await pair.start(A)
    await first.found()
    run = CopyTarget.run

    async def slow(copy: CopyTarget) -> int:
        await write_much(pair, A, 6)
        await pair.until(lambda: first.serving.slots.was_let_go(B))
        return await run(copy)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CopyTarget, "run", slow)
        second = await pair.start(B)
        first.set_peers({B: "b:1"})
        await second.join({A: "a:1"})
        await pair.until(lambda: "understudy.toml" in second.status().waiting_for, 30.0)
    assert decided(pair, "compare") == 2


async def test_a_slot_that_is_let_go_while_office_closes_ends_no_process(tmp_path: Path) -> None:
    """The look at the slots, each second, meets a store that a change of roles has just closed."""
    pair = Pair(tmp_path)
    await pair.found()
    node = pair.nodes[A]
    ended: list[BaseException] = []
    node.fatal = ended.append  # type: ignore[method-assign]  # only listens
    looks: list[bool] = []

    async def tick() -> bool:
        looks.append(node.office is not None)
        if node.office is not None and node.office.store is not None:
            await node.office.store.close()
        return True

    node.serving.slots.tick = tick  # type: ignore[method-assign]  # lets go at once
    await pair.until(lambda: len(looks) > 1 or bool(ended))
    assert not ended
    await pair.close()
