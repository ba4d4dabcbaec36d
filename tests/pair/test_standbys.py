"""Slow, stalled and flapping standbys between whole nodes: bounded memory, no copy, and words for people."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from replication.core.types import Mode, SlotState, State
from replication.errors import OutcomeUnknown, Unavailable
from replication.files import Disk
from replication.receiver import Receiver
from replication.redo import Applier
from tests.pair.pair import A, B, Pair

SIZE = 100_000


class HangingDisk(Disk):
    """A disk whose journal takes no fsync while `answers` is not set; everything else of the process lives."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.answers = threading.Event()
        self.answers.set()

    def begin(self, operation: str, name: str) -> None:
        """An fsync of the journal waits until the disk answers."""
        if operation == "sync" and name.startswith("journal"):
            self.answers.wait(60.0)


@pytest.fixture
async def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    """A strict pair: nobody goes on alone meanwhile."""
    for module in ("writer", "slots", "redo"):
        monkeypatch.setattr(f"replication.{module}.KEEP_BYTES", 0)
    monkeypatch.setattr("replication.serving.WATCH_S", 0.02)
    made = Pair(tmp_path)
    made.more = {"segment_bytes": 256 * 1024, "mode": Mode.STRICT}
    yield made
    for disk in made.disks.values():
        if isinstance(disk, HangingDisk):
            disk.answers.set()
    await made.close()


def copies(pair: Pair) -> int:
    """How often a standby was told to copy."""
    return sum("decided compare" in text for text in pair.said)


def receiver(pair: Pair, name: str) -> Receiver:
    """The stream at a standby."""
    following = pair.nodes[name].following
    assert following is not None
    assert following.receiver is not None
    return following.receiver


async def write_while_refused(pair: Pair, text: str) -> list[asyncio.Future[int]]:
    """Begin writes until the master refuses further ones; returns those that wait."""
    waiting: list[asyncio.Future[int]] = []
    while True:
        write = asyncio.ensure_future(pair.books[A].write(text))
        done, _ = await asyncio.wait([write], timeout=0.05)
        if done and isinstance(write.exception(), Unavailable):
            return waiting
        waiting.append(write)


async def test_a_standby_whose_disk_hangs_is_told_from_one_that_is_dead(pair: Pair, tmp_path: Path) -> None:
    """Heartbeats go on and count for nothing: new writes are refused within a second or so, the status names the disk,
    and when it answers again the standby goes on without a copy."""
    disk = HangingDisk(tmp_path / "b")
    pair.disks[B] = disk
    await pair.found()
    await pair.books[A].write("before")
    copied = copies(pair)
    disk.answers.clear()
    waiting = await write_while_refused(pair, "x" * SIZE)
    assert waiting
    await pair.until(lambda: "its disk does not" in pair.nodes[A].status().waiting_for)
    assert "understudy go-alone" in pair.nodes[A].status().waiting_for
    (slot,) = pair.nodes[A].status().slots
    assert slot.state is SlotState.STALLED
    assert pair.nodes[A].machine.connected(B)
    assert pair.nodes[B].machine.state is State.IN_SYNC
    disk.answers.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, int | OutcomeUnknown) for result in results)
    await pair.books[A].write("after")
    await pair.settle()
    assert copies(pair) == copied
    (slot,) = pair.nodes[A].status().slots
    assert slot.state is SlotState.STREAMING


@pytest.mark.parametrize("heeds_credit", [True, False])
async def test_what_arrives_while_the_disk_hangs_is_bounded(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heeds_credit: bool
) -> None:
    """Neither side holds more than the credit: the master keeps the rest on disk and sends it from there. A standby
    does not depend on its master for that: it stops reading."""
    for name in ("replication.receiver.CREDIT_BYTES", "replication.sender.WINDOW_BYTES"):
        monkeypatch.setattr(name, 1_000_000)
    disk = HangingDisk(tmp_path / "b")
    pair.disks[B] = disk
    await pair.found()
    copied = copies(pair)
    sender = pair.nodes[A].serving.followers[B].sender
    if not heeds_credit:
        sender._credit = 1 << 40
        monkeypatch.setattr(sender, "acknowledged", lambda ack: None)
    pair.nodes[A].office.require(frozenset())  # type: ignore[union-attr]  # in office; writes go on without B
    disk.answers.clear()
    for _ in range(60):
        await pair.books[A].write("x" * SIZE)
    held = receiver(pair, B)
    assert 0 < held._unsynced_bytes <= 1_000_000 + (1 << 20) + SIZE
    assert sender._outstanding_bytes <= 1_000_000 + (1 << 20) + SIZE or not heeds_credit
    assert pair.nodes[A].office.window._bytes <= 1_000_000 + SIZE  # type: ignore[union-attr]  # in office
    disk.answers.set()
    await pair.settle()
    assert len(await pair.lines(B)) == 60
    assert copies(pair) == copied


async def test_what_cannot_be_applied_yet_waits_on_disk(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """With apply held the standby still acknowledges; its memory stays bounded and it reads its own journal after."""
    monkeypatch.setattr("replication.unapplied.MEMORY_BYTES", 500_000)
    await pair.found()
    go_on = threading.Event()
    apply = Applier.apply

    def held(applier: Applier, encoded: object, upto: int) -> int:
        if applier.disk.root.name == "b":
            go_on.wait(60.0)
        return apply(applier, encoded, upto)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(Applier, "apply", held)
    for _ in range(40):
        await pair.books[A].write("x" * SIZE)
    assert receiver(pair, B)._unapplied.bytes <= 500_000
    assert pair.nodes[B].status().applied_sequence < pair.nodes[B].journal.synced - 30
    go_on.set()
    await pair.settle()
    assert len(await pair.lines(B)) == 40


async def test_a_flapping_link_makes_progress_and_never_copies(pair: Pair) -> None:
    """Each return resumes the stream where it was; the control file is not written at each flap."""
    await pair.found()
    copied, lost = copies(pair), 0
    writes = [asyncio.ensure_future(pair.books[A].write(f"{n}" + "x" * SIZE)) for n in range(30)]
    before = pair.nodes[A].control._counter
    for _ in range(8):
        await asyncio.sleep(0.05)
        await pair.network.cut()
        pair.network.heal()
        lost += 1
    written = pair.nodes[A].control._counter - before
    await asyncio.gather(*writes, return_exceptions=True)
    await pair.until(lambda: pair.is_standing_by(B) and pair.nodes[A].status().in_sync)
    await pair.settle()
    assert len(await pair.lines(B)) == 30
    assert copies(pair) == copied
    assert written <= 4 * lost
