"""The session machine of an agent, by cases: BEY-4, JS7-1, JS7-3, SKY-2, tickets and clocks."""

from __future__ import annotations

import pytest

from replication.core.types import NO_EPOCH, Epoch
from server.core import agent_wire as wire
from server.core.agent_trust import Moment, distrusted_clock, obeys, ticket_fits
from server.core.model import SECOND_US
from tests.unit.agent_world import START_US, A, B, World, order, specification

KEY = "j1.rone.a1"


def dispatch(name: str = "one") -> wire.Dispatch:
    return wire.Dispatch(f"j1.r{name}.a1", specification())


@pytest.mark.parametrize(
    ("highest", "offered", "verdict"),
    [
        (NO_EPOCH, Epoch(1, A), True),
        (Epoch(1, A), Epoch(2, B), True),
        (Epoch(2, B), Epoch(2, B), True),
        (Epoch(2, B), Epoch(1, A), False),
        (Epoch(2, A), Epoch(2, B), False),
        (Epoch(2, B), Epoch(2, A), False),
        (NO_EPOCH, NO_EPOCH, False),
    ],
)
def test_which_epochs_are_obeyed(highest: Epoch, offered: Epoch, verdict: bool) -> None:
    """BEY-4: higher, or the very same; never lower, never the same number from another node."""
    assert obeys(highest, offered) is verdict


@pytest.mark.parametrize(
    ("given", "confirmed", "shown", "verdict"),
    [
        (0, 0, 0, True),
        (5, 4, 5, True),
        (5, 4, 4, True),
        (5, 5, 4, False),
        (5, 4, 3, False),
        (5, 5, 6, True),
        (0, 0, 7, True),
    ],
)
def test_which_tickets_fit(given: int, confirmed: int, shown: int, verdict: bool) -> None:
    """The last one, its predecessor while it is not confirmed, or a newer one; an older one is a copy."""
    assert ticket_fits(given, confirmed, shown) is verdict


def test_a_stale_master_is_refused_on_all_links_and_reported_once() -> None:
    """BEY-4: everybody connected is told, and one report waits for the master."""
    world = World()
    world.connect(5, A)
    world.do(world.session.link_opened(B))
    for _ in range(2):
        world.hear(wire.Office(B, "master", Epoch(4, B), world.wall_us), B)
    world.hear(dispatch(), B)
    refusals = [(node, m) for node, m in world.sent if isinstance(m, wire.EpochRefused)]
    assert {node for node, _ in refusals} == {A, B}
    assert len(world.bodies(wire.Trouble)) == 1
    assert world.processes == {}


def test_a_higher_epoch_is_durable_before_it_is_answered() -> None:
    """A crash before the save leaves the old epoch; after the save the new one is obeyed for ever."""
    world = World()
    world.connect(1, A)
    world.do(world.session.link_opened(B))
    office = wire.Office(B, "master", Epoch(2, B), world.wall_us)
    world.do(world.session.received(B, office, world.now), crash_before_saves=True)
    assert world.disk.durable.epoch == Epoch(1, A)
    world.do(world.session.link_opened(B))
    world.do(world.session.received(B, office, world.now), crash_after_saves=True)
    assert world.disk.durable.epoch == Epoch(2, B)
    world.connect(1, A)
    assert world.session.obeyed == ""


def test_commands_before_admission_are_dropped() -> None:
    """Nothing is dispatched before the inventory of this epoch is reconciled."""
    world = World()
    world.do(world.session.link_opened(A))
    world.hear(wire.Office(A, "master", Epoch(1, A), world.wall_us))
    world.hear(dispatch())
    assert world.processes == {}
    world.hear(wire.Admitted(1))
    world.hear(dispatch())
    assert world.processes == {KEY: 1}


def test_a_dispatch_twice_is_one_start_also_after_it_was_forgotten() -> None:
    """The bare key of a forgotten run keeps a late dispatch from starting it again."""
    world = World()
    world.connect()
    world.hear(dispatch())
    world.hear(dispatch())
    world.do(world.session.ended(KEY, world.end(0), world.now))
    world.hear(wire.Kept(tuple(world.disk.reports), 9, True))
    assert world.forgotten == [KEY]
    assert world.disk.reports == {}
    world.start()
    world.connect(ticket=2)
    world.hear(dispatch())
    assert world.processes == {KEY: 1}


