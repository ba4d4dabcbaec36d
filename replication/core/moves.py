"""What several actions of the role table share: the next number, a claim, taking office, refusing an operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replication.core import effects
from replication.core.effects import Effect
from replication.core.events import Event
from replication.core.types import Epoch
from replication.core.witness import Claim

if TYPE_CHECKING:
    from replication.core.machine import Machine

ASK_AGAIN_S = 2.0


def nothing(machine: Machine, event: Event, now: float) -> list[Effect]:
    """Only the state changes."""
    return []


def next_epoch(machine: Machine) -> Epoch:
    return Epoch(machine.highest_number() + 1, machine.node)


def begin(machine: Machine, request: int, kind: str, note: bytes) -> None:
    machine.pending = type(machine.pending)(request=request, kind=kind, note=note)


def ask_witnesses(machine: Machine, forced: bool) -> list[Effect]:
    last = machine.facts.last
    return [effects.AskWitnesses(Claim(machine.pending.claim, machine.journal_epoch, last.sequence, forced))]


def refuse_operator(machine: Machine, code: str, text: str) -> list[Effect]:
    request = machine.pending.request
    begin(machine, 0, "", b"")
    return [effects.Answer(request, code, text)] if request else []


def take_office(machine: Machine, epoch: Epoch, in_sync: tuple[str, ...], kind: str, note: bytes) -> list[Effect]:
    machine.remember(office=epoch, seen=max(machine.memory.seen, epoch), in_sync=in_sync, enlisted=False)
    machine.caught_up_since.clear()
    begin(machine, 0, "", b"")
    return [
        effects.Unfollow(),
        effects.RequireAcks(frozenset(in_sync)),
        effects.OpenOffice(epoch, kind, note),
    ]
