"""Actions of a master: standing down, going alone, counting on a standby, handing over (role table rows 130 to 174).

Protocol: docs/protocol.md, sections 5 and 5.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replication.core import effects, events
from replication.core.effects import Effect
from replication.core.events import Event
from replication.core.moves import (
    ALONE_NOW,
    ASK_AGAIN_S,
    GONE_FOR_GOOD,
    UNCONFIRMED,
    ask_witnesses,
    ask_witnesses_of,
    begin,
    clear_alone,
    clear_once_held,
    next_epoch,
    record_again,
    refuse_operator,
    renew_claim,
    witnesses_missing,
)
from replication.core.types import IN_OFFICE, NO_EPOCH, Epoch

if TYPE_CHECKING:
    from replication.core.machine import Machine


def stand_down(machine: Machine, event: events.PeerHeard | events.ClaimRefused, now: float) -> list[Effect]:
    """An old master: its set means nothing any more. Its store may still be closing: nothing more is acknowledged, so
    whose fsync was needed is needed still: an observer alone might be ahead of them.
    """
    required = {event.peer, *machine.memory.in_sync}
    machine.remember(enlisted=False, in_sync=(), token=NO_EPOCH)
    refused = refuse_operator(machine, "conflict", "Another node is master by a later epoch; this one stands by.")
    return [effects.RequireAcks(frozenset(required)), *refused]


def stand_down_from_office(machine: Machine, event: events.PeerHeard, now: float) -> list[Effect]:
    """The same while in office, which is closed then."""
    machine.remember(seen=max(machine.memory.seen, event.hello.epoch))
    return [*stand_down(machine, event, now), effects.CloseOffice()]


def reopen(machine: Machine, event: events.PeerHeard, now: float) -> list[Effect]:
    """A claim alone deposes nobody: open the next epoch by the standby's grant."""
    machine.remember(seen=max(machine.memory.seen, event.hello.seen))
    machine.pending.by_itself = machine.pending.raising = False
    return [effects.CloseOffice()]


def reopen_higher(machine: Machine, event: events.EpochHeard, now: float) -> list[Effect]:
    """Agents refuse our number: the standby grants the next one."""
    machine.remember(seen=max(machine.memory.seen, event.epoch))
    machine.pending.by_itself = machine.pending.raising = False
    return [effects.CloseOffice()]


def ask_for_higher_number(machine: Machine, event: events.EpochHeard, now: float) -> list[Effect]:
    """Office goes on meanwhile: it is only renumbered once a majority has granted and recorded the number."""
    machine.remember(seen=max(machine.memory.seen, event.epoch))
    pending = machine.pending
    if pending.raising and pending.claim.number > machine.highest_number(but=pending.claim):
        return []
    begin(machine, 0, "restart", b"")
    machine.pending.raising, machine.pending.claim = True, next_epoch(machine)
    return _ask_to_raise(machine, now)


def ask_to_raise_again(machine: Machine, event: events.Ticked, now: float) -> list[Effect]:
    """Until a majority has it, or a standby is counted on again."""
    renew_claim(machine)
    return _ask_to_raise(machine, now)


def _ask_to_raise(machine: Machine, now: float) -> list[Effect]:
    machine.pending.ask_again_at = now + ASK_AGAIN_S
    return ask_witnesses(machine, forced=machine.memory.leave)


def explain_raise(machine: Machine, event: events.WitnessesAnswered, now: float) -> list[Effect]:
    """A number of our own or, by an operator's leave, of another is passed; else people are told."""
    highest = event.verdict.highest
    machine.remember(seen=max(machine.memory.seen, highest))
    if highest.node not in ("", machine.node) and highest > machine.memory.office:
        machine.pending.text = (
            f"Agents and witnesses obey another master, the node {highest.node[:8]} in epoch {highest.number}, and "
            "refuse this one. Type `understudy status` on the other machine. If it says master, stop understudy on "
            "this machine and start it again: it becomes the standby and keeps what only it has as a fork."
        )
    else:
        machine.pending.text = witnesses_missing(event, "take a number that agents obey")
    return []


