"""The seat: which of several nodes the master counts on or would count on (role table rows 149, 157, 180 to 184).

Everybody else is an observer. While in sync the seat goes from B to C so (docs/decisions/0070): the set is {B, C},
durably, and a write needs both; once C holds what was before, the witnesses record C by name, which takes B's proof of
having everything away; when a majority has it the set is {C}. So whichever of them a majority calls complete is
complete, at every step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replication.core import effects, events
from replication.core.effects import Effect
from replication.core.guards import standby_keeps_up
from replication.core.moves import begin, clear_alone, clear_once_held, refuse_operator

if TYPE_CHECKING:
    from replication.core.machine import Machine


def may_be_given(machine: Machine, event: events.SeatRequested) -> bool:
    """Whoever is counted on keeps up, and so does the observer, for as long as a standby has to; nothing else runs."""
    pending, members = machine.pending, machine.memory.in_sync
    is_quiet = not (pending.request or pending.by_itself or machine.clear_alone or machine.clear_after)
    if not machine.office_open or not is_quiet or event.node == machine.memory.standby:
        return False
    return len(members) == 1 and standby_keeps_up(machine, event) and _keeps_up(machine, event.node)


def is_free_to_give(machine: Machine, event: events.SeatRequested) -> bool:
    """Nobody is counted on, so that the seat is a name only: whoever has it is counted on once it is steady."""
    return machine.office_open and event.node != machine.node


def is_recorded(machine: Machine, event: events.AloneRecorded) -> bool:
    """A majority names the node with the seat in this office, while it is counted on beside another."""
    asked = event.alone == machine.memory.standby and event.counter >= machine.pending.alone_from
    changing = machine.clear_alone and len(machine.memory.in_sync) > 1
    return event.done and asked and changing and event.epoch == machine.memory.office


def is_failing(machine: Machine, event: events.Ticked) -> bool:
    """Writes wait for the node that is to take the seat, and the other one keeps up."""
    members, target = machine.memory.in_sync, machine.memory.standby
    if len(members) < 2 or not machine.office_open or not machine.outstanding:
        return False
    is_late = machine.now - machine.progressed_at >= machine.standby_timeout_s / 2
    others = [node for node in members if node != target]
    up = all(machine.connected(node) and node in machine.caught_up_since for node in others)
    return is_late and up and not (machine.connected(target) and target in machine.caught_up_since)


def give(machine: Machine, event: events.SeatRequested, now: float) -> list[Effect]:
    """Both are needed from now on, also by a restart: durable before the witnesses hear the name."""
    members = (*machine.memory.in_sync, event.node)
    machine.remember(in_sync=members, standby=event.node, many=True)
    begin(machine, event.request, "seat", b"")
    machine.pending.text = "Both nodes are counted on until a majority of the witnesses knows who has the seat."
    clear_once_held(machine, now)
    return [effects.RequireAcks(frozenset(members))]


def conclude(machine: Machine, event: events.AloneRecorded, now: float) -> list[Effect]:
    """The former standby can no longer prove anything by the witnesses: writes need it no more."""
    members = (machine.memory.standby,)
    machine.remember(in_sync=members)
    machine.clear_alone, machine.counted_since = False, now
    request, machine.pending.ask_again_at = machine.pending.request, 0.0
    begin(machine, 0, "", b"")
    said = f"Node {members[0][:8]} has the seat: it is counted on, the others are observers."
    return [effects.RequireAcks(frozenset(members)), *([effects.Answer(request, "", said)] if request else [])]


def give_back(machine: Machine, event: events.Ticked, now: float) -> list[Effect]:
    """The same way back: both stay needed until the witnesses name the former standby again."""
    kept = next(node for node in machine.memory.in_sync if node != machine.memory.standby)
    machine.remember(standby=kept)
    text = (
        "The node that was to take the seat does not keep up: the standby keeps it. "
        "Type `understudy status` on that node, then try again."
    )
    return [*refuse_operator(machine, "aborted", text), *clear_alone(machine, now)]


def assign(machine: Machine, event: events.SeatRequested, now: float) -> list[Effect]:
    """Nothing is acknowledged otherwise than before: this master still writes alone."""
    machine.remember(standby=event.node, many=machine.memory.many or not machine.has_seat(event.node))
    text = f"Node {event.node[:8]} has the seat: it is counted on as soon as it has kept up for a while."
    return [effects.Answer(event.request, "", text)]


def refuse(machine: Machine, event: events.SeatRequested, now: float) -> list[Effect]:
    """Why not, and what to do first; said twice it is said once."""
    if (event.node,) == machine.memory.in_sync:
        return [effects.Answer(event.request, "", "That node has the seat already.")]
    return [effects.Answer(event.request, "conflict", _why_not(machine, event.node))]


def _why_not(machine: Machine, node: str) -> str:
    if not machine.office_open or node == machine.node:
        return "Only a master gives the seat, and to another node. Type this at the master: understudy node seat NODE"
    if (
        len(machine.memory.in_sync) > 1
        or machine.pending.request
        or machine.pending.by_itself
        or machine.clear_alone
        or machine.clear_after
    ):
        return "Another change is under way: the witnesses are still being told. Wait a moment and try again."
    if not standby_keeps_up(machine, events.Event()):
        return "The standby does not keep up. Wait until it does; if it is gone for good, type: understudy go-alone"
    if not machine.connected(node):
        return "That node is not connected. Start it, and wait until it has kept up for a while."
    return "That node has not kept up for long enough. Wait until it has everything, then try again."


def _keeps_up(machine: Machine, node: str) -> bool:
    return machine.connected(node) and machine.is_steady(node)
