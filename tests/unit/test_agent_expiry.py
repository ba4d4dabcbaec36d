"""What an agent keeps for days is not too old because a clock was wrong."""

from __future__ import annotations

import pytest

from replication.core.types import Epoch
from server.core import agent_wire as wire
from server.core.model import SECOND_US
from tests.unit.agent_world import A, World, specification

KEY = "j1.rr1.a1"
DAY_S, YEAR_S = 86400, 365 * 86400


def acknowledged_alone(world: World) -> None:
    """A run ended, and a master that writes alone has its reports."""
    world.connect()
    world.hear(wire.Dispatch(KEY, specification()))
    world.do(world.session.ended(KEY, world.end(0), world.now))
    world.hear(wire.Kept(tuple(world.disk.reports), 40, False))
    assert len(world.disk.marks) == 2


@pytest.mark.parametrize("boots", [False, True])
def test_a_clock_that_jumps_ahead_drops_no_report(boots: bool) -> None:
    """A year forward, also over a boot: what a lone master has is sent again to the next one, and begins no more."""
    world = World()
    acknowledged_alone(world)
    world.wall_us += YEAR_S * SECOND_US
    if boots:
        world.reboot()
    for _ in range(3):
        world.pass_s(3601)
    assert len(world.disk.reports) == 2
    world.wall_us -= YEAR_S * SECOND_US
    world.connect(2, ticket=2)
    assert len(world.bodies(wire.Ended)) == 1
    world.hear(wire.Dispatch(KEY, specification()))
    assert world.processes == {KEY: 1}


def test_a_clock_of_2020_that_is_set_right_drops_no_report() -> None:
    """The time of an acknowledgement is the master's: the agent's own was of years ago."""
    world = World()
    right_us = world.wall_us
    world.wall_us -= 6 * YEAR_S * SECOND_US
    world.do(world.session.link_opened(A))
    world.hear(wire.Office(A, "master", Epoch(1, A), right_us))
    world.hear(wire.Admitted(1))
    world.hear(wire.Dispatch(KEY, specification()))
    world.do(world.session.ended(KEY, world.end(0), world.now))
    world.hear(wire.Kept(tuple(world.disk.reports), 40, False))
    world.wall_us = right_us
    world.hear(wire.NodeHeartbeat(world.wall_us, 0))
    world.pass_s(3601)
    assert len(world.disk.reports) == 2
    world.pass_s(7 * DAY_S)
    assert world.disk.reports == {}
