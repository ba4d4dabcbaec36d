"""Conditions of the role table: questions to the machine about one event. They change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replication.core import events
from replication.core.decide import LastWord, Verdict, judge_promotion
from replication.core.events import Event
from replication.core.types import IN_OFFICE, NO_EPOCH, STANDING_BY, Epoch, Mode, State

if TYPE_CHECKING:
    from replication.core.machine import Machine


def always(machine: Machine, event: Event) -> bool:
    """No condition."""
    return True


def never_had_standby(machine: Machine, event: Event) -> bool:
    """Office may be taken again without asking only while no standby was ever enrolled (Restart, case 4)."""
    return not machine.memory.standby


def peer_ahead(machine: Machine, event: events.PeerHeard) -> bool:
    """The peer holds, or holds requests of, a later office than ours: we are an old master."""
    return event.hello.epoch > machine.memory.office


def peer_out_of_office(machine: Machine, event: events.PeerHeard) -> bool:
    """The peer may be asked for a grant."""
    return event.hello.state not in IN_OFFICE and event.hello.state is not State.INIT


def peer_claims_higher(machine: Machine, event: events.PeerHeard) -> bool:
    """A higher number is out that neither we gave nor know: agents or witnesses may know it already."""
    seen = event.hello.seen
    return machine.office_open and seen.node != machine.node and seen > max(machine.memory.office, machine.memory.seen)


def peer_same_number(machine: Machine, event: events.PeerHeard) -> bool:
    """A lower pair of our own number exists: agents that obeyed it refuse ours (invariant 9)."""
    theirs = (event.hello.epoch, event.hello.seen)
    office = machine.memory.office
    return machine.office_open and any(epoch.number == office.number and epoch < office for epoch in theirs)


def handoff_asked(machine: Machine, event: events.HandoffAppended) -> bool:
    """It is the HANDOFF of the hand-off under way, not of one that was aborted before."""
    return event.epoch == machine.pending.claim


def tail_missing(machine: Machine, event: events.GrantReceived) -> bool:
    """The granting standby holds requests of our last epoch that we lost."""
    mine = machine.facts.last
    ours = (mine.epoch, machine.memory.office)  # the office may have begun at the standby and not yet here
    return _our_claim(machine, event) and event.last.sequence > mine.sequence and event.last.epoch in ours


def granted_in_sync(machine: Machine, event: events.GrantReceived) -> bool:
    """Granted by every node that our last office counted on: the set is kept. One alone cannot speak for another."""
    members = machine.memory.in_sync
    all_granted = all(node == event.peer or (node, event.epoch) in machine.grants for node in members)
    return _our_claim(machine, event) and event.peer in members and all_granted


def granted(machine: Machine, event: events.GrantReceived) -> bool:
    """Granted by the node with the seat, but nobody is counted on: it must be recorded that we write alone.

    What an observer grants proves nothing: another may have taken office without it.
    """
    return _our_claim(machine, event) and not machine.memory.in_sync and machine.has_seat(event.peer)


def _our_claim(machine: Machine, event: events.GrantReceived) -> bool:
    return machine.pending.claim != NO_EPOCH and event.epoch == machine.pending.claim


def superseded(machine: Machine, event: events.ClaimRefused) -> bool:
    """The refusal names a later office."""
    return event.superseded


def witnesses_agree(machine: Machine, event: events.WitnessesAnswered) -> bool:
    """A majority granted our claim; with no witness configured the operator's leave is all there is.

    Without an operator no witness at all may know a later office, and the mode has to allow it.
    """
    verdict, pending = event.verdict, machine.pending
    if pending.claim == NO_EPOCH or event.claim.epoch != pending.claim:
        return False
    if pending.request:
        forced = pending.allow_data_loss and verdict.highest.number < pending.claim.number
        return verdict.has_majority or verdict.asked == 0 or forced
    is_latest = verdict.highest.node == machine.node or verdict.highest <= machine.journal_epoch
    return pending.by_itself and machine.mode is Mode.AVAILABLE and verdict.has_majority and is_latest


def standby_silent(machine: Machine, event: events.Ticked) -> bool:
    """Nobody has answered our claims for `standby_timeout_s`, and the mode lets us go on without a person."""
    silent = machine.now - machine.answered_at >= machine.standby_timeout_s
    asks = not machine.pending.request and machine.now >= machine.pending.ask_again_at
    return machine.mode is Mode.AVAILABLE and silent and asks


def standby_lost(machine: Machine, event: Event) -> bool:
    """No fsync progress for `standby_timeout_s` while something is outstanding (invariant 12); the link may stand."""
    stalled = machine.now - machine.progressed_at >= machine.standby_timeout_s
    return machine.office_open and machine.outstanding and stalled


def should_go_alone(machine: Machine, event: events.Ticked) -> bool:
    """The standby is lost, the mode lets us go on without it, and nobody has wished it yet."""
    wished = machine.pending.request or machine.pending.by_itself
    return machine.mode is Mode.AVAILABLE and not wished and standby_lost(machine, event)


def standby_moves_again(machine: Machine, event: Event) -> bool:
    """Our own wish to write alone has lost its reason."""
    return machine.pending.by_itself and not standby_lost(machine, event)


def may_be_alone(machine: Machine, event: events.WitnessesAnswered) -> bool:
    """Our own wish: a majority is there and obeys no later office."""
    return _of_own_wish(machine, event) and event.verdict.has_majority


def may_not_be_alone(machine: Machine, event: events.WitnessesAnswered) -> bool:
    """Our own wish, and no majority for it."""
    return _of_own_wish(machine, event)


def _of_own_wish(machine: Machine, event: events.WitnessesAnswered) -> bool:
    return machine.pending.by_itself and event.claim.epoch == machine.memory.office


def number_refused(machine: Machine, event: events.EpochHeard) -> bool:
    """Agents obey a number as high as ours, of an office that no connected node holds; a standby that names ours is
    none of them, even if it once held the other."""
    theirs, ours = event.epoch, machine.memory.office
    known = any(
        machine.connected(node) and theirs <= peer.hello.epoch != ours for node, peer in machine.peers.items()
    )  # fmt: skip
    return machine.office_open and theirs.node != machine.node and theirs.number >= ours.number and not known


def number_refused_in_pair(machine: Machine, event: events.EpochHeard) -> bool:
    """The same while a standby is counted on and connected: it can grant the next number."""
    return number_refused(machine, event) and all(map(machine.connected, machine.memory.in_sync))


def raise_agreed(machine: Machine, event: events.WitnessesAnswered) -> bool:
    """A majority granted the higher number, or the office rests on an operator's word, which is good for one more."""
    return raising(machine, event) and (event.verdict.has_majority or machine.memory.leave)


