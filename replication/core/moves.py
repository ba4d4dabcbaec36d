"""What several actions of the role table share: the next number, a claim, taking office, refusing an operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replication.core import effects
from replication.core.effects import Effect
from replication.core.events import Event, WitnessesAnswered
from replication.core.types import NO_EPOCH, Epoch
from replication.core.witness import Claim

if TYPE_CHECKING:
    from replication.core.machine import Machine

ASK_AGAIN_S = 2.0
NEXT_STEP = -1
"""`Machine.clear_after` until the next step knows where the journal ends."""
ALONE_NOW = "Writes are acknowledged by this node alone from now on."
GONE_FOR_GOOD = "If standby and witnesses are gone for good, type: understudy go-alone --allow-data-loss"
UNCONFIRMED = (
    f"{ALONE_NOW} No majority of the witnesses confirmed it: if another node is master, what one of the two accepts "
    "will be lost."
)


def nothing(machine: Machine, event: Event, now: float) -> list[Effect]:
    """Only the state changes."""
    return []


def next_epoch(machine: Machine) -> Epoch:
    return Epoch(machine.highest_number() + 1, machine.node)


def renew_claim(machine: Machine) -> Epoch:
    """Our unanswered claim, or the next number when another epoch has reached it."""
    claim = machine.pending.claim
    if claim.number <= machine.highest_number(but=claim):
        machine.pending.claim = next_epoch(machine)
    return machine.pending.claim


def begin(machine: Machine, request: int, kind: str, note: bytes) -> None:
    machine.pending = type(machine.pending)(request=request, kind=kind, note=note)


def ask_witnesses(machine: Machine, forced: bool) -> list[Effect]:
    return ask_witnesses_of(machine, machine.pending.claim, forced)


def ask_witnesses_of(machine: Machine, epoch: Epoch, forced: bool) -> list[Effect]:
    last = machine.facts.last
    return [effects.AskWitnesses(Claim(epoch, machine.journal_epoch, last.sequence, forced))]


def witnesses_missing(event: WitnessesAnswered, what: str) -> str:
    """Why there is no majority, and what to type, for the status page."""
    verdict = event.verdict
    if verdict.asked == 0:
        return f"No witness is enrolled, so only you can let this node {what}. Type: understudy go-alone"
    return (
        f"{verdict.answered} of {verdict.asked} witnesses answered and {verdict.granted} agreed that this node may "
        f"{what}; asking again. Start the standby or the agents that are witnesses (understudy witness list). "
        f"{GONE_FOR_GOOD}"
    )


def refuse_operator(machine: Machine, code: str, text: str) -> list[Effect]:
    request = machine.pending.request
    begin(machine, 0, "", b"")
    return [effects.Answer(request, code, text)] if request else []


def clear_once_held(machine: Machine, now: float) -> None:
    """Have the witnesses told once the standby holds all that may have been acknowledged without it.

    It may not have heard yet that it was not counted on; a witness that says "nobody" would make its takeover lossless.
    Requests may still be acknowledged alone while the memory is made durable, before the required fsyncs change: what
    the journal holds at the next step is what counts.
    """
    machine.clear_after = NEXT_STEP
    machine.pending.ask_again_at = now


def clear_alone(machine: Machine, now: float) -> list[Effect]:
    """Tell the witnesses that nobody writes alone any more, until a majority has it.

    Of more than two nodes they hear the name of the one that is counted on: a former standby that missed it all would
    take "nobody" for a proof that nothing was acknowledged without it (docs/decisions/0070).
    """
    machine.clear_alone, machine.clear_after = True, 0
    machine.pending.by_itself = machine.pending.agreed = False
    machine.pending.alone_from = machine.memory.alone_counter + 1
    return record_again(machine, now)


def record_again(machine: Machine, now: float) -> list[Effect]:
    """Tell the witnesses (again) who writes alone in the present office; the counter is durable first."""
    alone = machine.counted_name if machine.clear_alone else machine.node
    machine.pending.ask_again_at = now + ASK_AGAIN_S
    machine.remember(alone_counter=machine.memory.alone_counter + 1)
    return [effects.RecordAlone(machine.memory.office, alone, machine.memory.alone_counter)]


def take_office(
    machine: Machine, epoch: Epoch, in_sync: tuple[str, ...], kind: str, note: bytes, now: float, report: str = ""
) -> list[Effect]:
    seen = max(machine.memory.seen, epoch)
    relapses = machine.memory.relapses if kind == "restart" else 0
    machine.remember(
        office=epoch, seen=seen, in_sync=in_sync, enlisted=False, token=NO_EPOCH, alone_since_utc_us=0, leave=False,
        relapses=relapses, observer=False,
    )  # fmt: skip
    machine.caught_up_since.clear()
    machine.grants = frozenset()
    machine.counted_since, machine.office_open = now, False
    machine.clear_after = 0
    begin(machine, 0, "", b"")
    return [
        effects.Unfollow(),
        effects.RequireAcks(frozenset(in_sync)),
        effects.OpenOffice(epoch, kind, note, report),
    ]