def test_what_a_lone_master_acknowledged_stays_until_it_is_replicated() -> None:
    """JS7-3: marked, sent again to the next epoch, and forgotten when the standby holds the position."""
    world = World()
    world.connect()
    world.hear(dispatch())
    world.do(world.session.ended(KEY, world.end(0), world.now))
    numbers = tuple(world.disk.reports)
    world.hear(wire.Kept(numbers, 40, False))
    assert tuple(world.disk.marks) == numbers
    world.hear(wire.NodeHeartbeat(world.wall_us, 39))
    assert tuple(world.disk.reports) == numbers
    world.sent.clear()
    world.do(world.session.link_closed(A))
    world.connect(2, B, ticket=2)
    assert [m.id for m in world.told(wire.Report)] == list(numbers)
    world.hear(wire.Kept(numbers, 50, False), B)
    world.hear(wire.NodeHeartbeat(world.wall_us, 50), B)
    assert world.disk.reports == {}


def test_a_mark_and_its_runs_files_are_kept_for_seven_days() -> None:
    """A master that stays alone for ever does not fill the agent's disk."""
    world = World()
    world.connect()
    world.hear(dispatch())
    end = wire.Ended(0, None, world.wall_us, world.wall_us, 100, False)
    world.do(world.session.ended(KEY, end, world.now))
    world.hear(wire.Kept(tuple(world.disk.reports), 40, False))
    world.do(world.session.link_closed(A))
    world.pass_s(6.9 * 86400)
    assert len(world.disk.reports) == 2
    world.pass_s(0.2 * 86400)
    assert world.disk.reports == {}
    assert world.forgotten == [KEY]


def test_instants_begin_on_time_without_a_master_and_once() -> None:
    """JS7-1: 24 hours of silence, one start for each instant, none for the second look at the same time."""
    world = World()
    world.connect()
    world.hear(order(60, 3600, 24, valid_s=90000))
    world.do(world.session.link_closed(A))
    for _ in range(24 * 60 + 2):
        world.pass_s(60)
        world.do(world.session.tick(world.now))
    assert len(world.processes) == 24
    assert set(world.processes.values()) == {1}


def test_nothing_begins_after_the_order_has_ended() -> None:
    """JS7-2: valid_until is the lease."""
    world = World()
    world.connect()
    world.hear(order(60, 60, 1000, valid_s=150))
    world.do(world.session.link_closed(A))
    for _ in range(400):
        world.pass_s(1)
    assert len(world.processes) == 2


@pytest.mark.parametrize(
    ("policy", "started", "suppressed"), [("skip", 0, 5), ("once", 1, 4), ("all", 5, 0), ("ask", 0, 5)]
)
def test_past_instants_wait_for_the_master_and_follow_the_policy(policy: str, started: int, suppressed: int) -> None:
    """After a restart of the agent the past is caught up only when the master has answered."""
    world = World()
    world.connect()
    world.hear(order(60, 60, 5, misfire_policy=policy))
    world.wall_us += 400 * SECOND_US
    world.boot_us += 400 * SECOND_US
    world.start()
    world.pass_s(1)
    assert world.processes == {}
    world.connect(ticket=2)
    world.pass_s(1)
    assert len(world.processes) == started
    assert len(world.bodies(wire.Suppressed)) == suppressed
    if policy == "once":
        assert list(world.processes) == ["j1.s5.20270115T080500Z.a1"]


def test_after_a_reboot_nothing_begins_before_the_master_answers() -> None:
    """A new boot id: not even an instant that is due now; what ran before the boot is interrupted."""
    world = World()
    world.connect()
    world.hear(order(60, 60, 100))
    world.hear(dispatch())
    world.reboot()
    world.pass_s(61)
    assert list(world.processes) == [KEY]
    assert "restarted" in world.session.waiting(world.now)
    world.connect(ticket=2)
    ends = world.bodies(wire.Ended)
    assert [(key, body.cause) for key, body in ends if isinstance(body, wire.Ended)] == [(KEY, "interrupted")]
    world.pass_s(60)
    assert len(world.processes) == 3