def raising(machine: Machine, event: events.WitnessesAnswered) -> bool:
    """The answer is to our question for a higher number."""
    return machine.pending.raising and event.claim.epoch == machine.pending.claim


def recorded_for_raise(machine: Machine, event: events.AloneRecorded) -> bool:
    """The record for the higher number is durable at a majority, or an operator's word stands for it."""
    ours = machine.pending.raising and event.epoch == machine.pending.claim and event.alone == machine.node
    return ours and (event.done or machine.memory.leave)


def raise_due(machine: Machine, event: events.Ticked) -> bool:
    """The higher number is still not granted."""
    return machine.pending.raising and time_to_ask_again(machine, event)


def fence_wanted(machine: Machine, event: events.PromoteRequested) -> bool:
    """A hook has to end well first."""
    return machine.has_fence


def fence_held(machine: Machine, event: events.FenceEnded) -> bool:
    """The hook of the promotion under way exited 0."""
    return event.held and fence_ended(machine, event)


def fence_ended(machine: Machine, event: events.FenceEnded) -> bool:
    """It is the hook of the promotion under way."""
    return event.request == machine.pending.request


def fence_failed_in_sync(machine: Machine, event: events.FenceEnded) -> bool:
    """The hook failed, and this node was counted on before."""
    return fence_ended(machine, event) and came_from_in_sync(machine, event)


def recorded_for_claim(machine: Machine, event: events.AloneRecorded) -> bool:
    """The record for the office that we are about to take is durable at a majority, or the operator accepted loss."""
    pending = machine.pending
    return (event.done or pending.allow_data_loss) and event.alone == machine.node and event.epoch == pending.claim


