"""The role machine step by step: each hole that was found once, as the shortest story that shows it."""

from __future__ import annotations

from typing import Any

import pytest

from replication.core import effects, events
from replication.core.machine import TICK_S
from replication.core.messages import Grant, Refuse
from replication.core.types import NO_EPOCH, Epoch, State
from replication.core.witness import (
    Claim,
    WitnessAnswer,
    WitnessRecord,
    WitnessVerdict,
    combine,
    decide_alone,
    decide_claim,
)
from tests.unit.role_world import A, B, epoch, found, hello, machine, place, step

MASTER: dict[str, Any] = {"office": epoch(5), "seen": epoch(5), "standby": B}


def test_an_answer_of_cleared_does_not_let_a_master_go_alone() -> None:
    """Invariant 12: "nobody writes alone", recorded late, is no leave to write alone, although office and epoch fit."""
    it = machine(State.ALONE, is_open=True, **MASTER)
    for now in (100.0, 102.0):
        step(it, events.StandbyProgressed(B, 7, 7, 0, 0.0), place(5, 7), now)
    assert it.state is State.MASTER
    cleared = found(step(it, events.Ticked(), place(5, 7), 102.1, confirmed=7), effects.RecordAlone)[0]
    asked = found(step(it, events.GoAloneRequested(1, b""), place(5, 7)), effects.RecordAlone)[0]
    step(it, events.AloneRecorded(cleared.epoch, cleared.alone, cleared.counter, True), place(5, 7))
    assert list(it.memory.in_sync) == [B]
    step(it, events.AloneRecorded(asked.epoch, asked.alone, asked.counter, True), place(5, 7))
    assert list(it.memory.in_sync) == []


def test_a_standby_counts_itself_in_only_with_all_that_was_acknowledged_without_it() -> None:
    """Invariant 12: the master counts on it from request 10 on, but 9 and 10 were acknowledged alone and not here."""
    it = machine(State.SYNCING, B)
    said = events.PeerHeard(A, hello(A, state=State.MASTER, epoch=epoch(5), commit=10, in_sync=[B]))
    step(it, said, place(5, 8))
    assert (it.state, it.memory.enlisted) == (State.SYNCING, False)
    step(it, said, place(5, 10), synced=9)
    assert it.state is State.SYNCING, "10 is not fsynced here"
    step(it, said, place(5, 10))
    assert (it.state, it.memory.enlisted) == (State.IN_SYNC, True)


def test_a_standby_that_is_told_too_early_counts_itself_in_when_it_holds_everything() -> None:
    """The word comes while requests are under way: the next tick that finds them fsynced is enough, no other word."""
    it = machine(State.SYNCING, B)
    said = hello(A, state=State.MASTER, epoch=epoch(1), commit=10, in_sync=[B])
    step(it, events.PeerHeard(A, said), place(1, 9))
    step(it, events.Ticked(), place(1, 9), now=100.25)
    assert it.state is State.SYNCING
    step(it, events.Ticked(), place(1, 10), now=100.5)
    assert it.state is State.IN_SYNC
    assert it.memory.enlisted


def test_witnesses_keep_apart_who_heard_last_across_a_failed_promotion() -> None:
    """Three witnesses: the one that missed "alone" must not outweigh those that heard it, after an earlier grant."""
    records = [decide_alone(WitnessRecord(), epoch(5), "", 2)[0] for _ in range(3)]
    records[1:] = [decide_alone(record, epoch(5), A, 3)[0] for record in records[1:]]

    def ask(number: int, who: list[int]) -> WitnessVerdict:
        answers: list[WitnessAnswer] = []
        for index in who:
            records[index], answer = decide_claim(records[index], Claim(epoch(number, B), epoch(5), 0))
            answers.append(answer)
        return combine(answers, 3)

    assert ask(6, [1, 2]).alone == A
    assert ask(7, [0, 1]).alone == A


