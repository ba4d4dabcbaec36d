"""The change of the seat under faults: no takeover is called lossless that lacks an acknowledged write.

Rules left out one by one are caught.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from replication.core import effects, events, moves, roles, seat
from replication.core import machine as machine_module
from replication.core.effects import Effect
from replication.core.machine import Machine
from tests.property.seat_world import C, Lost, World
from tests.unit.role_world import B

WALKS, WALKS_BROKEN, MOVES = 300, 3000, 250
Put = Callable[..., None]


def walk(seed: int) -> World:
    """One world, to its end."""
    world = World(seed)
    world.warm_up()
    for _ in range(MOVES):
        world.move()
    return world


def test_no_change_of_the_seat_loses_an_acknowledged_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seats change, nodes take over without the flag, and none of them lacks what was acknowledged."""
    taken = set[int]()

    def take(machine: Machine, row: roles.Row, *rest: Any) -> list[Effect]:
        taken.add(row.number)
        return shipped(machine, row, *rest)

    shipped = Machine._take
    monkeypatch.setattr(Machine, "_take", take)
    worlds = [walk(seed) for seed in range(WALKS)]
    assert taken >= {149, 157, 180, 182, 184}
    assert sum(world.changes for world in worlds) > WALKS / 10
    assert sum(world.takeovers for world in worlds) > WALKS / 10
    takers = {world.takeover[0] for world in worlds if world.takeover}
    assert takers == {B, C}


def _names_nobody(put: Put) -> None:
    """The witnesses hear that nobody writes alone, as of a pair."""
    put(149, guard=_recorded_for_anybody)


def _recorded_for_anybody(machine: Machine, event: events.AloneRecorded) -> bool:
    return event.done and event.alone == "" and len(machine.memory.in_sync) > 1


def _waits_for_no_witness(put: Put) -> None:
    """The former standby is let go as soon as a question is answered, also without a majority."""
    put(149, guard=lambda machine, event: len(machine.memory.in_sync) > 1 and event.epoch == machine.memory.office)


def _lets_go_at_once(put: Put) -> None:
    """The former standby is not needed any more while the witnesses are told."""

    def give(machine: Machine, event: events.SeatRequested, now: float) -> list[Effect]:
        found = seat.give(machine, event, now)
        machine.remember(in_sync=(event.node,))
        return [effects.RequireAcks(frozenset({event.node})), *found[1:]]

    put(180, action=give)


def _needs_both_until_a_crash(put: Put) -> None:
    """That both are needed is not durable."""

    def give(machine: Machine, event: events.SeatRequested, now: float) -> list[Effect]:
        before = machine.memory.in_sync
        found = seat.give(machine, event, now)
        machine.remember(in_sync=before)
        return found

    put(180, action=give)
    put(149, guard=lambda machine, event: event.done and event.alone == machine.memory.standby)


def _is_content_with_one_grant(put: Put) -> None:
    """While two are counted on, a restart asks whichever answers."""
    put(36, guard=lambda machine, event: event.peer in machine.memory.in_sync and event.epoch == machine.pending.claim)


def _names_it_before_it_is_complete(put: Put) -> None:
    """The witnesses hear the name at once, whatever the node holds."""

    def give(machine: Machine, event: events.SeatRequested, now: float) -> list[Effect]:
        return [*seat.give(machine, event, now), *moves.clear_alone(machine, now)]

    put(180, action=give)


def _takes_it_back_at_once(put: Put) -> None:
    """A change that fails is undone without the witnesses."""

    def give_back(machine: Machine, event: events.Ticked, now: float) -> list[Effect]:
        found = seat.give_back(machine, event, now)
        machine.remember(in_sync=(machine.memory.standby,))
        return [*found, effects.RequireAcks(frozenset(machine.memory.in_sync))]

    put(157, action=give_back)


@pytest.mark.parametrize(
    ("leave_out", "first"),
    [
        (_names_nobody, 0),
        (_waits_for_no_witness, 0),
        (_lets_go_at_once, 0),
        (_needs_both_until_a_crash, 0),
        (_is_content_with_one_grant, 7300),  # seldom: one walk of some thousands
        (_names_it_before_it_is_complete, 3400),
        (_takes_it_back_at_once, 0),
    ],
)
def test_each_rule_of_the_change_is_needed(
    leave_out: Callable[[Put], None], first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left out, some walk ends with a lossless takeover that lacks an acknowledged write."""

    tables = [roles.TABLE]

    def put(number: int, **changed: Any) -> None:
        table = [replace(row, **changed) if row.number == number else row for row in tables[-1]]
        tables.append(tuple(table))
        monkeypatch.setattr(machine_module, "TABLE", tables[-1])

    leave_out(put)
    if leave_out is _names_nobody:
        monkeypatch.setattr(Machine, "counted_name", property(lambda machine: ""))
    with pytest.raises(Lost):
        [walk(seed) for seed in range(first, first + WALKS_BROKEN)]
