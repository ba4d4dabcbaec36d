"""Slots: from where on the journal is kept for each standby, and when a standby has used up what may be kept. Pure.

A slot never costs the master its disk: beyond the caps it pins nothing any more. It is *lost* once the journal has
dropped what its standby needs next; then only COMPARE brings that standby back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from replication.core.types import NodeId, Retention, SlotState

STALLED_S = 3.0
BEHIND_S = 1.0


class Cap(StrEnum):
    """Which bound a slot has passed; it pins nothing until its standby streams again."""

    NONE = ""
    BYTES = "bytes"
    AGE = "age"
    DISK = "disk"


class Slot(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a master remembers durably of one standby. Fields are only ever appended.

    `fsynced` is the last request that is certainly durable there: everything behind it is kept. `absent_s` counts
    seconds of monotonic time that this node was in office without it, added up over restarts: while no master runs the
    journal does not grow. `since_us` and `seen_us` are wall clock, for people only.
    """

    node: NodeId
    fsynced: int
    since_us: int = 0
    seen_us: int = 0
    absent_s: float = 0.0
    passed: Cap = Cap.NONE


def passed_cap(retention: Retention, pinned_bytes: int, spare_bytes: int, absent_s: float, free_bytes: int) -> Cap:
    """Which cap a slot has passed that pins `pinned_bytes` of the journal; none within what is kept for nobody."""
    if pinned_bytes <= spare_bytes:
        return Cap.NONE
    if pinned_bytes > retention.slot_bytes_max:
        return Cap.BYTES
    if free_bytes < retention.journal_free_bytes_min:
        return Cap.DISK
    return Cap.AGE if absent_s > retention.slot_age_max_s else Cap.NONE


def lowest_pinned(slots: Iterable[Slot]) -> int | None:
    """The lowest sequence that a slot within its caps still needs; None when nobody needs anything."""
    return min((slot.fsynced + 1 for slot in slots if not slot.passed), default=None)


def is_lost(slot: Slot, first: int) -> bool:
    """Whether the journal, which begins at request `first`, no longer has what comes next for this standby."""
    return slot.fsynced + 1 < first


@dataclass(frozen=True, slots=True)
class Sight:
    """What the master sees of a slot's standby. `idle_s`: since it last made progress while something was due there;
    `silent_s`: since it last said anything on its stream."""

    connected: bool = False
    copying: bool = False
    lag_s: float = 0.0
    idle_s: float = 0.0
    silent_s: float = 0.0


def slot_state(slot: Slot, first: int, sight: Sight) -> SlotState:
    """The word for people; what is worst wins."""
    if sight.copying:
        return SlotState.COPYING
    if is_lost(slot, first):
        return SlotState.LOST
    if not sight.connected:
        return SlotState.ABSENT
    if max(sight.idle_s, sight.silent_s) >= STALLED_S:
        return SlotState.STALLED
    return SlotState.BEHIND if sight.lag_s >= BEHIND_S else SlotState.STREAMING


_WHY = {
    Cap.NONE: "The journal no longer reaches back to where it stands.",
    Cap.BYTES: "It needed more of the journal than is kept for one standby (slot_bytes_max in understudy.toml).",
    Cap.AGE: "It was away for longer than the journal is kept for it (slot_age_max_s in understudy.toml).",
    Cap.DISK: (
        "Keeping more of the journal would have left too little free disk (journal_free_bytes_min in understudy.toml)."
    ),
}


def slot_sentence(slot: Slot, state: SlotState, sight: Sight) -> str:
    """One or two sentences for people: what it means, and what comes next."""
    match state:
        case SlotState.LOST:
            return f"{_WHY[slot.passed]} When it is back it copies what differs; nothing has to be typed."
        case SlotState.ABSENT if slot.passed:
            return f"{_WHY[slot.passed]} The journal is no longer kept for it."
        case SlotState.ABSENT:
            return "The journal is kept for it: when it is back it goes on without a copy."
        case SlotState.STALLED if sight.silent_s >= STALLED_S:
            return f"Its link is open, but nothing was heard of it for {sight.silent_s:.0f} s. Look at its machine."
        case SlotState.STALLED:
            return (
                "It answers, but its disk does not: nothing became durable there for "
                f"{sight.idle_s:.0f} s. Look at its disk."
            )
        case SlotState.COPYING:
            return "It copies; the journal is kept from where the copy began."
        case SlotState.BEHIND:
            return "It catches up from the journal on disk."
    return "It keeps up."