def test_a_late_word_of_an_earlier_counter_changes_nothing() -> None:
    """A witness refuses what was said before what it already holds, also after it granted a later number."""
    record, _ = decide_alone(WitnessRecord(), epoch(5), A, 4)
    assert decide_alone(record, epoch(5), "", 3) == (record, False)
    granted, _ = decide_claim(record, Claim(epoch(6, B), epoch(5), 0))
    assert decide_alone(granted, epoch(5), "", 9) == (granted, False)
    assert decide_alone(granted, epoch(6, B), B, 1)[1]


def test_ticks_come_however_many_other_events_there_are() -> None:
    """A steady stream of reports, each sooner than a tick, does not put the next tick off."""
    it = machine(State.MASTER, is_open=True, in_sync=(B,), **MASTER)
    step(it, events.Ticked(), place(5, 7), 100.0)
    for now in (100.1, 100.2, 100.3):
        step(it, events.StandbyProgressed(B, 7, 7, 0, 0.0), place(5, 7), now)
    assert it.next_deadline(100.3) == 100.0 + TICK_S


def test_an_epoch_that_began_at_the_standby_only_is_fetched() -> None:
    """Invariant 14: the EPOCH request reached the standby and not our disk; its tail is fetched, not cut."""
    it = machine(State.RESUMING, in_sync=(B,), **MASTER)
    claim = found(step(it, events.PeerHeard(B, hello(epoch=epoch(5))), place(4, 9)), effects.Send)[0].message
    answered = step(it, events.GrantReceived(B, claim.epoch, place(5, 10)), place(4, 9))
    assert found(answered, effects.FetchTail)
    assert it.state is State.RESUMING


def test_a_claim_is_repeated_with_its_number_while_the_standby_only_repeats_it() -> None:
    """The number that the standby granted us, heard back in its heartbeat, is no reason for a higher one."""
    it = machine(State.RESUMING, in_sync=(B,), **MASTER)
    first = found(step(it, events.PeerHeard(B, hello(epoch=epoch(5))), place(5, 9)), effects.Send)[0].message
    echo = events.PeerHeard(B, hello(epoch=epoch(5), seen=first.epoch))
    again = found(step(it, echo, place(5, 9), 110.0), effects.Send)[0].message
    assert again.epoch == first.epoch
    other = events.PeerHeard(B, hello(epoch=epoch(5), seen=epoch(first.epoch.number, B)))
    assert found(step(it, other, place(5, 9), 120.0), effects.Send)[0].message.epoch.number == first.epoch.number + 1


def test_go_alone_passes_a_number_claimed_before_a_restart() -> None:
    """The witness granted us 8, we crashed and forgot: 6 is refused, and the next question is above 8."""
    it = machine(State.RESUMING, in_sync=(B,), **MASTER)
    asked = found(step(it, events.GoAloneRequested(1, b""), place(5, 9)), effects.AskWitnesses)[0].claim
    refused = WitnessVerdict(asked=1, answered=1, granted=0, highest=epoch(8))
    again = found(step(it, events.WitnessesAnswered(asked, refused), place(5, 9)), effects.AskWitnesses)
    assert again[0].claim.epoch == epoch(9)


def test_a_wish_to_go_alone_survives_standing_down_with_a_real_number() -> None:
    """A master that reopens while go-alone waits asks the witnesses for its next number, never for number 0."""
    it = machine(State.MASTER, is_open=True, in_sync=(B,), **MASTER)
    step(it, events.GoAloneRequested(1, b""), place(5, 9))
    step(it, events.PeerHeard(B, hello(epoch=epoch(5), seen=epoch(7, B))), place(5, 9))
    assert it.state is State.RESUMING
    asked = found(step(it, events.Ticked(), place(5, 9), 200.0), effects.AskWitnesses)
    assert asked[0].claim.epoch == epoch(8)


