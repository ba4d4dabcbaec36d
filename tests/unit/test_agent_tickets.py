"""Tickets advance while an agent is connected, and a setting says what it does after a reboot without a master."""

from __future__ import annotations

import pytest

from replication.core.types import Epoch
from server.actions import agents, reconciliation, reports
from server.actions import orders as order_actions
from server.core import agent_wire as wire
from server.core.instants import MAY_HAVE_RUN
from server.core.model import SECOND_US, SYSTEM, Principal
from server.errors import Forbidden, NotFound
from server.storage import agents as agent_rows
from server.storage import deliveries, schedules
from tests.unit.agent_world import A, World, order, specification
from tests.unit.ledger import START_US, Ledger

NORTH = ("north" * 32)[:32]
HELLO = wire.Hello(NORTH, 2, "1.0", "boot", "instance", START_US)


def test_the_next_ticket_is_durable_before_it_is_confirmed() -> None:
    """The number that a later connection shows is the one of the last `NextTicket`."""
    world = World()
    world.connect(ticket=4)
    world.hear(wire.NextTicket(5))
    assert world.disk.durable.ticket == 5
    assert world.told(wire.TicketKept) == [wire.TicketKept(4), wire.TicketKept(5)]
    world.do(world.session.link_closed(A))
    world.do(world.session.link_opened(A))
    world.hear(wire.Office(A, "master", Epoch(1, A), world.wall_us))
    shown = world.told(wire.Present)[-1]
    assert isinstance(shown, wire.Present)
    assert shown.ticket == 5


def test_a_snapshot_of_before_the_next_ticket_is_quarantined() -> None:
    """The whole way: admitted with 1, advanced to 2 and confirmed; who then shows 1 is a copy."""
    ledger = Ledger()
    ledger.add_agent("north")
    _present(ledger, 0)
    ledger.do(reports.record(NORTH, [wire.TicketKept(1)], 1, START_US))
    assert ledger.do(reconciliation.next_ticket(NORTH)) == 2
    ledger.do(reports.record(NORTH, [wire.TicketKept(2)], 1, START_US))
    assert _present(ledger, 1).admitted is None


def test_a_ticket_does_not_advance_while_the_last_one_is_unconfirmed() -> None:
    """Only the predecessor is let in: two open numbers would lock the agent itself out."""
    ledger = Ledger()
    ledger.add_agent("north")
    _present(ledger, 0)
    assert ledger.do(reconciliation.next_ticket(NORTH)) == 0
    ledger.do(reports.record(NORTH, [wire.TicketKept(1)], 1, START_US))
    assert ledger.do(reconciliation.next_ticket(NORTH)) == 2
    assert ledger.do(reconciliation.next_ticket(NORTH)) == 0
    assert _present(ledger, 1).admitted == wire.Admitted(3)


def test_only_after_the_setting_orders_begin_after_a_reboot_without_a_master() -> None:
    """Durable at the agent, said in its heartbeat; instants of before the start still wait for the master."""
    world = World()
    world.connect()
    world.hear(order(60, 60, 100, misfire_policy="all"))
    world.hear(wire.SetStartAlone(True))
    world.do(world.session.heartbeat(world.now))
    beat = world.told(wire.AgentHeartbeat)[-1]
    assert isinstance(beat, wire.AgentHeartbeat)
    assert beat.start_alone
    world.wall_us += 200 * SECOND_US
    world.reboot()
    assert world.session.waiting(world.now) == ""
    world.pass_s(45)
    assert list(world.processes) == ["j1.s5.20270115T080400Z.a1"]
    world.connect(ticket=2)
    world.pass_s(1)
    assert len(world.processes) == 4
    world.hear(wire.SetStartAlone(False))
    world.reboot()
    assert "restarted" in world.session.waiting(world.now)


def test_a_copy_waits_for_the_master_whatever_the_setting_says() -> None:
    """A restored directory with the setting: the original may run."""
    world = World()
    world.connect()
    world.hear(order(60, 60, 100))
    world.hear(wire.SetStartAlone(True))
    world.place = "disk-2"
    world.reboot()
    world.pass_s(61)
    assert world.processes == {}


def test_a_clock_that_is_set_before_the_first_contact_of_a_boot_stops_orders() -> None:
    """After a reboot the boot clock begins anew: drift is measured from the start of the agent."""
    world = World()
    world.connect()
    world.hear(order(600, 60, 3))
    world.hear(wire.SetStartAlone(True))
    world.reboot()
    world.wall_us += 900 * SECOND_US
    world.do(world.session.tick(world.now))
    assert world.processes == {}
    assert "moved" in world.session.waiting(world.now)