def refuse_needless_alone(machine: Machine, event: events.GoAloneRequested, now: float) -> list[Effect]:
    """Going alone gives a guarantee away."""
    return [effects.Answer(event.request, "conflict", "The standby is in sync, so writes do not wait. Nothing to do.")]


def record_alone_in_office(machine: Machine, event: events.GoAloneRequested, now: float) -> list[Effect]:
    """The standby leaves the set only after the witnesses know."""
    begin(machine, event.request, "go_alone", event.note)
    machine.clear_alone = False
    machine.pending.alone_from = machine.memory.alone_counter + 1
    machine.pending.allow_data_loss = event.allow_data_loss
    machine.pending.text = f"The witnesses have not confirmed yet that this node writes alone. {GONE_FOR_GOOD}"
    return record_again(machine, now)


def ask_to_go_alone_by_itself(machine: Machine, event: events.Ticked, now: float) -> list[Effect]:
    """First whether a majority is there and obeys no later office: with no witness nobody but a person may say it."""
    begin(machine, 0, "go_alone", b"")
    machine.pending.by_itself = True
    machine.pending.alone_from = machine.memory.alone_counter + 1
    return _ask_about_own_wish(machine, now)


def _ask_about_own_wish(machine: Machine, now: float) -> list[Effect]:
    machine.pending.agreed = False
    machine.pending.ask_again_at = now + ASK_AGAIN_S
    return ask_witnesses_of(machine, machine.memory.office, forced=False)


def record_own_wish(machine: Machine, event: events.WitnessesAnswered, now: float) -> list[Effect]:
    """The counter is durable before the witnesses hear it."""
    if machine.pending.agreed:
        return []
    machine.clear_alone = False
    machine.pending.agreed, machine.pending.text = True, ""
    return record_again(machine, now)


def explain_own_wish(machine: Machine, event: events.WitnessesAnswered, now: float) -> list[Effect]:
    """Writes wait, and people are told for whom."""
    highest = event.verdict.highest
    if highest.node not in ("", machine.node) and highest > machine.memory.office:
        machine.pending.text = (
            f"The standby is lost, and the witnesses granted it epoch {highest.number}: it may be master. "
            "Look at it with understudy status; if it is not, start it again."
        )
    else:
        machine.pending.text = f"The standby is lost. {witnesses_missing(event, 'write alone')}"
    return []


def withdraw_wish(machine: Machine, event: Event, now: float) -> list[Effect]:
    """The standby moves again: the witnesses are told that nobody writes alone, by a higher counter."""
    machine.pending.text = ""
    machine.pending.by_itself = False
    if machine.clear_after > machine.facts.confirmed:
        machine.pending.ask_again_at = now
        return []
    return clear_alone(machine, now)


def tell_witnesses_again(machine: Machine, event: Event, now: float) -> list[Effect]:
    """Retried until a majority has it."""
    if machine.pending.by_itself:
        return _ask_about_own_wish(machine, now)
    if machine.clear_after:
        return clear_alone(machine, now) if machine.facts.confirmed >= machine.clear_after else []
    return record_again(machine, now)


def go_alone(machine: Machine, event: events.AloneRecorded, now: float) -> list[Effect]:
    """The set is empty on disk before the first write is acknowledged alone (invariant 12)."""
    relapses = machine.relapses_after_loss(now)
    machine.clear_after = 0
    machine.remember(in_sync=(), alone_since_utc_us=machine.facts.utc_us, relapses=relapses, leave=not event.done)
    request = machine.pending.request
    begin(machine, 0, "", b"")
    machine.caught_up_since.clear()
    said = ALONE_NOW if event.done else UNCONFIRMED
    return [effects.RequireAcks(frozenset()), *([effects.Answer(request, "", said)] if request else [])]


def already_alone(machine: Machine, event: events.GoAloneRequested, now: float) -> list[Effect]:
    """Saying it twice is saying it once."""
    return [effects.Answer(event.request, "", "This node writes alone already.")]


def refuse_alone_here(machine: Machine, event: events.GoAloneRequested, now: float) -> list[Effect]:
    """A standby takes over by another command."""
    text = "This node is not the master. To make it master, type: standby-to-master"
    return [effects.Answer(event.request, "conflict", text)]