def test_an_aborted_handoff_is_not_taken_for_the_next_one() -> None:
    """The HANDOFF of a hand-off that was aborted, reported late, is not what the second one waits for."""
    it = machine(State.MASTER, is_open=True, in_sync=(B,), **MASTER)
    step(it, events.PeerHeard(B, hello(epoch=epoch(5), in_sync=[B])), place(5, 9))
    first = found(step(it, events.SwapRequested(1, B, 9.0, b""), place(5, 9)), effects.HandOff)[0]
    step(it, events.SwapAbortRequested(2), place(5, 9))
    second = found(step(it, events.SwapRequested(3, B, 9.0, b""), place(5, 9)), effects.HandOff)[0]
    assert second.epoch > first.epoch
    step(it, events.HandoffAppended(first.epoch, place(5, 10), 77), place(5, 10))
    step(it, events.StandbyProgressed(B, 10, 10, 77, 0.0), place(5, 10))
    assert it.state is State.HANDING_OFF
    step(it, events.HandoffAppended(second.epoch, place(5, 12), 77), place(5, 12))
    step(it, events.StandbyProgressed(B, 12, 12, 77, 0.0), place(5, 12))
    assert (it.state, it.memory.token, it.memory.token_last.sequence) == (State.DEMOTED, second.epoch, 12)


def test_a_token_is_forgotten_by_a_standby_that_streams_already() -> None:
    """The confirmation comes after the stream began: the token is not sent for ever."""
    it = machine(State.SYNCING, token=epoch(6, B), token_last=place(5, 9), office=epoch(5))
    step(it, events.TokenTaken(B, epoch(6, B)), place(6, 11, B))
    assert it.memory.token == NO_EPOCH


def test_office_ends_an_own_token() -> None:
    """Who takes office after giving it away forgets the token: it would name an epoch below its own."""
    it = machine(State.PROMOTING, token=epoch(6, B), token_last=place(5, 9), office=epoch(5))
    it.pending.claim = epoch(7)
    step(it, events.AloneRecorded(epoch(7), A, 1, True), place(5, 9))
    assert (it.state, it.memory.token) == (State.ALONE, NO_EPOCH)


def test_one_number_at_two_nodes_ends_with_the_next_number() -> None:
    """Invariant 9: the higher pair meets the lower one of its own number and asks for the next number."""
    it = machine(State.ALONE, B, is_open=True, office=epoch(6, B), seen=epoch(6, B), standby=A)
    step(it, events.PeerHeard(A, hello(A, state=State.SYNCING, epoch=epoch(6), seen=epoch(6))), place(6, 9, B))
    assert it.state is State.RESUMING
    sent = step(it, events.PeerHeard(A, hello(A, state=State.SYNCING, epoch=epoch(6), seen=epoch(6))), place(6, 9, B))
    assert found(sent, effects.Send)[0].message.epoch == epoch(7, B)


def test_a_resumed_master_tells_the_witnesses_that_the_pair_is_whole() -> None:
    """An earlier "alone" that was never cleared does not make the next promotion look lossy for ever."""
    it = machine(State.RESUMING, in_sync=(B,), alone_counter=3, **MASTER)
    claim = found(step(it, events.PeerHeard(B, hello(epoch=epoch(5))), place(5, 9)), effects.Send)[0].message
    step(it, events.GrantReceived(B, claim.epoch, place(5, 9)), place(5, 9))
    told = found(step(it, events.Ticked(), place(6, 10), confirmed=10), effects.RecordAlone)
    assert (it.state, told[0].epoch, told[0].alone, told[0].counter) == (State.MASTER, claim.epoch, "", 4)


def test_alone_since_is_shown_from_the_moment_it_began() -> None:
    """BEY-6: people see since when writes are acknowledged by one node."""
    it = machine(State.MASTER, is_open=True, in_sync=(B,), **MASTER)
    asked = found(step(it, events.GoAloneRequested(1, b""), place(5, 9)), effects.RecordAlone)[0]
    step(it, events.AloneRecorded(asked.epoch, asked.alone, asked.counter, True), place(5, 9), utc_us=1234)
    assert (it.state, it.memory.alone_since_utc_us) == (State.ALONE, 1234)


