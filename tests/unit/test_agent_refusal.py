"""Whom an agent refuses when two nodes are linked, and who hears of it (BEY-4)."""

from __future__ import annotations

from replication.core.types import NO_EPOCH, Epoch
from server.core import agent_wire as wire
from tests.unit.agent_world import A, B, World


def test_a_master_that_is_still_linked_hears_of_the_new_epoch_at_once() -> None:
    """BEY-4: an agent that comes to obey another office tells the one whose link stands, and both, whom it refuses."""
    world = World()
    world.connect()
    world.connect(2, B, ticket=2)
    told = [(node, m) for node, m in world.sent if isinstance(m, wire.EpochRefused)]
    refused = wire.EpochRefused(Epoch(1, A), Epoch(2, B))
    assert sorted(told) == [(A, refused), (B, refused)]
    assert [body.text for _, body in world.bodies(wire.Trouble)] == [
        f"Orders of epoch {Epoch(1, A)} were refused: epoch {Epoch(2, B)} is obeyed."
    ]


def test_a_former_master_that_stood_down_is_not_refused() -> None:
    """After a planned swap the old master's link stands and says that it is a standby: no trouble is reported."""
    world = World()
    world.connect()
    world.hear(wire.Office(A, "standby", NO_EPOCH, world.wall_us))
    world.connect(2, B, ticket=2)
    assert not world.told(wire.EpochRefused)
    assert not world.bodies(wire.Trouble)