def recorded_or_forced(machine: Machine, event: events.AloneRecorded) -> bool:
    """As `recorded_for_claim`, or the operator accepted the risk."""
    return event.epoch == machine.pending.claim and (event.done or machine.pending.allow_data_loss)


def recorded_for_office(machine: Machine, event: events.AloneRecorded) -> bool:
    """The wish to write alone in the present office is durable at a majority, and it is still wished.

    An answer to an earlier question does not count: it may have said that nobody writes alone.
    """
    pending = machine.pending
    asked = event.alone == machine.node and event.counter >= pending.alone_from
    own = pending.by_itself and standby_lost(machine, event)
    done = event.done or pending.allow_data_loss
    return done and asked and (bool(pending.request) or own) and event.epoch == machine.memory.office


def cleared(machine: Machine, event: events.AloneRecorded) -> bool:
    """The witnesses no longer name us as writing alone."""
    asked = event.alone == machine.counted_name and event.counter >= machine.pending.alone_from
    return event.done and asked and machine.clear_alone and event.epoch == machine.memory.office


def time_to_ask_again(machine: Machine, event: events.Ticked) -> bool:
    """Something asked for is still unanswered; `ask_again_at` is set by the machine's clock of the last step."""
    return machine.pending.ask_again_at > 0 and machine.now >= machine.pending.ask_again_at


def token_fits(machine: Machine, event: events.TokenReceived) -> bool:
    """We hold exactly the history that is given away, and the number is new (Planned swap, step 6)."""
    mine = machine.facts.last
    same = (event.last.sequence, event.last.hash) == (mine.sequence, mine.hash)
    return same and event.epoch.node == machine.node and event.epoch > machine.journal_epoch and _whole(machine)


def _whole(machine: Machine) -> bool:
    return machine.state in (State.SYNCING, State.IN_SYNC)


def token_taken(machine: Machine, event: events.TokenReceived) -> bool:
    """The same token again: taking it twice is taking it once."""
    return event.epoch == machine.memory.taken


def token_pending(machine: Machine, event: Event) -> bool:
    """We gave office away and have not heard that it was taken; sent only once SQLite is closed."""
    return machine.memory.token != NO_EPOCH and not machine.office_open


def token_confirmed(machine: Machine, event: events.TokenTaken) -> bool:
    """The confirmation is for our token."""
    return event.epoch == machine.memory.token


def token_overtaken(machine: Machine, event: events.PeerHeard) -> bool:
    """The peer is in the office that we gave away, or in a later one."""
    token = machine.memory.token
    return token != NO_EPOCH and event.hello.state in IN_OFFICE and event.hello.epoch >= token


def may_grant(machine: Machine, event: events.ClaimReceived) -> bool:
    """No later office than the claimant's last one is known here, and the number is new to us (invariant 9)."""
    others = machine.memory.granted if machine.memory.granted.node != event.peer else NO_EPOCH
    known = max(machine.journal_epoch, others)
    later = machine.journal_epoch if _is_given_up(machine, others) else known
    return (
        event.office >= later
        and event.epoch > max(known, machine.memory.office)
        and not _handed_to_other(machine, event)
    )


def _is_given_up(machine: Machine, granted: Epoch) -> bool:
    """Whom we granted it stands by, and had no office of it: only who resumes acts on a grant."""
    said = machine.peers[granted.node].hello if granted.node in machine.peers else None
    # It met nothing as high when it claimed the number: what it says with a higher one it said later.
    return said is not None and said.state in STANDING_BY and said.epoch < granted < said.seen


def _handed_to_other(machine: Machine, event: events.ClaimReceived) -> bool:
    return machine.memory.taken > event.office


def told_in_sync(machine: Machine, event: events.PeerHeard) -> bool:
    """The master needs our fsync from now on, and all that it acknowledged without us is fsynced here."""
    caught_up = machine.facts.synced >= event.hello.commit
    return caught_up and peer_in_office(machine, event) and machine.node in event.hello.in_sync


def told_in_sync_before(machine: Machine, event: events.Ticked) -> bool:
    """The master's last word counted on us, and meanwhile all that it had acknowledged without us is fsynced here."""
    peer = machine.peers.get(machine.master())
    return peer is not None and told_in_sync(machine, events.PeerHeard(peer.hello.node, peer.hello))


