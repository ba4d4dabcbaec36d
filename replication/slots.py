"""The slots of a node in office: how far each standby's disk is, durably, and from where on the journal is kept.

A slot is written when a segment border is passed, when its standby has been gone for a while, and each hour of absence;
never for an ACK, so an idle pair writes nothing. A slot that is behind the truth only keeps more of the journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import msgspec

from replication import threads
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
from replication.core.types import NodeId, Retention, SlotState, SlotStatus
from replication.files import Disk
from replication.journal import Journal
from replication.writer import KEEP_BYTES

SETTLED_S = 10.0
ABSENCE_STEP_S = 3600.0
COPIES_MAX = 2
COPY_AGAIN_S = 600.0


@dataclass(slots=True)
class Watched:
    """A durable slot and what is known beyond it. `gone_at` is monotonic: since when it has no stream, or None.

    `copies`: the pin is that of a copy; `lost_copies` in a row were of no use, because their pin had to be let go.
    """

    slot: Slot
    fsynced: int
    gone_at: float | None = None
    copies: bool = False
    lost_copies: int = 0
    lost_at: float = 0.0

    def absent_s(self, now: float) -> float:
        """Seconds in office without it, those before this start included."""
        return self.slot.absent_s + (now - self.gone_at if self.gone_at is not None else 0.0)


class Slots:
    """Event loop only; saving runs in a thread. `keep` is called with the lowest sequence to keep, or None.

    `log` is a sentence for people about a node.
    """

    def __init__(
        self,
        disk: Disk,
        journal: Journal,
        control: ControlFile,
        retention: Retention,
        keep: Callable[[int | None], None],
        log: Callable[[str, NodeId], None],
    ) -> None:
        self._disk = disk
        self._journal = journal
        self._control = control
        self.retention = retention
        self._keep = keep
        self._log = log
        self._saving = asyncio.Lock()
        now = threads.monotonic()
        self.watched = {slot.node: Watched(slot, slot.fsynced, now) for slot in control.value.slots}

    def begin_office(self, peers: Mapping[NodeId, int | None]) -> None:
        """Pin for every node of the roster before anything is written: at what it was last heard to hold, if that is
        known, else at its old slot, if the journal still reaches there, else at the journal's end."""
        now, last = threads.monotonic(), self._journal.last.sequence
        for node, heard in peers.items():
            old = self.watched.get(node)
            usable = old is not None and not is_lost(old.slot, self._journal.first_sequence)
            if heard is not None:
                fsynced = min(heard, last)
            elif usable and old is not None:
                fsynced = min(old.slot.fsynced, last)
            else:
                fsynced = last
            absent_s = old.slot.absent_s if old is not None and usable else 0.0
            slot = Slot(node, fsynced, since_us=threads.utc_us(), absent_s=absent_s)
            self.watched[node] = Watched(slot, fsynced, now)
        self._keep_from()

    def stream(self, node: NodeId, last: int) -> None:
        """A stream begins behind request `last`: whatever the slot had passed, it holds again."""
        watched = self._known(node, last)
        watched.gone_at, watched.copies = None, False
        watched.fsynced = last
        old = watched.slot
        usable = not old.passed and not is_lost(old, self._journal.first_sequence)
        fsynced = min(old.fsynced, last) if usable else last
        watched.slot = msgspec.structs.replace(old, fsynced=fsynced, passed=Cap.NONE)
        self._keep_from()

    def progressed(self, node: NodeId, fsynced: int) -> None:
        """Its disk holds everything up to `fsynced`."""
        watched = self.watched.get(node)
        if watched is not None:
            watched.fsynced = max(watched.fsynced, fsynced)

    def left(self, node: NodeId) -> None:
        """Its stream ended."""
        watched = self.watched.get(node)
        if watched is not None and watched.gone_at is None:
            watched.gone_at = threads.monotonic()

    async def pin(self, node: NodeId, sequence: int) -> None:
        """Keep everything behind `sequence`, durably, for a copy that begins there."""
        watched = self._known(node, sequence)
        watched.fsynced = sequence
        watched.slot = msgspec.structs.replace(watched.slot, fsynced=sequence, absent_s=0.0, passed=Cap.NONE)
        watched.gone_at = threads.monotonic()
        watched.copies = True
        self._keep_from()
        await self._save([watched.slot])

    def refusal(self, node: NodeId) -> str:
        """Why no further copy for this node is begun now; "" when one may: two were of no use, so a third would be."""
        watched = self.watched.get(node)
        if watched is None or watched.lost_copies < COPIES_MAX:
            return ""
        wait_s = COPY_AGAIN_S - (threads.monotonic() - watched.lost_at)
        if wait_s <= 0:
            return ""
        return _REFUSED.format(cap=_CAPS[watched.slot.passed or Cap.BYTES], minutes=int(wait_s / 60) + 1)

    def was_let_go(self, node: NodeId) -> bool:
        """The pin of this node has passed a cap: a copy from it would be of no use."""
        return node in self.watched and bool(self.watched[node].slot.passed)

    def retain(self, nodes: Iterable[NodeId]) -> None:
        """Forget the slots of nodes that are no longer in the roster; durable with the next tick."""
        for node in self.watched.keys() - set(nodes):
            del self.watched[node]
            self._keep_from()

    async def tick(self) -> bool:
        """Each second: make durable what is due, let go of what has passed a cap. True when something was let go."""
        now, free_bytes = threads.monotonic(), await asyncio.to_thread(self._disk.free_bytes)
        due: list[Slot] = []
        let_go = False
        for node, watched in list(self.watched.items()):
            absent_s = watched.absent_s(now)
            pinned_bytes = self._journal.kept_bytes(watched.slot.fsynced)
            passed = passed_cap(self.retention, pinned_bytes, KEEP_BYTES, absent_s, free_bytes)
            if passed and not watched.slot.passed:
                self._log(_PASSED.format(mebibytes=pinned_bytes >> 20, cap=_CAPS[passed]), node)
                let_go = True
                self._count_lost_copy(watched, now)
            elif watched.slot.passed and (watched.gone_at is not None or passed):
                passed = watched.slot.passed
            elif watched.gone_at is None and pinned_bytes <= KEEP_BYTES:
                watched.lost_copies = 0
            if passed != watched.slot.passed or self._is_due(watched, now):
                due.append(self._newest(watched, absent_s, passed))
        if due or len(self._control.value.slots) != len(self.watched):
            await self._save(due)
            self._keep_from()
        return let_go

    async def save_all(self) -> None:
        """At a clean stop: what is known, if it is more than what is durable."""
        now = threads.monotonic()
        behind = [each for each in self.watched.values() if each.fsynced != each.slot.fsynced]
        if behind:
            await self._save([self._newest(each, each.absent_s(now), each.slot.passed) for each in behind])

    def statuses(self, sight: Callable[[NodeId], Sight]) -> tuple[SlotStatus, ...]:
        """Every slot for people; `sight` is what is seen of its standby."""
        now, first = threads.monotonic(), self._journal.first_sequence
        return tuple(self._status(watched, sight(node), now, first) for node, watched in sorted(self.watched.items()))

    def _status(self, watched: Watched, sight: Sight, now: float, first: int) -> SlotStatus:
        slot = watched.slot
        state = slot_state(slot, first, sight)
        pinned = not slot.passed and state is not SlotState.LOST
        return SlotStatus(
            node=slot.node,
            state=state,
            fsynced=watched.fsynced,
            pinned_bytes=self._journal.kept_bytes(slot.fsynced) if pinned else 0,
            seconds=sight.lag_s if sight.connected else watched.absent_s(now),
            text=slot_sentence(slot, state, sight),
            seen_us=slot.seen_us,
        )

    def _count_lost_copy(self, watched: Watched, now: float) -> None:
        if watched.copies:
            watched.lost_copies, watched.lost_at = watched.lost_copies + 1, now

    def _is_due(self, watched: Watched, now: float) -> bool:
        slot = watched.slot
        if slot not in self._control.value.slots:
            return True
        if watched.gone_at is None:
            passed_border = self._journal.kept_bytes(slot.fsynced) != self._journal.kept_bytes(watched.fsynced)
            return passed_border or slot.absent_s > 0
        gone_s = now - watched.gone_at
        return (gone_s > SETTLED_S and watched.fsynced > slot.fsynced) or gone_s > ABSENCE_STEP_S

    def _newest(self, watched: Watched, absent_s: float, passed: Cap) -> Slot:
        """The slot as it is to be durable now."""
        connected = watched.gone_at is None
        return msgspec.structs.replace(
            watched.slot,
            fsynced=max(watched.slot.fsynced, watched.fsynced),
            seen_us=threads.utc_us() if connected or watched.fsynced > watched.slot.fsynced else watched.slot.seen_us,
            absent_s=0.0 if connected else absent_s,
            passed=passed,
        )

    async def _save(self, slots: list[Slot]) -> None:
        """Make these durable beside the others. Only then they are what the journal is kept for."""
        async with self._saving:
            now, before = threads.monotonic(), {node: watched.slot for node, watched in self.watched.items()}
            newest = before | {slot.node: slot for slot in slots if slot.node in before}
            await threads.finished(self._control.update, slots=tuple(newest.values()))
            for node, watched in self.watched.items():
                if node in newest and watched.slot is before[node]:  # else it was pinned lower meanwhile
                    if newest[node].absent_s > watched.slot.absent_s and watched.gone_at is not None:
                        watched.gone_at = now
                    watched.slot = newest[node]

    def _known(self, node: NodeId, fsynced: int) -> Watched:
        if node not in self.watched:
            slot = Slot(node, fsynced, since_us=threads.utc_us())
            self.watched[node] = Watched(slot, fsynced, threads.monotonic())
        return self.watched[node]

    def _keep_from(self) -> None:
        self._keep(lowest_pinned(watched.slot for watched in self.watched.values()))


_PASSED = (
    "The journal is no longer kept for it: {mebibytes} MiB were pinned, and {cap}. "
    "When it is back it copies what differs, unless it is back very soon."
)
_REFUSED = (
    "The master begins no further copy for this node: two were of no use, because while they ran the journal grew past "
    "what it may keep ({cap}). On the master raise that in understudy.toml, or free disk space, and start it again: "
    "understudy serve. Otherwise it tries again in {minutes} min."
)
_CAPS = {
    Cap.BYTES: "slot_bytes_max allows no more",
    Cap.AGE: "it has been away for longer than slot_age_max_s",
    Cap.DISK: "less than journal_free_bytes_min is free on the disk",
}