def test_a_locked_queue_holds_in_order_and_unlock_begins_in_order() -> None:
    """SKY-2: acknowledged, held with the reason, begun in the order of becoming due."""
    world = World()
    world.connect()
    world.hear(wire.SetGates(wire.GateSet(2, ("queue_locked",))))
    assert wire.GatesKept(2) in world.told(wire.GatesKept)
    world.hear(order(60, 60, 2))
    world.pass_s(60)
    world.hear(dispatch())
    world.pass_s(60)
    assert world.processes == {}
    assert [body.reason for _, body in world.bodies(wire.Held) if isinstance(body, wire.Held)] == ["queue locked"] * 3
    world.hear(wire.SetGates(wire.GateSet(3)))
    assert list(world.processes) == ["j1.s5.20270115T080100Z.a1", KEY, "j1.s5.20270115T080200Z.a1"]


def test_a_gate_is_acknowledged_only_when_no_intent_awaits_its_process() -> None:
    """An intent whose process is not yet there would begin after the acknowledgement."""
    world = World()
    world.connect()
    outcome = world.session.received(A, dispatch(), world.now)
    world.hear(wire.SetGates(wire.GateSet(2, ("queue_locked",))))
    assert world.told(wire.GatesKept) == []
    world.do(outcome)
    assert world.told(wire.GatesKept) == [wire.GatesKept(2)]


def test_a_stopped_scheduler_suppresses_due_instants() -> None:
    """BEY-9: reported with the cause, left open for the ledger."""
    world = World()
    world.connect()
    world.hear(wire.SetGates(wire.GateSet(2, ("scheduler_stopped",))))
    world.hear(order(60, 60, 3))
    for _ in range(3):
        world.pass_s(60)
    causes = {(b.cause, b.settled) for _, b in world.bodies(wire.Suppressed) if isinstance(b, wire.Suppressed)}
    assert causes == {("scheduler stopped", False)}
    assert world.processes == {}


def test_a_quarantined_agent_starts_nothing_until_it_is_admitted_again() -> None:
    """The order is durable: kill -9 does not end it."""
    world = World()
    world.connect()
    world.hear(order(60, 60, 10))
    world.hear(wire.Quarantined("it runs twice"))
    world.start()
    world.pass_s(60)
    assert world.processes == {}
    assert "it runs twice" in world.session.waiting(world.now)
    world.connect(ticket=9)
    world.pass_s(60)
    assert len(world.processes) == 2


def test_an_accepted_snapshot_does_not_catch_up() -> None:
    """BEY-9: what the lost part of its life may have run is not run again; each instant goes to the ledger."""
    world = World()
    world.connect()
    world.hear(order(60, 60, 10, misfire_policy="all"))
    world.wall_us += 300 * SECOND_US
    world.boot_us += 300 * SECOND_US
    world.start()
    world.connect(ticket=2, restored=True)
    world.pass_s(1)
    assert world.processes == {}
    suppressed = [body for _, body in world.bodies(wire.Suppressed) if isinstance(body, wire.Suppressed)]
    assert [body.instant_us for body in suppressed] == [START_US + n * 60 * SECOND_US for n in range(1, 6)]
    assert {(body.cause, body.settled) for body in suppressed} == {("agent was quarantined", False)}


@pytest.mark.parametrize(
    ("now", "highest", "offset", "skew", "word"),
    [
        (Moment(100, 50), 100, 50, 0, ""),
        (Moment(99, 50), 100, 49, 0, "behind"),
        (Moment(100 + 61 * SECOND_US, 50), 0, 50, 0, "moved by +61"),
        (Moment(100, 50), 0, 50, -3600 * SECOND_US, "-3600"),
    ],
)
def test_when_the_clock_is_not_trusted(now: Moment, highest: int, offset: int, skew: int, word: str) -> None:
    """Behind a time already seen, moved against the boot clock, or unlike the master's: each says what to do."""
    sentence = distrusted_clock(now, highest, offset, skew)
    assert (word in sentence) if word else sentence == ""
    assert not word or "timedatectl" in sentence


