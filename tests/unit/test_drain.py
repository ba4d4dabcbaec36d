"""core.agent_drain and actions.drains: who takes no new runs, what becomes of those that run, who is told (SMA-4)."""

from __future__ import annotations

import msgspec
import pytest

from server.actions import drains, gates, reconciliation, reports
from server.core import agent_wire as wire
from server.core.agent_drain import drains_on_stop
from server.core.agent_reports import Parted
from server.core.drain_words import count, summary
from server.core.model import SECOND_US, Principal
from server.errors import Conflict, Forbidden, Invalid
from server.storage import drains as rows
from server.storage import gates as gate_rows
from tests.unit.agent_world import A, World, order, specification
from tests.unit.ledger import START_US, Ledger

ANN = Principal("ann", "administrator")
ASKED_US = 77


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    made.add_agent("north")
    return made


@pytest.fixture
def world() -> World:
    made = World()
    connect(made)
    return made


def connect(world: World, ticket: int = 1, protocol: int = 2) -> None:
    """Be admitted by a master of `protocol`."""
    world.do(world.session.link_closed(A))
    world.do(world.session.link_opened(A))
    office = wire.Office(A, "master", wire.Epoch(1, A), world.wall_us, {}, protocol)
    world.hear(office)
    world.hear(wire.Admitted(ticket))


def drained(world: World, revision: int = 2, limit_s: int = 60) -> None:
    world.hear(wire.SetGates(wire.GateSet(revision, ("draining",), ASKED_US, limit_s)))


def dispatch(world: World, name: str) -> str:
    key = f"j1.r{name}.a1"
    world.hear(wire.Dispatch(key, specification()))
    return key


def outcomes(world: World) -> list[dict[str, str]]:
    """What each report of a drain's end said, by run key."""
    return [{one.key: one.outcome for one in body.outcomes} for _, body in world.bodies(wire.Drained)]


def test_a_drain_waits_for_what_runs_and_then_reports(world: World) -> None:
    """No run is touched before the limit; the list has the one that ended by itself, and is told once."""
    key = dispatch(world, "long")
    drained(world)
    assert [body.limit_s for _, body in world.bodies(wire.DrainBegun)] == [60]
    world.pass_s(59)
    assert (outcomes(world), world.stops) == ([], [])
    world.do(world.session.ended(key, world.end(0), world.now))
    world.pass_s(100)
    assert outcomes(world) == [{key: "finished"}]
    assert world.session.drain.is_over


def test_what_runs_at_the_limit_is_cut_and_reported_as_such(world: World) -> None:
    """One second above the limit it is stopped, once; its end and the list say that the drain did it."""
    key = dispatch(world, "long")
    drained(world)
    world.pass_s(61)
    world.pass_s(1)
    assert world.stops == [key]
    world.do(world.session.ended(key, world.end(143), world.now))
    assert outcomes(world) == [{key: "cut"}]
    assert [body.cause for _, body in world.bodies(wire.Ended)] == ["drained"]


def test_nothing_new_begins_and_what_was_due_is_not_started(world: World) -> None:
    """An instant under a drain waits with its reason; at the end of the drain the list names it; undrain begins it."""
    world.hear(order(5, 1, 1))
    key = dispatch(world, "long")
    drained(world)
    world.pass_s(6)
    (waiting,) = [held for held, body in world.bodies(wire.Held) if body.reason == "agent draining"]
    world.do(world.session.ended(key, world.end(0), world.now))
    assert outcomes(world) == [{key: "finished", waiting: "not started"}]
    world.hear(wire.SetGates(wire.GateSet(3)))
    assert world.processes == {key: 1, waiting: 1}


def test_a_withdrawn_drain_cuts_nothing_and_says_what_still_runs(world: World) -> None:
    """Undrain before the limit: nothing is stopped later, the report says withdrawn."""
    key = dispatch(world, "long")
    drained(world)
    world.hear(wire.SetGates(wire.GateSet(3)))
    world.pass_s(100)
    assert world.stops == []
    assert [body.withdrawn for _, body in world.bodies(wire.Drained)] == [True]
    assert outcomes(world) == [{key: "running"}]


