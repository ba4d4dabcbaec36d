"""Actions of a node that founds a cluster or was master and asks for office again (role table rows 10 to 54).

Protocol: docs/protocol.md, sections 5 and 5.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replication.core import effects, events
from replication.core.effects import Effect
from replication.core.events import Event
from replication.core.guards import judge
from replication.core.messages import ClaimOffice
from replication.core.moves import (
    ALONE_NOW,
    ASK_AGAIN_S,
    UNCONFIRMED,
    ask_witnesses,
    begin,
    clear_once_held,
    next_epoch,
    refuse_operator,
    renew_claim,
    take_office,
    witnesses_missing,
)
from replication.core.types import Epoch, State

if TYPE_CHECKING:
    from replication.core.machine import Machine


def found_cluster(machine: Machine, event: events.InitRequested, now: float) -> list[Effect]:
    """`init` is the same path with epoch number 1."""
    return take_office(machine, Epoch(1, machine.node), (), "init", b"", now)


def restart_single(machine: Machine, event: events.Started, now: float) -> list[Effect]:
    """No standby was ever enrolled: nobody else can have taken office."""
    return take_office(machine, next_epoch(machine), (), "restart", b"", now)


def note_roster(machine: Machine, event: events.PeersChanged, now: float) -> list[Effect]:
    """Remember that a standby was enrolled: from then on a restart asks it.

    Only an open office that counts on nobody believes an empty roster: elsewhere it may be one not read yet. Whoever
    has the seat keeps it until the roster no longer names that node.
    """
    others = [node for node in event.peers if node != machine.node]
    known = machine.memory.standby
    if len(others) > 1:
        machine.remember(many=True)
    if known and (known in others or known in machine.memory.in_sync):
        return []
    if others or (machine.office_open and not machine.memory.in_sync):
        machine.remember(standby=others[0] if others else "", many=machine.memory.many or bool(known))
    return []


def claim(machine: Machine, event: events.PeerHeard, now: float) -> list[Effect]:
    """Ask for the next number, every peer at once: an observer that is heard more often must not keep the turn from
    the node whose grant counts. The same claim is repeated until it is answered.
    """
    if now < machine.pending.ask_again_at and machine.pending.claim == renew_claim(machine):
        return []
    return claim_again(machine, event, now)


def claim_again(machine: Machine, event: Event, now: float) -> list[Effect]:
    """Ask every connected peer out of office."""
    machine.pending.ask_again_at = now + ASK_AGAIN_S
    return [effect for peer in machine.peers if machine.connected(peer) for effect in _send_claim(machine, peer)]


def ask_again(machine: Machine, event: events.Ticked, now: float) -> list[Effect]:
    """Repeat what is unanswered, with one claim: the peers, and the witnesses too when an operator waits."""
    claims = claim_again(machine, event, now)
    if not machine.pending.request:
        machine.pending.by_itself = False
        return claims
    renew_claim(machine)
    return [*claims, *ask_witnesses(machine, forced=machine.pending.allow_data_loss)]


def ask_to_resume_alone(machine: Machine, event: events.Ticked, now: float) -> list[Effect]:
    """The standby is silent: the same claim goes to it and to the witnesses, whoever answers first."""
    machine.pending.by_itself = True
    claims = claim_again(machine, event, now)
    renew_claim(machine)
    return [*claims, *ask_witnesses(machine, forced=False)]


def _send_claim(machine: Machine, peer: str) -> list[Effect]:
    message = ClaimOffice(epoch=renew_claim(machine), office=machine.memory.office, last=machine.facts.last)
    return [effects.Send(peer, message)]


def fetch_tail(machine: Machine, event: events.GrantReceived, now: float) -> list[Effect]:
    """A longer chain of the same epoch is fetched, never cut (invariant 14)."""
    return [effects.FetchTail(event.peer)]


def resume(machine: Machine, event: events.GrantReceived, now: float) -> list[Effect]:
    """Office again with the set of before."""
    kept = machine.memory.in_sync
    refused = refuse_operator(machine, "conflict", "The standby is back: this node is master with it again.")
    opening = take_office(machine, event.epoch, kept, "restart", b"", now)
    clear_once_held(machine, now)  # also when it names our last request: it may not have fsynced that yet
    return [*refused, *opening]


def note_refusal(machine: Machine, event: events.ClaimRefused, now: float) -> list[Effect]:
    """The next claim is above what the peer knows."""
    machine.remember(seen=max(machine.memory.seen, event.highest))
    machine.pending.ask_again_at = now + ASK_AGAIN_S
    return []


def ask_to_go_alone(machine: Machine, event: events.GoAloneRequested, now: float) -> list[Effect]:
    """The operator's leave still needs the witnesses: they might know a later master.

    Leave to lose something, once given, stands while this is being asked: a claim may have gone through by it.
    """
    given = machine.pending.kind == "go_alone" and machine.pending.allow_data_loss
    begin(machine, event.request, "go_alone", event.note)
    machine.pending.ask_again_at = now + ASK_AGAIN_S
    machine.pending.claim = next_epoch(machine)
    machine.pending.allow_data_loss = event.allow_data_loss or given
    return ask_witnesses(machine, forced=machine.pending.allow_data_loss)


def explain_witnesses(machine: Machine, event: events.WitnessesAnswered, now: float) -> list[Effect]:
    """Superseded is final; silence is asked again; a number of our own, claimed before a restart, is passed."""
    highest = event.verdict.highest
    wished = machine.pending.request or machine.pending.by_itself
    if not wished or event.claim.epoch != machine.pending.claim:
        return []
    if highest.number >= event.claim.epoch.number:
        machine.remember(seen=max(machine.memory.seen, highest))
    forced = machine.pending.allow_data_loss
    if highest.node not in ("", machine.node) and highest > machine.memory.office and not forced:
        machine.remember(seen=max(machine.memory.seen, highest))
        text = (
            f"The witnesses know a later master (epoch {highest.number}): another node, whose changes this one lacks. "
            "Start Understudy on the other machine; this node follows it by itself. Only if that machine and its disk "
            "are lost for good, type here: understudy go-alone --allow-data-loss"
        )
        machine.pending.text = text
        return refuse_operator(machine, "conflict", text) if machine.pending.request else []
    if highest.number >= event.claim.epoch.number:
        renew_claim(machine)
        return ask_witnesses(machine, forced)
    machine.pending.text = witnesses_missing(event, "be master again without its standby")
    return []


def record_alone_before_office(machine: Machine, event: Event, now: float) -> list[Effect]:
    """Nothing is acknowledged alone before a majority has it."""
    pending = machine.pending
    if isinstance(event, events.WitnessesAnswered) and machine.state is State.PROMOTING:
        verdict = judge(machine, event)
        pending.text, pending.unproven = verdict.text, not verdict.lossless
    elif isinstance(event, events.WitnessesAnswered):
        pending.unproven = pending.allow_data_loss or not event.verdict.has_majority
        said = UNCONFIRMED if pending.allow_data_loss and not event.verdict.has_majority else ALONE_NOW
        pending.text = said if pending.request else ""
    machine.remember(alone_counter=machine.memory.alone_counter + 1)
    machine.pending.ask_again_at = now + ASK_AGAIN_S
    return [effects.RecordAlone(machine.pending.claim, machine.node, machine.memory.alone_counter)]


def take_office_alone(machine: Machine, event: events.AloneRecorded, now: float) -> list[Effect]:
    """Office without a standby, by resume, go-alone or promotion, or the same one in a higher number.

    An operator's word that no witness confirmed stands for one such number.
    """
    pending = machine.pending
    kind = pending.kind or "restart"
    said = pending.text or ALONE_NOW if event.done or kind == "promotion" else UNCONFIRMED
    answered = [effects.Answer(pending.request, "", said)] if pending.request else []
    since = machine.memory.alone_since_utc_us if pending.raising else machine.facts.utc_us
    leave = bool(pending.request) and (pending.unproven or not event.done)
    report = pending.text if kind == "promotion" else ""
    opening = take_office(machine, pending.claim, (), kind, pending.note, now, report)
    machine.remember(alone_since_utc_us=since, leave=leave)
    machine.clear_alone = False
    return [*opening, *answered]