def watch_progress(machine: Machine, event: events.StandbyProgressed, now: float) -> list[Effect]:
    """`caught_up_since` is kept by the machine for every progress; nothing else to do yet."""
    return []


def enlist(machine: Machine, event: events.StandbyProgressed, now: float) -> list[Effect]:
    """Counted on from now, also by a restart before the roster names it; the witnesses are told afterwards, since the
    other order could promise too much."""
    machine.remember(in_sync=(event.peer,), standby=event.peer, alone_since_utc_us=0, leave=False)
    machine.counted_since = machine.progressed_at = now
    begin(machine, 0, "", b"")
    clear_once_held(machine, now)
    return [effects.RequireAcks(frozenset({event.peer}))]


def enlist_and_reopen(machine: Machine, event: events.StandbyProgressed, now: float) -> list[Effect]:
    """Witnesses may hold the higher number already and refuse the present one: the standby grants one above it."""
    machine.remember(in_sync=(event.peer,), standby=event.peer, alone_since_utc_us=0, leave=False)
    begin(machine, 0, "", b"")
    return [effects.RequireAcks(frozenset({event.peer})), effects.CloseOffice()]


def alone_cleared(machine: Machine, event: events.AloneRecorded, now: float) -> list[Effect]:
    """Stop telling them."""
    machine.clear_alone = False
    if not machine.pending.by_itself:
        machine.pending.ask_again_at = 0.0
    return []


def hand_off(machine: Machine, event: events.SwapRequested, now: float) -> list[Effect]:
    """The number counts as seen before HANDOFF names it (invariant 9)."""
    epoch = Epoch(machine.highest_number() + 1, event.target)
    machine.remember(seen=epoch)
    begin(machine, event.request, "handoff", event.note)
    machine.pending.target, machine.pending.claim = event.target, epoch
    machine.pending.deadline = now + event.timeout_s
    return [effects.HandOff(epoch, event.target, event.note)]


def refuse_swap(machine: Machine, event: events.SwapRequested, now: float) -> list[Effect]:
    """Preflight belongs to the guide; this is the last guard."""
    text = "Cannot hand over now: the standby is not in sync, or this node is not master. Type: understudy swap --check"
    if machine.state in IN_OFFICE and not machine.has_seat(event.target):
        text = f"That node is an observer. Give it the seat first: understudy node seat {event.target[:8]}"
    return [effects.Answer(event.request, "conflict", text)]


def note_handoff(machine: Machine, event: events.HandoffAppended, now: float) -> list[Effect]:
    """What the standby has to prove."""
    machine.pending.handoff, machine.pending.checksum = event.last, event.checksum
    return []


def give_office_away(machine: Machine, event: events.StandbyProgressed, now: float) -> list[Effect]:
    """Point of no return: DEMOTED is durable with the token in it before SQLite closes and before it is sent."""
    pending = machine.pending
    machine.remember(token=pending.claim, token_last=pending.handoff, enlisted=True, in_sync=())
    answer = effects.Answer(pending.request, "", f"Handed over at request {pending.handoff.sequence}.")
    begin(machine, 0, "", b"")
    return [answer, effects.CloseOffice()]


def abort_handoff(machine: Machine, event: Event, now: float) -> list[Effect]:
    """Writes resume in the same epoch; the number stays used."""
    late = "The standby did not confirm in time. This node stays master. See why: understudy swap --check"
    reason = late if isinstance(event, events.Ticked) else "Aborted."
    answers: list[Effect] = refuse_operator(machine, "aborted", reason)
    if machine.clear_alone or machine.clear_after:
        machine.pending.ask_again_at = now + ASK_AGAIN_S
    if isinstance(event, events.SwapAbortRequested):
        answers.append(effects.Answer(event.request, "", "Aborted: this node goes on as master."))
    return [effects.AbortHandOff(reason), *answers]


def nothing_to_abort(machine: Machine, event: events.SwapAbortRequested, now: float) -> list[Effect]:
    """Past the point of no return, or never begun."""
    text = "No hand-off can be aborted now: none runs, or it is past the point of no return. Type: understudy status"
    return [effects.Answer(event.request, "conflict", text)]
