"""The table of roles: what a node does in each state when something happens. Logs, docs and tests come from it.

Rows are tried in order; the first whose state, event and guard fit is taken. Numbers never change: they are cited in
logs. `next` None keeps the state. The persisted memory is durable before any effect of the row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from replication.core import asking, events, guards, in_office, moves, seat, standing_by
from replication.core.effects import Effect
from replication.core.events import Event
from replication.core.types import IN_OFFICE, STANDING_BY, State

if TYPE_CHECKING:
    from replication.core.machine import Machine

S = State
STREAMING = (S.SYNCING, S.IN_SYNC)
OFFICE = tuple(sorted(IN_OFFICE))
ANY = tuple(State)


@dataclass(frozen=True, slots=True)
class Row:
    """One legal move. `sentence` is what people read."""

    number: int
    states: tuple[State, ...]
    event: type[Event]
    guard: Callable[[Machine, Any], bool]
    next: State | None
    action: Callable[[Machine, Any, float], list[Effect]]
    sentence: str

    def matches(self, machine: Machine, event: Event) -> bool:
        """True when this row is taken in the machine's state for the event."""
        return machine.state in self.states and type(event) is self.event and self.guard(machine, event)


e, g = events, guards

# fmt: off
TABLE: tuple[Row, ...] = (
    # Start
    Row(10, (S.INIT,), e.InitRequested, g.always, S.ALONE, asking.found_cluster, "Founds a cluster and takes office."),
    Row(12, (S.INIT,), e.JoinRequested, g.always, S.SYNCING, moves.nothing, "Becomes a standby of the cluster."),
    Row(14, (*OFFICE, S.RESUMING), e.Started, g.never_had_standby, S.ALONE, asking.restart_single,
        "Takes office again: no standby was ever enrolled."),
    Row(16, (*OFFICE, S.RESUMING), e.Started, g.always, S.RESUMING, moves.nothing,
        "Was master before it stopped; asks whether it may be again."),
    Row(18, (S.PROMOTING,), e.Started, g.always, S.SYNCING, moves.nothing, "Stopped while taking over; is a standby."),
    Row(20, ANY, e.PeersChanged, g.always, None, asking.note_roster, "The roster changed."),
    # A node that was master asks for office
    Row(30, (S.RESUMING,), e.PeerHeard, g.peer_ahead, S.DEMOTED, in_office.stand_down,
        "Another node took office later; stands down."),
    Row(32, (S.RESUMING,), e.PeerHeard, g.peer_out_of_office, None, asking.claim, "Asks its standby for office."),
    Row(34, (S.RESUMING,), e.GrantReceived, g.tail_missing, None, asking.fetch_tail,
        "The standby holds more of the last epoch; fetches it first."),
    Row(36, (S.RESUMING,), e.GrantReceived, g.granted_in_sync, S.MASTER, asking.resume,
        "The standby granted office; is master again."),
    Row(38, (S.RESUMING,), e.GrantReceived, g.granted, None, asking.record_alone_before_office,
        "The standby granted office; tells the witnesses that it will write alone."),
    Row(40, (S.RESUMING,), e.TailFetched, g.always, None, asking.claim_again, "Holds the whole tail; asks again."),
    Row(42, (S.RESUMING,), e.ClaimRefused, g.superseded, S.DEMOTED, in_office.stand_down,
        "The peer knows a later office; stands down."),
    Row(44, (S.RESUMING,), e.ClaimRefused, g.always, None, asking.note_refusal, "The peer refused for now."),
    Row(46, (S.RESUMING,), e.GoAloneRequested, g.always, None, asking.ask_to_go_alone,
        "The operator lets it go on alone; asks the witnesses."),
    Row(48, (S.RESUMING,), e.WitnessesAnswered, g.witnesses_agree, None, asking.record_alone_before_office,
        "The witnesses grant office; tells them that it will write alone."),
    Row(50, (S.RESUMING,), e.WitnessesAnswered, g.always, None, asking.explain_witnesses,
        "The witnesses do not agree."),
    Row(52, (S.RESUMING,), e.AloneRecorded, g.recorded_for_claim, S.ALONE, asking.take_office_alone,
        "The witnesses recorded it; takes office alone."),
    Row(53, (S.RESUMING,), e.Ticked, g.standby_silent, None, asking.ask_to_resume_alone,
        "The standby is silent; asks the witnesses whether it may go on without it."),
    Row(54, (S.RESUMING,), e.Ticked, g.time_to_ask_again, None, asking.ask_again, "Asks again."),
    # Standing by
    Row(60, STANDING_BY, e.TokenReceived, g.token_fits, S.MASTER, standing_by.take_token,
        "Takes over by the planned hand-off."),
    Row(62, OFFICE, e.TokenReceived, g.token_taken, None, standing_by.confirm_token,
        "Says again that it took the token."),
    Row(64, STANDING_BY, e.ClaimReceived, g.may_grant, None, standing_by.grant, "Grants the master office again."),
    Row(66, (S.RESUMING,), e.ClaimReceived, g.may_grant, S.DEMOTED, standing_by.grant,
        "The peer's office is later; grants it and stands by."),
    Row(68, ANY, e.ClaimReceived, g.always, None, standing_by.refuse, "Refuses a claim and says why."),
    Row(70, (S.SYNCING,), e.PeerHeard, g.told_in_sync, S.IN_SYNC, standing_by.enlisted,
        "The master counts on this standby."),
    Row(71, (S.SYNCING,), e.Ticked, g.told_in_sync_before, S.IN_SYNC, standing_by.caught_up,
        "Holds all that the master had acknowledged without it; is counted on."),
    Row(72, (S.IN_SYNC,), e.PeerHeard, g.told_out_of_sync, S.SYNCING, standing_by.delisted,
        "The master no longer counts on this standby."),
    Row(74, STANDING_BY, e.PeerHeard, g.token_overtaken, None, standing_by.forget_token_and_follow,
        "The target of the hand-off is in office."),
    Row(76, STANDING_BY, e.PeerHeard, g.peer_in_office, None, standing_by.follow, "Follows the master."),
    Row(78, STANDING_BY, e.Ticked, g.token_pending, None, standing_by.send_token, "Sends the token again."),
    Row(80, STANDING_BY, e.Ticked, g.master_known, None, standing_by.follow_master, "Follows the master."),
    Row(82, STANDING_BY, e.TokenTaken, g.token_confirmed, None, standing_by.forget_token,
        "The hand-off is confirmed."),
    Row(84, (S.DEMOTED,), e.OfficeClosed, g.token_pending, None, standing_by.send_token, "Hands office over."),
    Row(86, STANDING_BY, e.ForkFound, g.always, S.FORKED, standing_by.delisted,
        "Keeps what the master never had, then rejoins."),
    Row(88, STANDING_BY, e.CopyStarted, g.always, S.COPYING, standing_by.delisted,
        "Copies what differs from the master."),
    Row(90, (S.DEMOTED, S.IN_SYNC), e.StreamStarted, g.is_enlisted, S.IN_SYNC, moves.nothing,
        "Streams from the master."),
    Row(92, STANDING_BY, e.StreamStarted, g.always, S.SYNCING, moves.nothing, "Streams from the master, catching up."),
    # Promotion by an operator
    Row(100, (S.COPYING,), e.PromoteRequested, g.always, None, standing_by.refuse_promotion_of_copy,
        "A copy that is not finished cannot take over."),
    Row(102, STANDING_BY, e.PromoteRequested, g.master_answers, None, standing_by.refuse_promotion_of_pair,
        "The master answers; a swap is the way."),
    Row(103, STANDING_BY, e.PromoteRequested, g.fence_wanted, S.PROMOTING, standing_by.fence_first,
        "The operator wants this node to take over; fences the old master first."),
    Row(104, STANDING_BY, e.PromoteRequested, g.always, S.PROMOTING, standing_by.ask_for_promotion,
        "The operator wants this node to take over; asks the witnesses."),
    Row(106, OFFICE, e.PromoteRequested, g.always, None, standing_by.already_master, "Is master already."),
    Row(108, ANY, e.PromoteRequested, g.always, None, standing_by.refuse_promotion_here,
        "Cannot take over in this state."),
    Row(109, (S.PROMOTING,), e.FenceEnded, g.fence_held, None, standing_by.ask_after_fence,
        "The old master is fenced; asks the witnesses."),
    Row(110, (S.PROMOTING,), e.WitnessesAnswered, g.number_too_low, None, standing_by.ask_for_promotion_higher,
        "A witness knows a higher number; asks with one above it."),
    Row(111, (S.PROMOTING,), e.FenceEnded, g.fence_failed_in_sync, S.IN_SYNC, standing_by.refuse_unfenced,
        "Does not take over: the old master could not be fenced."),
    Row(112, (S.PROMOTING,), e.WitnessesAnswered, g.may_take_over, None, asking.record_alone_before_office,
        "May take over; tells the witnesses that it will write alone."),
    Row(113, (S.PROMOTING,), e.FenceEnded, g.fence_ended, S.SYNCING, standing_by.refuse_unfenced,
        "Does not take over: the old master could not be fenced."),
    Row(114, (S.PROMOTING,), e.WitnessesAnswered, g.came_from_in_sync, S.IN_SYNC, standing_by.refuse_promotion,
        "Does not take over: acknowledged changes could be lost."),
    Row(116, (S.PROMOTING,), e.WitnessesAnswered, g.always, S.SYNCING, standing_by.refuse_promotion,
        "Does not take over: acknowledged changes could be lost."),
    Row(118, (S.PROMOTING,), e.AloneRecorded, g.recorded_or_forced, S.ALONE, asking.take_office_alone,
        "Takes over by the operator's leave."),
    Row(120, (S.PROMOTING,), e.AloneRecorded, g.always, S.SYNCING, standing_by.refuse_unrecorded,
        "Does not take over: the witnesses fell silent."),
    # In office
    Row(130, OFFICE, e.PeerHeard, g.peer_ahead, S.DEMOTED, in_office.stand_down_from_office,
        "Another node took office later; stands down."),
    Row(132, (S.MASTER, S.ALONE), e.PeerHeard, g.peer_claims_higher, S.RESUMING, in_office.reopen,
        "A peer was granted a higher epoch that never became office; opens the next one."),
    Row(133, (S.MASTER, S.ALONE), e.PeerHeard, g.peer_same_number, S.RESUMING, in_office.reopen,
        "Another node took office with the same number; opens the next one."),
    Row(134, (S.MASTER,), e.GoAloneRequested, g.standby_keeps_up, None, in_office.refuse_needless_alone,
        "The standby is in sync; there is no need to write alone."),
    Row(136, (S.MASTER,), e.GoAloneRequested, g.always, None, in_office.record_alone_in_office,
        "The operator lets it write alone; tells the witnesses first."),
    Row(137, (S.MASTER,), e.Ticked, g.should_go_alone, None, in_office.ask_to_go_alone_by_itself,
        "The standby is lost; asks the witnesses whether it may write alone."),
    Row(138, (S.MASTER,), e.AloneRecorded, g.recorded_for_office, S.ALONE, in_office.go_alone,
        "Writes alone from now on."),
    Row(139, (S.MASTER,), e.Ticked, g.standby_moves_again, None, in_office.withdraw_wish,
        "The standby moves again; tells the witnesses that nobody writes alone."),
    Row(140, (S.MASTER,), e.Ticked, g.time_to_ask_again, None, in_office.tell_witnesses_again,
        "Tells the witnesses again."),
    Row(141, (S.MASTER,), e.WitnessesAnswered, g.may_be_alone, None, in_office.record_own_wish,
        "A majority of the witnesses knows no later master; tells them that it writes alone."),
    Row(142, (S.ALONE,), e.GoAloneRequested, g.always, None, in_office.already_alone, "Writes alone already."),
    Row(143, (S.MASTER,), e.WitnessesAnswered, g.may_not_be_alone, None, in_office.explain_own_wish,
        "Waits: the witnesses do not let it write alone."),
    Row(144, ANY, e.GoAloneRequested, g.always, None, in_office.refuse_alone_here,
        "Only a node that was master can go on alone."),
    Row(145, (S.ALONE,), e.StandbyProgressed, g.steady_while_raising, S.RESUMING, in_office.enlist_and_reopen,
        "Counts on the standby from now on, which grants it a number that agents obey."),
    Row(146, (S.ALONE,), e.StandbyProgressed, g.steady, S.MASTER, in_office.enlist,
        "Counts on the standby from now on."),
    Row(148, (S.ALONE,), e.StandbyProgressed, g.always, None, in_office.watch_progress, "The standby moves on."),
    Row(149, (S.MASTER,), e.AloneRecorded, seat.is_recorded, None, seat.conclude,
        "The witnesses know who has the seat; counts on that node only."),
    Row(150, (S.MASTER,), e.AloneRecorded, g.cleared, None, in_office.alone_cleared,
        "The witnesses know that the pair is whole."),
    Row(151, (S.ALONE,), e.EpochHeard, g.number_refused, None, in_office.ask_for_higher_number,
        "Agents obey a number as high as this office's; asks the witnesses for the next one."),
    Row(152, (S.MASTER,), e.EpochHeard, g.number_refused_in_pair, S.RESUMING, in_office.reopen_higher,
        "Agents obey a number as high as this office's; opens the next one by the standby's grant."),
    Row(153, (S.ALONE,), e.WitnessesAnswered, g.raise_agreed, None, asking.record_alone_before_office,
        "May take the next number; tells the witnesses that it writes alone in it."),
    Row(154, (S.ALONE,), e.WitnessesAnswered, g.raising, None, in_office.explain_raise,
        "The witnesses do not grant the next number."),
    Row(155, (S.ALONE,), e.AloneRecorded, g.recorded_for_raise, None, asking.take_office_alone,
        "Goes on alone in the next number."),
    Row(156, (S.ALONE,), e.Ticked, g.raise_due, None, in_office.ask_to_raise_again, "Asks for the next number again."),
    # The seat
    Row(157, (S.MASTER,), e.Ticked, seat.is_failing, None, seat.give_back,
        "The node that was to take the seat does not keep up; the standby keeps it."),
    Row(160, (S.MASTER,), e.SwapRequested, g.target_ready, S.HANDING_OFF, in_office.hand_off, "Hands office over."),
    Row(162, ANY, e.SwapRequested, g.always, None, in_office.refuse_swap, "Cannot hand over now."),
    Row(164, (S.HANDING_OFF,), e.HandoffAppended, g.handoff_asked, None, in_office.note_handoff,
        "The last request of this epoch is journaled."),
    Row(166, (S.HANDING_OFF,), e.StandbyProgressed, g.target_holds_all, S.DEMOTED, in_office.give_office_away,
        "The standby holds everything; gives office away."),
    Row(168, (S.HANDING_OFF,), e.Ticked, g.handoff_late, S.MASTER, in_office.abort_handoff,
        "The standby was too slow; is master again."),
    Row(170, (S.HANDING_OFF,), e.SwapAbortRequested, g.always, S.MASTER, in_office.abort_handoff,
        "Aborted by the operator; is master again."),
    Row(172, (S.HANDING_OFF,), e.PeerLost, g.is_target, S.MASTER, in_office.abort_handoff,
        "The standby is gone; is master again."),
    Row(174, ANY, e.SwapAbortRequested, g.always, None, in_office.nothing_to_abort, "There is nothing to abort."),
    Row(180, (S.MASTER,), e.SeatRequested, seat.may_be_given, None, seat.give,
        "Gives the seat to another node: counts on both until the witnesses know."),
    Row(182, (S.ALONE,), e.SeatRequested, seat.is_free_to_give, None, seat.assign,
        "Gives the seat of the lost standby to another node."),
    Row(184, ANY, e.SeatRequested, g.always, None, seat.refuse, "Cannot give the seat to that node now."),
    # Planned hand-off
)
# fmt: on
