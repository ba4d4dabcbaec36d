"""`give_up_after_s`: what an agent without a master does not start any more, and what a master waits for."""

from __future__ import annotations

import pytest

from replication.core.types import Epoch
from server.core import agent_wire as wire
from server.core.giving_up import SLACK_S, is_given_up, may_be_taken, wrong_give_up
from server.core.model import SECOND_US
from tests.unit.agent_world import A, World, order, specification


def connect(world: World, protocol: int = 2) -> None:
    """As `World.connect`, with a master of this protocol."""
    world.do(world.session.link_closed(A))
    world.do(world.session.link_opened(A))
    world.hear(wire.Office(A, "master", Epoch(1, A), world.wall_us, {}, protocol))
    world.hear(wire.Admitted(1))


def with_order(protocol: int = 2) -> World:
    """An agent that holds an instant every 10 s of a job that is given up after 30 s."""
    world = World()
    connect(world, protocol)
    world.hear(order(5, 10, 100, give_up_after_s=30))
    return world


def test_no_instant_begins_once_silent_that_long_and_each_is_accounted_for() -> None:
    """The order runs on for 30 s after the last answer; what is due later is reported as not started, with why."""
    world = with_order()
    world.do(world.session.link_closed(A))
    for _ in range(60):
        world.pass_s(1)
    assert len(world.processes) == 3, "due at 5, 15 and 25 s"
    connect(world)
    causes = [body.cause for _, body in world.bodies(wire.Suppressed)]
    assert causes == ["no master answered for 30 s"] * 3


def test_an_answer_counts_from_when_it_was_asked_for() -> None:
    """A heartbeat that lay in a buffer says when the agent asked, not when it was read: nothing begins by it."""
    world = with_order()
    asked_us = world.boot_us
    for _ in range(4):
        world.wall_us += 9 * SECOND_US
        world.boot_us += 9 * SECOND_US
    world.hear(wire.NodeHeartbeat(world.wall_us, 0, 0, asked_us))
    world.pass_s(0)
    assert not world.processes
    world.hear(wire.NodeHeartbeat(world.wall_us, 0, 0, world.boot_us))
    for _ in range(10):
        world.pass_s(1)
    assert len(world.processes) == 1


def test_a_master_that_cannot_commit_does_not_count() -> None:
    """Its heartbeats carry no answer: the stale half of a pair keeps no run alive."""
    world = with_order()
    for _ in range(60):
        world.pass_s(1)
        world.hear(wire.NodeHeartbeat(world.wall_us))
    assert len(world.processes) == 3


def test_a_master_of_the_earlier_release_counts_while_it_is_there() -> None:
    """It cannot say whether it could commit; that it speaks is all there is."""
    world = with_order(protocol=1)
    for _ in range(60):
        world.pass_s(1)
        world.hear(wire.NodeHeartbeat(world.wall_us))
    assert len(world.processes) == 6


def test_after_a_restart_of_the_agent_nothing_of_it_begins_before_an_answer() -> None:
    """When the last answer came is not on disk: not knowing counts as too long."""
    world = with_order()
    world.start()
    world.pass_s(6)
    assert not world.processes
    assert is_given_up(specification(give_up_after_s=30), None, 0)
    assert not is_given_up(specification(), None, 0)


@pytest.mark.parametrize(("after_s", "silent_s", "verdict"), [(0, 1e9, False), (30, 89, False), (30, 90, True)])
def test_the_master_waits_a_minute_longer(after_s: int, silent_s: float, verdict: bool) -> None:
    """Never without the setting, and not before the slack is over."""
    assert SLACK_S == 60
    assert may_be_taken(after_s, silent_s) is verdict


def test_the_setting_needs_may_run_twice_and_a_sensible_length() -> None:
    """Each refusal says why."""
    assert wrong_give_up(0, False) == {}
    assert wrong_give_up(30, True) == {}
    assert "may_run_twice" in wrong_give_up(30, False)["give_up_after_s"]
    assert "at least 20" in wrong_give_up(3, True)["give_up_after_s"]