def test_an_empty_roster_at_start_does_not_forget_the_standby() -> None:
    """Restart, case 4: a node that had a standby never takes office unasked because its roster was not read yet."""
    it = machine(State.MASTER, in_sync=(B,), **MASTER)
    step(it, events.Started(), place(5, 9))
    step(it, events.PeersChanged(()), place(5, 9))
    again = machine(it.state, **{**MASTER, "standby": it.memory.standby})
    step(again, events.Started(), place(5, 9))
    assert again.state is State.RESUMING


def test_a_removed_standby_is_forgotten_by_an_open_office() -> None:
    """The operator removed it while it was not counted on: the next restart asks nobody."""
    it = machine(State.ALONE, is_open=True, **MASTER)
    step(it, events.PeersChanged(()), place(5, 9))
    again = machine(it.state, **{**MASTER, "standby": it.memory.standby})
    step(again, events.Started(), place(5, 9))
    assert again.state is State.ALONE


def test_an_old_master_acknowledges_nothing_while_its_store_still_closes() -> None:
    """It heard the claim of a promotion and closes; it hears the new office: what the peer lacks stays unanswered."""
    it = machine(State.MASTER, is_open=True, in_sync=(B,), **MASTER)
    closing = step(it, events.PeerHeard(B, hello(B, epoch=epoch(5), seen=epoch(6, B))), place(5, 7))
    assert it.state is State.RESUMING
    assert found(closing, effects.CloseOffice)
    stood_down = step(it, events.PeerHeard(B, hello(B, state=State.ALONE, epoch=epoch(6, B))), place(5, 7))
    assert it.state is State.DEMOTED
    assert [effect.nodes for effect in found(stood_down, effects.RequireAcks)] == [frozenset({B})]


def test_a_standby_that_was_counted_on_is_asked_after_a_restart_whatever_the_roster_said() -> None:
    """It may have been promoted meanwhile: the restarted master does not take office by itself."""
    it = machine(State.ALONE, is_open=True, office=epoch(5), seen=epoch(5))
    for now in (100.0, 102.0):
        step(it, events.StandbyProgressed(B, 7, 7, 0, 0.0), place(5, 7), now)
    assert it.state is State.MASTER
    again = machine(State.MASTER, office=it.memory.office, in_sync=it.memory.in_sync, standby=it.memory.standby)
    assert not found(step(again, events.Started(), place(5, 7)), effects.OpenOffice)
    assert again.state is State.RESUMING


def test_an_office_that_no_witness_recorded_rests_on_the_operators_word_whatever_was_granted_before() -> None:
    """go-alone was granted and not recorded; asked again with the flag, the silence is enough, remembered and told."""
    it = machine(State.RESUMING, in_sync=(B,), **MASTER)
    asked = found(step(it, events.GoAloneRequested(1, b""), place(5, 7)), effects.AskWitnesses)[0]
    granted = WitnessVerdict(asked=1, answered=1, granted=1, highest=epoch(5))
    record = found(step(it, events.WitnessesAnswered(asked.claim, granted), place(5, 7)), effects.RecordAlone)[0]
    step(it, events.GoAloneRequested(2, b"", True), place(5, 7))
    silent = events.AloneRecorded(record.epoch, record.alone, record.counter, False)
    taken = step(it, silent, place(5, 7))
    assert it.state is State.ALONE
    assert it.memory.leave
    assert "No majority" in found(taken, effects.Answer)[0].text