def test_a_restart_in_the_middle_goes_on_with_the_same_limit(world: World) -> None:
    """kill -9 of the agent while it drains: the deadline stays, what was cut before is cut again, and told once."""
    key = dispatch(world, "long")
    drained(world)
    world.pass_s(61)
    world.start()
    connect(world, ticket=2)
    world.hear(wire.SetGates(wire.GateSet(2, ("draining",), ASKED_US, 60)))
    world.pass_s(1)
    assert world.stops == [key, key]
    world.do(world.session.ended(key, world.end(143), world.now))
    assert outcomes(world) == [{key: "cut"}]
    assert len(world.bodies(wire.DrainBegun)) == 1


def test_a_reboot_in_the_middle_says_interrupted(world: World) -> None:
    """The machine went down before the limit: the run is interrupted, the drain over, the agent still drained."""
    keys = [dispatch(world, name) for name in ("one", "two")]
    drained(world)
    world.boot, world.boot_us = "boot-2", 5000 * SECOND_US
    world.start()
    connect(world, ticket=2)
    world.pass_s(1)
    assert outcomes(world) == [dict.fromkeys(keys, "interrupted")]
    assert {body.cause for _, body in world.bodies(wire.Ended)} == {"interrupted"}
    dispatch(world, "new")
    assert world.processes == dict.fromkeys(keys, 1)


def test_an_end_that_is_told_twice_is_listed_once(world: World) -> None:
    """The files of a run may be looked at twice while another run goes on."""
    key, other = dispatch(world, "short"), dispatch(world, "long")
    drained(world)
    for name in (key, key, other):
        world.do(world.session.ended(name, world.end(0), world.now))
    (told,) = [body for _, body in world.bodies(wire.Drained)]
    assert [one.key for one in told.outcomes] == [key, other]


def test_a_stop_drains_by_itself_and_the_next_start_works_again(world: World) -> None:
    """The agent's own drain holds what is given to it; a new start of the program begins what was held."""
    key = dispatch(world, "long")
    world.do(world.session.drain_to_stop(world.now))
    assert not world.session.drain.is_over
    world.hear(order(3, 1, 1))
    world.pass_s(4)
    world.do(world.session.ended(key, world.end(0), world.now))
    assert world.session.drain.is_over
    (told,) = outcomes(world)
    assert sorted(told.values()) == ["finished", "not started"]
    world.start()
    connect(world, ticket=2)
    world.pass_s(1)
    assert len(world.processes) == 2
    assert len(outcomes(world)) == 1


def test_a_stop_that_was_cut_short_is_told_at_the_next_start(world: World) -> None:
    """SIGKILL while it drains to stop: the run is still running under its keeper, and the list says so."""
    key = dispatch(world, "long")
    world.do(world.session.drain_to_stop(world.now))
    world.start()
    assert world.bodies(wire.Drained) == []
    connect(world, ticket=2)
    assert outcomes(world) == [{key: "running"}]
    world.pass_s(700)
    assert world.stops == []


def test_a_former_master_is_not_sent_what_it_cannot_read(world: World) -> None:
    """Protocol 1: the report of the drain stays in the spool, unsent, until a master understands it."""
    connect(world, ticket=2, protocol=1)
    world.sent.clear()
    world.do(world.session.drain_to_stop(world.now))
    assert not world.bodies(wire.DrainBegun)
    connect(world, ticket=3)
    assert len(world.bodies(wire.DrainBegun)) == 1


