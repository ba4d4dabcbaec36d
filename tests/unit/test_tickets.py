"""Tickets: every crash of either side at every step, and every order of a node and its clone, by search."""

from __future__ import annotations

from itertools import count, product
from typing import NamedTuple

import pytest

from replication.core.tickets import NO_TICKET, Given, Ticket, confirm, fits, give

STEPS = ("given", "sent", "kept", "confirmed")
"""How far a connection comes before it breaks: durable at the master; then lost on the way; durable there; answered."""
DEPTH = 6


class World(NamedTuple):
    """What is durable at the master and at each machine that runs as the standby."""

    given: Given | None
    held: tuple[Ticket, ...]


_nonces = count()


def connected(world: World, who: int, how_far: str) -> World:
    """A connection of one machine whose ticket fits, broken off after a step."""
    shown = world.held[who]
    assert fits(world.given, shown)
    given = give(world.given, shown, next(_nonces).to_bytes(8, "big"))
    held = list(world.held)
    if how_far in ("kept", "confirmed"):
        held[who] = given.last
    return World(confirm(given, given.last) if how_far == "confirmed" else given, tuple(held))


@pytest.mark.parametrize(
    "start", [World(None, (NO_TICKET,)), World(Given(Ticket(7, b"x"), NO_TICKET, True), (NO_TICKET,))]
)
def test_no_crash_of_either_side_ever_locks_the_real_standby_out(start: World) -> None:
    """All sequences of six connections, each broken off at any step, from a new pair and from a repaired standby."""
    for steps in product(STEPS, repeat=DEPTH):
        world = start
        for step in steps:
            assert fits(world.given, world.held[0]), steps
            world = connected(world, 0, step)


def test_a_restored_master_never_locks_its_standby_out() -> None:
    """Whatever earlier state the master is put back to, the standby's ticket fits, and goes on fitting; a clone of it
    is still told apart once the standby was connected."""
    for steps in product(STEPS, repeat=4):
        world = World(None, (NO_TICKET,))
        earlier = [world.given]
        for step in steps:
            world = connected(world, 0, step)
            earlier.append(world.given)
        for given in earlier:
            again = World(given, world.held)
            for step in STEPS:
                assert fits(again.given, again.held[0]), (steps, given)
                again = connected(again, 0, step)
            if world.held[0] != NO_TICKET:
                once = connected(World(given, world.held), 0, "confirmed")
                assert not fits(once.given, world.held[0])


def test_of_a_node_and_its_clone_one_is_refused_after_the_other_was_connected() -> None:
    """After any history a clone is made; as soon as one of the two was connected in full, the other is refused."""
    refused = 0
    for before in product(STEPS, repeat=3):
        world = World(None, (NO_TICKET,))
        for step in before:
            world = connected(world, 0, step)
        if world.held[0] == NO_TICKET:
            continue  # nothing to tell it by: it never kept a ticket
        for after in product(product((0, 1), STEPS), repeat=3):
            refused += refused_in(World(world.given, (world.held[0], world.held[0])), after)
    assert refused > 1000


def refused_in(world: World, order: tuple[tuple[int, str], ...]) -> int:
    """Let both connect in this order; 1 when one was refused. After a full connection the other one must be."""
    full: int | None = None
    for who, step in order:
        allowed = fits(world.given, world.held[who])
        if full is not None and who != full:
            assert not allowed, order
        if not allowed:
            return 1
        world = connected(world, who, step)
        full = who if step == "confirmed" else full
    return 0


def test_a_snapshot_of_an_earlier_connection_is_refused() -> None:
    """The same machine put back by one confirmed connection shows a ticket that is good no more."""
    world = connected(World(None, (NO_TICKET,)), 0, "confirmed")
    snapshot = world.held[0]
    world = connected(world, 0, "confirmed")
    assert not fits(world.given, snapshot)
    assert not fits(world.given, Ticket(world.held[0].number, b"another history"))


@pytest.mark.parametrize("kept", [0, 1])
def test_a_follow_that_was_given_up_and_read_late_locks_nobody_out(kept: int) -> None:
    """Two connections of one standby show the same ticket; whichever answer it kept, it fits afterwards."""
    answers: list[Ticket] = []
    given: Given | None = Given(Ticket(7, b"x"), NO_TICKET, True)
    for nonce in (b"y", b"z"):
        given = give(given, Ticket(7, b"x"), nonce)
        answers.append(given.last)
    assert fits(given, answers[kept])
    assert given is not None
    spoken = confirm(given, answers[kept])
    assert fits(spoken, answers[kept])
    assert not fits(spoken, answers[1 - kept])