def test_the_setting_is_an_administrators_and_in_the_audit_history() -> None:
    """A row that the deliverer reads; again is the same."""
    ledger = Ledger()
    ledger.add_agent("north")
    operator = Principal("op", "operator", "")
    with pytest.raises(Forbidden):
        agents.set_start_alone("north", True, operator, START_US)
    with pytest.raises(NotFound):
        ledger.do(agents.set_start_alone("south", True, SYSTEM, START_US))
    for _ in range(2):
        assert ledger.do(agents.set_start_alone("north", True, SYSTEM, START_US)).start_alone_after_reboot == 1
    assert deliveries.starting_alone(ledger.connection) == {NORTH}
    assert ledger.count("audit", "action = 'agents.set_start_alone'") == 1
    ledger.do(agents.set_start_alone("north", False, SYSTEM, START_US))
    agent = agent_rows.get(ledger.connection, NORTH)
    assert agent is not None
    assert agent.start_alone_after_reboot == 0


def test_an_accepted_memory_that_was_empty_is_a_restored_one() -> None:
    """Its number is 0, as that of an agent that was never admitted; the row knows better.

    Trace of the search: an instant begins, a snapshot of before the first connection is restored, an operator accepts
    it. The agent was taken for a new one, got its order again, caught up and began the instant a second time.
    """
    ledger = Ledger()
    ledger.add_agent("north")
    assert _present(ledger, 0).admitted == wire.Admitted(1)
    ledger.do(reports.record(NORTH, [wire.TicketKept(1)], 1, START_US))
    assert _present(ledger, 0).admitted is None
    ledger.do(agents.accept_restored("north", SYSTEM, START_US))
    assert _present(ledger, 0).admitted == wire.Admitted(1, restored=True)


def test_an_accepted_memory_catches_up_nothing_of_an_order_that_comes_later() -> None:
    """The snapshot was older than the order; also when the agent dies between its admission and the order."""
    world = World()
    world.wall_us += 150 * SECOND_US
    world.boot_us += 150 * SECOND_US
    world.connect(ticket=7, restored=True)
    world.start()
    world.connect(ticket=8)
    world.hear(order(60, 60, 10, misfire_policy="all"))
    world.pass_s(1)
    assert world.processes == {}
    assert len(world.bodies(wire.Suppressed)) == 2
    world.pass_s(60)
    assert list(world.processes) == ["j1.s5.20270115T080300Z.a1"]


def test_a_held_dispatch_that_is_dropped_takes_its_report_with_it() -> None:
    """Disk full, link lost before the report was acknowledged, back: the next master is not told that it waits here.

    Trace of the search: disk full, dispatch held, link lost, back. The master had the run wait at the agent for ever.
    """
    world, held = World(), wire.Dispatch("j1.rone.a1", specification())
    world.connect()
    world.session.work.disk_full = True
    world.hear(held)
    assert len(world.bodies(wire.Held)) == 1
    world.sent.clear()
    world.connect(ticket=2)
    assert held.key not in world.disk.runs
    assert world.bodies(wire.Held) == []
    world.session.work.disk_full = False
    world.hear(held)
    assert world.processes == {held.key: 1}


def test_policies_leave_what_a_restored_memory_may_have_run_to_a_person() -> None:
    """Its row stays open although the job catches everything up.

    Trace of the search: the instant begins while the link is lost, the snapshot of before is restored and accepted. The
    agent said that it gave the instant up, and the master's own misfire policy began it a second time.
    """
    ledger = Ledger()
    ledger.add_agent("north")
    job = ledger.add_job(misfire_policy="all")
    schedule = schedules.of_job(ledger.connection, job.id)[0].id
    for number, cause in enumerate((MAY_HAVE_RUN, "agent was not running")):
        body = wire.Suppressed(job.id, schedule, START_US + number * SECOND_US, cause)
        ledger.do(reports.record(NORTH, [wire.Report(number + 1, "", START_US, body)], 1, START_US))
    ledger.do(order_actions.resolve_missed(START_US + 2 * SECOND_US, 0))
    assert ledger.count("runs") == 1
    assert ledger.count("missed", "resolution = ''") == 1


def _present(ledger: Ledger, ticket: int) -> reconciliation.Admission:
    shown = wire.Present(Epoch(1, "n"), ticket, wire.GateSet(), (), ())
    return ledger.do(reconciliation.present(NORTH, HELLO, shown, 1, START_US))