def test_a_run_that_saves_a_checkpoint_during_a_drain_is_handed_over(world: World) -> None:
    """It ends at that checkpoint, unanswered, and is named so; one that saves none goes on to its end."""
    key, other = dispatch(world, "marked"), dispatch(world, "plain")
    world.do(world.session.checkpoint(1, key, b"before", "one", False, world.now))
    drained(world)
    world.pass_s(1)
    assert world.stops == []
    outcome = world.session.checkpoint(2, key, b"during", "two", False, world.now)
    assert outcome.answers == []
    world.do(outcome)
    assert world.stops == [key]
    world.do(world.session.ended(key, world.end(143), world.now))
    world.do(world.session.ended(other, world.end(0), world.now))
    assert outcomes(world) == [{key: "handed over", other: "finished"}]
    assert [end.cause for at, end in world.bodies(wire.Ended) if at == key] == ["handed over"]


@pytest.mark.parametrize(
    ("setting", "machine_stops", "drains_first"),
    [
        ("auto", False, False),
        ("auto", True, True),
        ("keep", True, False),
        ("drain", False, True),
        ("of a later release", True, True),
    ],
)
def test_what_sigterm_means(setting: str, machine_stops: bool, drains_first: bool) -> None:
    """A restart keeps the runs, the machine's shutdown drains, and each can be set for ever."""
    assert drains_on_stop(setting, machine_stops) is drains_first


def test_draining_twice_is_draining_once(ledger: Ledger) -> None:
    """The first who asked stays on record with the limit; undrain without a drain says so."""
    first = ledger.do(drains.drain("north", 30, ANN, START_US, "new disk"))
    again = ledger.do(drains.drain("north", None, Principal("bob", "operator"), START_US + 5))
    assert first == again
    assert (first.limit_s, first.state, first.asked_by, first.reason) == (30, "asked", "ann", "new disk")
    assert ledger.do(drains.undrain("north", ANN, START_US + 9)).state == "withdrawn"
    with pytest.raises(Conflict, match="not drained"):
        ledger.do(drains.undrain("north", ANN, START_US + 10))


def test_a_drain_takes_at_most_what_is_configured(ledger: Ledger) -> None:
    """Above the setting it is refused with the command that raises it; with that it is allowed."""
    with pytest.raises(Invalid, match="understudy agent set north --drain-time"):
        ledger.do(drains.drain("north", 601, ANN, START_US))
    ledger.do(drains.configure("north", 3600, None, ANN, START_US))
    assert ledger.do(drains.drain("north", 601, ANN, START_US)).limit_s == 601


def test_only_administrators_set_and_only_known_words(ledger: Ledger) -> None:
    """An operator may drain but not raise the limit; a word that means nothing is refused."""
    with pytest.raises(Forbidden):
        drains.configure("north", 5, None, Principal("bob", "operator"), START_US)
    with pytest.raises(Invalid, match="auto, keep, drain"):
        ledger.do(drains.configure("north", None, "wait", ANN, START_US))


def report(body: wire.Body, number: int = 1) -> wire.Report:
    return wire.Report(number, "", START_US + number, body)


def test_the_master_keeps_the_list_of_a_drain(ledger: Ledger) -> None:
    """Asked, draining, drained with each run; told twice it stays as it is; what was cut is a message for people."""
    agent = ledger.do(drains.drain("north", 30, ANN, START_US)).agent_id
    ledger.do(reports.record(agent, [report(wire.DrainBegun(START_US, "request", 30))], 1, START_US))
    assert rows.latest(ledger.connection, agent)[0].state == "draining"
    told = report(wire.Drained(START_US, "request", (Parted("a", "job", "finished"), Parted("b", "job", "cut"))), 2)
    for _ in range(2):
        ledger.do(reports.record(agent, [told], 1, START_US))
    (row,) = rows.latest(ledger.connection, agent)
    assert (row.state, summary(count(row.outcomes))) == ("drained", "1 finished, 1 cut")
    assert ledger.count("system_messages", "text LIKE '%1 finished, 1 cut%'") == 1


