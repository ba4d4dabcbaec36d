"""Slots: which cap lets go of a pin, what is lost, and the word for people."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from replication.control import ControlFile
from replication.core.slots import (
    Cap,
    Sight,
    Slot,
    is_lost,
    lowest_pinned,
    passed_cap,
    slot_sentence,
    slot_state,
)
from replication.core.types import Retention, SlotState
from replication.files import Disk
from replication.journal import Journal
from replication.slots import COPY_AGAIN_S, Slots
from tests.unit.engine import control_request

MIB = 1 << 20
CAPS = Retention(slot_bytes_max=100 * MIB, slot_age_max_s=1000.0, journal_free_bytes_min=50 * MIB)


@pytest.mark.parametrize(
    ("pinned", "absent_s", "free", "cap"),
    [
        (10 * MIB, 5000.0, 0, Cap.NONE),
        (90 * MIB, 999.0, 60 * MIB, Cap.NONE),
        (101 * MIB, 0.0, 60 * MIB, Cap.BYTES),
        (90 * MIB, 1001.0, 60 * MIB, Cap.AGE),
        (90 * MIB, 0.0, 49 * MIB, Cap.DISK),
    ],
)
def test_each_cap_lets_go_alone_and_none_within_what_is_kept_anyway(
    pinned: int, absent_s: float, free: int, cap: Cap
) -> None:
    """Bytes, age and free disk each end a pin; a pin that costs nothing extra is never ended."""
    assert passed_cap(CAPS, pinned, 64 * MIB, absent_s, free) is cap


def test_a_slot_beyond_its_caps_pins_nothing() -> None:
    """The lowest slot within its caps counts; none at all pins nothing."""
    low, high = Slot("a", 10, passed=Cap.AGE), Slot("b", 20)
    assert lowest_pinned([low, high]) == 21
    assert lowest_pinned([low]) is None


@pytest.mark.parametrize(
    ("fsynced", "sight", "state", "words"),
    [
        (98, Sight(connected=True), SlotState.LOST, "slot_bytes_max"),
        (98, Sight(copying=True), SlotState.COPYING, "copies"),
        (99, Sight(), SlotState.ABSENT, "no longer kept"),
        (99, Sight(connected=True), SlotState.STREAMING, "keeps up"),
        (99, Sight(connected=True, lag_s=1.5), SlotState.BEHIND, "catches up"),
        (99, Sight(connected=True, lag_s=9.0, idle_s=4.0), SlotState.STALLED, "its disk does not"),
        (99, Sight(connected=True, idle_s=9.0, silent_s=9.0), SlotState.STALLED, "nothing was heard"),
    ],
)
def test_the_word_for_people_is_the_worst_that_is_true(
    fsynced: int, sight: Sight, state: SlotState, words: str
) -> None:
    """A journal that begins at 100 has lost who needs 99; a live standby with a hung disk is told from a silent one."""
    slot = Slot("a", fsynced, passed=Cap.BYTES)
    assert is_lost(slot, 100) == (fsynced == 98)
    assert slot_state(slot, 100, sight) is state
    assert words in slot_sentence(slot, state, sight)


class Desk:
    """Slots on a real journal and control file; counts what is written and what is pinned."""

    def __init__(self, directory: Path, retention: Retention = CAPS) -> None:
        self.disk = Disk(directory)
        self.control = ControlFile(self.disk)
        self.journal = Journal.open(self.disk, segment_bytes=64 * 1024)
        self.pinned: list[int | None] = []
        self.said: list[str] = []
        self.slots = Slots(self.disk, self.journal, self.control, retention, self.pinned.append, self._say)

    def _say(self, text: str, node: str) -> None:
        self.said.append(text)

    def append(self, count: int) -> None:
        """Journal requests of 20 KiB, three to a segment."""
        for _ in range(count):
            self.journal.append(control_request(self.journal.last, note=b"x" * 20_000))
        self.journal.sync()

    def close(self) -> None:
        """As a stopped process leaves it."""
        self.journal.close()
        self.control.close()
        self.disk.close()


def test_an_idle_stream_and_acks_within_a_segment_write_nothing(tmp_path: Path) -> None:
    """The slot is written when it is new and when a segment border is passed, not for what lies between."""

    async def scenario() -> None:
        desk = Desk(tmp_path)
        desk.append(7)
        desk.slots.stream("b", 1)
        await desk.slots.tick()
        written = desk.control.value
        desk.slots.progressed("b", 2)
        for _ in range(3):
            await desk.slots.tick()
        assert desk.control.value is written
        desk.slots.progressed("b", 5)
        await desk.slots.tick()
        assert [slot.fsynced for slot in desk.control.value.slots] == [5]
        assert desk.pinned[-1] == 6
        desk.close()

    asyncio.run(scenario())


def test_a_restart_finds_the_slots_and_a_lost_one_is_not_pinned_again(tmp_path: Path) -> None:
    """What the control file says is pinned before the first write of the next office; what is gone is not."""

    async def scenario() -> None:
        desk = Desk(tmp_path)
        desk.append(20)
        await desk.slots.pin("b", 4)
        await desk.slots.pin("c", 12)
        desk.close()
        desk = Desk(tmp_path)
        desk.slots.begin_office({"b": None, "c": None, "d": None, "e": 15})
        pinned = {node: watched.slot.fsynced for node, watched in desk.slots.watched.items()}
        assert pinned == {"b": 4, "c": 12, "d": 20, "e": 15}
        assert desk.pinned[-1] == 5
        desk.journal.forget(10)
        desk.slots.begin_office({"b": None, "c": None})
        assert desk.slots.watched["b"].slot.fsynced == 20
        desk.close()

    asyncio.run(scenario())


def test_a_pin_that_comes_while_another_is_saved_is_kept(tmp_path: Path) -> None:
    """A copy that pins lower while progress is being written is neither lost in memory nor on disk."""

    async def scenario() -> None:
        desk = Desk(tmp_path)
        desk.append(20)
        desk.slots.stream("b", 10)
        await desk.slots.tick()
        desk.slots.progressed("b", 20)
        await asyncio.gather(desk.slots.tick(), desk.slots.pin("b", 3))
        assert desk.slots.watched["b"].slot.fsynced == 3
        assert [slot.fsynced for slot in desk.control.value.slots] == [3]
        assert desk.pinned[-1] == 4
        desk.close()

    asyncio.run(scenario())


def test_a_passed_cap_is_said_once_and_ends_with_the_next_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the caps nothing is pinned, a sentence says why, and a stream makes it a slot again."""
    monkeypatch.setattr("replication.slots.KEEP_BYTES", 0)

    async def scenario() -> None:
        desk = Desk(tmp_path, Retention(300_000, 1000.0, 0))
        desk.append(3)
        desk.slots.stream("b", 3)
        desk.slots.left("b")
        assert not await desk.slots.tick()
        desk.append(20)
        assert await desk.slots.tick()
        assert not await desk.slots.tick()
        assert desk.pinned[-1] is None
        assert len(desk.said) == 1
        assert "slot_bytes_max" in desk.said[0]
        desk.slots.stream("b", 20)
        assert desk.slots.watched["b"].slot.passed is Cap.NONE
        desk.close()

    asyncio.run(scenario())