def told_out_of_sync(machine: Machine, event: events.PeerHeard) -> bool:
    """The master that we stream from no longer counts on us."""
    return peer_in_office(machine, event) and machine.node not in event.hello.in_sync


def peer_in_office(machine: Machine, event: events.PeerHeard) -> bool:
    """The peer is master of an office that is not older than our journal, and ours is closed."""
    fits = event.hello.state in IN_OFFICE and event.hello.epoch >= machine.facts.last.epoch
    return fits and not machine.office_open


def master_known(machine: Machine, event: Event) -> bool:
    """A connected peer is in office."""
    return bool(machine.master()) and not machine.office_open


def is_enlisted(machine: Machine, event: Event) -> bool:
    """The last master counted on this node and nothing has diverged since."""
    return machine.memory.enlisted


def master_answers(machine: Machine, event: events.PromoteRequested) -> bool:
    """A live master is connected: promoting would make two."""
    return bool(machine.master()) and not event.allow_data_loss


def number_too_low(machine: Machine, event: events.WitnessesAnswered) -> bool:
    """A witness has granted a number at or above ours to another; worth asking again only when forced."""
    highest = event.verdict.highest
    higher = highest.node != machine.node and highest.number >= event.claim.epoch.number
    return higher and machine.pending.allow_data_loss and not event.verdict.has_majority


def may_take_over(machine: Machine, event: events.WitnessesAnswered) -> bool:
    """Proven lossless, or the operator accepted the loss."""
    return event.claim.epoch == machine.pending.claim and judge(machine, event).may


def judge(machine: Machine, event: events.WitnessesAnswered) -> Verdict:
    """The question of loss, asked of `decide.judge_promotion`."""
    pending = machine.pending
    return judge_promotion(
        machine.memory,
        machine.facts,
        machine.node,
        event.verdict,
        pending.allow_data_loss,
        pending.stopped,
        last_word(machine),
    )


def last_word(machine: Machine) -> LastWord | None:
    """What was last heard of a master while it was in office; None when this process heard of none."""
    heard = [peer for peer in machine.peers.values() if peer.hello.state in IN_OFFICE]
    if not heard:
        return None
    peer = max(heard, key=lambda one: one.hello.epoch)
    counted = machine.node in peer.hello.in_sync
    return LastWord(machine.now - peer.heard_at, peer.hello.last.sequence, peer.behind_bytes, counted)


def came_from_in_sync(machine: Machine, event: Event) -> bool:
    """The state before PROMOTING was IN_SYNC."""
    return machine.pending.before is State.IN_SYNC


def standby_keeps_up(machine: Machine, event: Event) -> bool:
    """Every node counted on is connected and keeps up."""
    return all(machine.connected(node) and node in machine.caught_up_since for node in machine.memory.in_sync)


def steady(machine: Machine, event: events.StandbyProgressed) -> bool:
    """The node with the seat has kept up for `steady_s`, doubled by each relapse (invariant 12). Never an observer."""
    return machine.has_seat(event.peer) and machine.is_steady(event.peer)


def target_ready(machine: Machine, event: events.SwapRequested) -> bool:
    """The target is counted on, connected, our office is open, and nobody wishes it to write alone."""
    is_counted_on = (event.target,) == machine.memory.in_sync and machine.connected(event.target)
    wished = machine.pending.request or machine.pending.by_itself
    return is_counted_on and machine.office_open and not wished


def steady_while_raising(machine: Machine, event: events.StandbyProgressed) -> bool:
    """The standby counts from now on, and agents still refuse our number."""
    return machine.pending.raising and steady(machine, event)


def target_holds_all(machine: Machine, event: events.StandbyProgressed) -> bool:
    """fsynced = applied = HANDOFF with an equal checksum (Planned swap, step 4)."""
    pending = machine.pending
    at = pending.handoff.sequence
    reached = at > 0 and event.fsynced == at and event.applied == at
    return event.peer == pending.target and reached and event.checksum == pending.checksum


def handoff_late(machine: Machine, event: events.Ticked) -> bool:
    """The standby did not prove that it holds everything in time."""
    return machine.now >= machine.pending.deadline


def is_target(machine: Machine, event: events.PeerLost) -> bool:
    """The lost peer is the one that office was to be handed to."""
    return event.peer == machine.pending.target
