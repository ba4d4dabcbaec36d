"""A copied or restored agent directory, as the session sees it."""

from __future__ import annotations

from tests.unit.agent_world import World, order


def test_in_a_copy_of_the_memory_nothing_begins_before_the_master_answers() -> None:
    """SKY-11: a copied directory, started on the same machine without a boot between, is no second agent."""
    world = World()
    world.connect()
    world.hear(order(60, 60, 100))
    world.pass_s(60)
    original = list(world.processes)
    assert len(original) == 1
    world.place = "disk-2"
    world.start()
    world.pass_s(120)
    assert list(world.processes) == original
    assert "copied or restored" in world.session.waiting(world.now)
    world.connect(ticket=2)
    world.pass_s(60)
    assert len(world.processes) > 1
    world.start()
    assert world.session.waiting(world.now) == ""