def test_absence_counts_only_seconds_in_office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ages add up over restarts from monotonic time; wall clocks and time that no master ran count for nothing."""
    clock = [100.0]
    monkeypatch.setattr("replication.threads.monotonic", lambda: clock[0])

    async def scenario() -> None:
        desk = Desk(tmp_path)
        desk.append(3)
        await desk.slots.pin("b", 3)
        clock[0] += 4000.0
        await desk.slots.tick()
        assert [slot.absent_s for slot in desk.control.value.slots] == [4000.0]
        desk.close()
        clock[0] = 7.0  # another boot
        desk = Desk(tmp_path)
        desk.slots.begin_office({"b": None})
        clock[0] += 50.0
        assert desk.slots.watched["b"].absent_s(clock[0]) == 4050.0
        desk.slots.stream("b", 3)
        await desk.slots.tick()
        assert [slot.absent_s for slot in desk.control.value.slots] == [0.0]
        desk.close()

    asyncio.run(scenario())


def test_two_copies_that_were_let_go_are_not_followed_by_a_third_at_once(tmp_path: Path) -> None:
    """The refusal names the setting; an interrupted copy does not count; after a while, or a success, it may again."""
    clock = [0.0]

    async def scenario(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("replication.threads.monotonic", lambda: clock[0])
        monkeypatch.setattr("replication.slots.KEEP_BYTES", 0)
        desk = Desk(tmp_path, Retention(300_000, 1000.0, 0))
        desk.append(3)
        for _ in range(3):
            await desk.slots.pin("b", desk.journal.last.sequence)
            assert desk.slots.refusal("b") == ""
        for again in (1, 2):
            desk.append(20)
            assert await desk.slots.tick()
            assert desk.slots.watched["b"].lost_copies == again
            if again == 1:
                assert desk.slots.refusal("b") == ""
                await desk.slots.pin("b", desk.journal.last.sequence)
        assert "slot_bytes_max" in desk.slots.refusal("b")
        clock[0] += COPY_AGAIN_S
        assert desk.slots.refusal("b") == ""
        desk.slots.stream("b", desk.journal.last.sequence)
        await desk.slots.tick()
        assert desk.slots.watched["b"].lost_copies == 0
        desk.close()

    with pytest.MonkeyPatch.context() as patch:
        asyncio.run(scenario(patch))