def test_a_number_that_agents_refuse_is_passed_also_when_the_standby_held_it() -> None:
    """Two masters in one number: the lower one stands by and names our office; agents go on obeying the lower one."""
    it = machine(State.MASTER, B, is_open=True, office=epoch(2, B), seen=epoch(2, B), standby=A, in_sync=(A,))
    step(it, events.PeerHeard(A, hello(A, epoch=epoch(2, B), seen=epoch(2, B))), place(2, 7, B))
    step(it, events.EpochHeard(epoch(2)), place(2, 7, B))
    assert it.state is State.RESUMING
    claim = step(it, events.PeerHeard(A, hello(A, epoch=epoch(2, B), seen=epoch(2, B))), place(2, 7, B), 110.0)
    assert found(claim, effects.Send)[0].message.epoch == Epoch(3, B)


def test_an_older_claim_that_comes_late_does_not_lower_what_was_granted() -> None:
    """Two claims of one master overtake each other: the higher number stays granted (invariant 9)."""
    it = machine(State.IN_SYNC, B, enlisted=True)
    for number in (7, 6):
        step(it, events.ClaimReceived(A, epoch(number), epoch(5), place(5, 7)), place(5, 7))
    assert it.memory.granted == epoch(7)


def test_a_hand_off_tells_the_witnesses_that_nobody_writes_alone() -> None:
    """The one who gave office away may not have told them yet; its "alone" would make the next promotion look lossy."""
    it = machine(State.IN_SYNC, B, enlisted=True, alone_counter=3)
    step(it, events.TokenReceived(A, epoch(6, B), place(5, 9)), place(5, 9))
    assert (it.state, it.memory.in_sync) == (State.MASTER, (A,))
    told = found(step(it, events.Ticked(), place(6, 10, B), confirmed=10), effects.RecordAlone)[0]
    assert (told.epoch, told.alone, told.counter) == (epoch(6, B), "", 4)


def test_leave_to_lose_stands_while_going_alone_is_asked() -> None:
    """The claim went through by the flag of the second command; a third, without it, does not make that unsaid."""
    it = machine(State.RESUMING, in_sync=(B,), **MASTER)
    step(it, events.GoAloneRequested(1, b""), place(5, 7))
    asked = found(step(it, events.GoAloneRequested(2, b"", True), place(5, 7)), effects.AskWitnesses)[0]
    silent = WitnessVerdict(asked=1, answered=0, granted=0, highest=NO_EPOCH)
    assert found(step(it, events.WitnessesAnswered(asked.claim, silent), place(5, 7)), effects.RecordAlone)
    again = found(step(it, events.GoAloneRequested(3, b""), place(5, 7)), effects.AskWitnesses)[0]
    record = found(step(it, events.WitnessesAnswered(again.claim, silent), place(5, 7)), effects.RecordAlone)[0]
    taken = step(it, events.AloneRecorded(record.epoch, record.alone, record.counter, True), place(5, 7))
    assert it.memory.leave
    assert "No majority" in found(taken, effects.Answer)[0].text


C = "c" * 32


def granted_elsewhere(**said: Any) -> object:
    """What B, which granted A number 4, sends to C, which took office 3 by an operator's leave and claims 5."""
    it = machine(State.SYNCING, B, seen=epoch(4), granted=epoch(4), standby=C)
    words = {"state": State.SYNCING, "epoch": epoch(1), "seen": epoch(5, C)} | said
    step(it, events.PeerHeard(A, hello(A, **words)), place(1, 4))
    claim = events.ClaimReceived(C, epoch(5, C), epoch(3, C), place(3, 6))
    return found(step(it, claim, place(1, 4)), effects.Send)[0].message


def test_a_grant_that_nobody_can_use_any_more_does_not_lock_everybody_out() -> None:
    """The observer was made master with leave, and the old master asked the standby a moment before it heard."""
    assert isinstance(granted_elsewhere(), Grant)


@pytest.mark.parametrize(
    "said", [{"state": State.RESUMING}, {"state": State.MASTER}, {"epoch": epoch(4)}, {"seen": epoch(4)}]
)
def test_a_grant_that_may_be_used_or_was_stands(said: dict[str, Any]) -> None:
    """It still asks, is in office, had the office, or said this before it asked: it may have acknowledged something."""
    assert isinstance(granted_elsewhere(**said), Refuse)