def test_a_clock_set_forward_starts_nothing_and_recovers_with_the_next_contact() -> None:
    """The drift against the boot clock since the last contact stops standing orders; a right clock lets them go on."""
    world = World()
    world.connect()
    world.hear(order(600, 60, 3))
    world.do(world.session.link_closed(A))
    world.wall_us += 3600 * SECOND_US
    world.do(world.session.tick(world.now))
    assert world.processes == {}
    assert "moved" in world.session.waiting(world.now)
    world.wall_us -= 3600 * SECOND_US
    for _ in range(12):
        world.pass_s(60)
    assert len(world.processes) == 3


def test_a_stop_for_an_unknown_run_keeps_it_from_beginning() -> None:
    """The answer says that it never began, and a late dispatch changes nothing."""
    world = World()
    world.connect()
    world.hear(wire.StopRun(KEY))
    world.hear(dispatch())
    assert world.processes == {}
    assert [key for key, _ in world.bodies(wire.Ended)] == [KEY]


def test_an_old_intent_without_a_process_is_never_begun() -> None:
    """The agent was dead for longer than a minute between intent and process: reported, not started late."""
    world = World()
    world.connect()
    world.do(world.session.received(A, dispatch(), world.now), crash_after_saves=True)
    world.wall_us += 61 * SECOND_US
    world.boot_us += 61 * SECOND_US
    world.connect(ticket=2)
    assert world.processes == {}
    assert [b.cause for _, b in world.bodies(wire.Ended) if isinstance(b, wire.Ended)] == ["never started"]


def test_a_release_says_which_instants_began() -> None:
    """A live order moves with the list of what was started; suppressed and future instants are not in it."""
    world = World()
    world.connect()
    world.hear(order(60, 60, 10))
    world.pass_s(60)
    world.hear(wire.SetGates(wire.GateSet(2, ("scheduler_stopped",))))
    world.pass_s(60)
    world.hear(wire.ReleaseOrder(1, 2))
    assert world.told(wire.Released) == [wire.Released(1, 2, (START_US + 60 * SECOND_US,))]
    for _ in range(3):
        world.pass_s(60)
    assert len(world.processes) == 1
    world.hear(wire.ReleaseOrder(77, 1))
    assert world.told(wire.Released)[-1] == wire.Released(77, 1, ())


def test_the_cursor_follows_what_is_settled() -> None:
    """Looking at an order never costs more for having been held long."""
    world = World()
    world.connect()
    world.hear(order(60, 60, 10))
    for _ in range(3):
        world.pass_s(60)
    assert world.disk.orders[1].cursor_us == world.wall_us


def test_a_run_is_forgotten_only_with_its_last_report() -> None:
    """Its files stay while any report of it may have to be sent again."""
    world = World()
    world.connect()
    world.hear(dispatch())
    world.do(world.session.ended(KEY, world.end(0), world.now))
    begun, ended = world.disk.reports
    world.hear(wire.Kept((ended,), 9, True))
    assert world.forgotten == []
    world.hear(wire.Kept((begun,), 10, True))
    assert world.forgotten == [KEY]


def test_start_of_the_epoch_used_here() -> None:
    """The keys above name real times: START_US is 2027-01-15 08:00:00 UTC."""
    assert START_US == 1_800_000_000_000_000


def test_only_a_master_takes_an_address_away() -> None:
    """A standby's copy may be of before its own enrolment: its roster adds and corrects, and locks nobody out."""
    world = World()
    world.hear(wire.Office(B, "standby", NO_EPOCH, world.wall_us, {A: "old:1"}), B)
    assert world.disk.durable.roster == {}
    world.hear(wire.Office(A, "master", Epoch(1, A), world.wall_us, {A: "a:1", B: "b:1"}), A)
    world.hear(wire.Office(B, "standby", NO_EPOCH, world.wall_us, {A: "old:1"}), B)
    assert world.disk.durable.roster == {A: "old:1", B: "b:1"}
    world.hear(wire.Office(A, "master", Epoch(1, A), world.wall_us, {A: "a:1"}), A)
    assert world.disk.durable.roster == {A: "a:1"}