def test_an_agent_that_is_being_stopped_is_no_choice(ledger: Ledger) -> None:
    """Its own drain is a row while it lasts: groups do not choose it; afterwards they may again."""
    agent = rows_agent(ledger)
    ledger.do(reports.record(agent, [report(wire.DrainBegun(START_US, "stop", 600))], 1, START_US))
    assert rows.stopping(ledger.connection) == {agent}
    ledger.do(reports.record(agent, [report(wire.Drained(START_US, "stop", ()))], 1, START_US))
    assert rows.stopping(ledger.connection) == set()
    assert rows.latest(ledger.connection, agent)[0].asked_by == "the machine"


def rows_agent(ledger: Ledger) -> str:
    return str(ledger.connection.execute("SELECT id FROM agents").fetchone()[0])


def present(ledger: Ledger, held: wire.GateSet, protocol: int = 2) -> None:
    """The agent comes back with gates."""
    agent = rows_agent(ledger)
    ticket = int(ledger.connection.execute("SELECT ticket FROM agents").fetchone()[0])
    hello = wire.Hello(agent, protocol, "1", "boot", "x", START_US)
    shown = wire.Present(wire.Epoch(3, "n"), ticket, held, (), ())
    assert ledger.do(reconciliation.present(agent, hello, shown, 3, START_US + 50)).admitted is not None


def test_a_drain_that_a_new_master_lacks_is_adopted(ledger: Ledger) -> None:
    """After a lossy failover the agent's drain stands, with its name, its audit entry and a message for people."""
    present(ledger, wire.GateSet(4, ("draining",), ASKED_US, 30))
    agent = rows_agent(ledger)
    told = drains.gate_set(ledger.connection, agent, 2)
    assert (told.kinds, told.drain_at_us, told.drain_s) == (("draining",), ASKED_US, 30)
    assert told.revision > 4
    assert ledger.count("audit", "action = 'gates.adopt' AND object = 'north'") == 1
    assert ledger.count("system_messages", "text LIKE 'Agent draining (north) was adopted%'") == 1


def test_a_gate_is_adopted_although_the_new_master_went_on(ledger: Ledger) -> None:
    """The rows reached the same revision by another change: what the agent holds is still not forgotten."""
    ledger.add_agent("south")
    ledger.do(gates.lock("south", ANN, START_US))
    present(ledger, wire.GateSet(1, ("queue_locked",)))
    told = drains.gate_set(ledger.connection, rows_agent(ledger), 2)
    assert told.kinds == ("queue_locked",)
    assert told.revision > 1


def test_a_gate_that_was_lifted_here_is_not_adopted(ledger: Ledger) -> None:
    """The agent was away at the unlock: it comes with the lock that the rows had then, and loses it."""
    locked = ledger.do(gates.lock("north", ANN, START_US))
    ledger.do(gates.unlock("north", ANN, START_US + 1))
    present(ledger, wire.GateSet(locked.revision, ("queue_locked",)))
    assert gate_rows.every(ledger.connection) == []
    assert ledger.count("audit", "action = 'gates.adopt'") == 0


def test_a_lock_of_all_is_adopted_once_for_all(ledger: Ledger) -> None:
    """The agent knows that it was host-wide: one gate comes back, not one of each agent."""
    present(ledger, wire.GateSet(9, ("queue_locked",), everywhere=("queue_locked",)))
    assert [(gate.kind, gate.agent_id) for gate in gate_rows.every(ledger.connection)] == [("queue_locked", "")]


def test_an_agent_of_the_former_protocol_is_locked_instead(ledger: Ledger) -> None:
    """It knows neither drain nor maintenance: it starts nothing all the same, and its lock is not adopted as one."""
    told = ledger.do(drains.drain("north", None, ANN, START_US))
    given = drains.gate_set(ledger.connection, told.agent_id, 1)
    assert given.kinds == ("queue_locked",)
    present(ledger, msgspec.structs.replace(given, drain_at_us=0), protocol=1)
    assert [gate.kind for gate in gate_rows.every(ledger.connection)] == ["draining"]
