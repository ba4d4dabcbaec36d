"""What people are told when the pair changes."""

from __future__ import annotations

from dataclasses import replace

from replication.core.types import SlotState, SlotStatus, State
from server.core.notices import notices
from server.core.swap_plan import check
from server.web.pages.pair import verdict
from server.web.states import STANDBY_ACTIVE, STANDBY_DAMAGED
from tests.storybook.fixture import STANDBY, peer, status

NAMES = {STANDBY: "south"}


def texts(before: object, now: object) -> list[str]:
    """The notices' texts."""
    return [notice.text for notice in notices(before, now, NAMES)]  # type: ignore[arg-type]  # statuses of the helper


def test_a_master_that_goes_on_alone_says_so_once_and_when_it_is_over() -> None:
    """An alarm names what to do; while it lasts nothing more is said; its end is said."""
    whole = status(standby_enrolled=True)
    alone = replace(whole, state=State.ALONE, in_sync=False, alone_since=5.0)
    assert "master-to-standby" in texts(whole, alone)[0]
    assert texts(alone, alone) == []
    assert "counts on a standby again" in texts(alone, whole)[0]
    assert texts(None, alone)[0] == texts(whole, alone)[0]
    assert texts(None, replace(alone, standby_enrolled=False)) == []


def test_a_slot_that_is_lost_is_said_by_name() -> None:
    """Once, with what the slot says of it."""
    slot = SlotStatus(STANDBY, SlotState.BEHIND, 1, 0, 1.0, "It is behind.")
    lost = replace(slot, state=SlotState.LOST, text="It was away too long: a copy brings it back.")
    before, now = status(slots=(slot,)), status(slots=(lost,))
    assert texts(before, now) == ["The journal keeps nothing for south any more. " + lost.text]
    assert texts(now, now) == []


def test_damage_is_an_alarm_a_red_badge_and_no_safe_swap() -> None:
    """A standby whose own reading found damage: told once, not green, not safe; whole again, all is well."""
    whole = peer(proof_at_us=1, proof_text="All 3 pages are right.")
    damaged = peer(proof_at_us=2, proof_is_whole=False, proof_text="Page 2 is not what was written.")
    before, now = status(peers=(whole,)), status(peers=(damaged,))
    assert texts(before, now) == ["south read its files and found damage. Page 2 is not what was written."]
    assert texts(now, now) == []
    assert verdict(now) is STANDBY_DAMAGED
    assert verdict(before) is STANDBY_ACTIVE
    found = check(now, damaged, "south", [])
    assert not found.safe
    assert any("damaged" in text for text in found.refusals)
    assert check(before, whole, "south", []).safe
