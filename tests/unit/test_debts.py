"""What a takeover that may have lost something owes to silent agents: nothing older goes to anybody else before."""

from __future__ import annotations

import pytest

from server.actions import debts, drains, gates, orders, reconciliation, reports, retries, runs, silence, withheld_runs
from server.actions.jobs import When
from server.core import agent_wire as wire
from server.core.debts import HELD_US, ID_GAP, OWED
from server.core.model import DAY_US, MINUTE_US, Run
from server.core.silence import LEASE_SLACK_US
from server.errors import Conflict
from server.storage import agents as agent_rows
from server.storage import debts as rows
from server.storage import gates as gate_rows
from server.storage import orders as order_rows
from server.storage import runs as run_rows
from server.storage import silence as silence_rows
from server.storage import system_messages
from tests.unit.ledger import START_US, Ledger
from tests.unit.test_silence import BOSS, FIRST_US

NORTH, SOUTH = ("north" * 32)[:32], ("south" * 32)[:32]
LOSS_US = START_US + 30 * MINUTE_US
EPOCH = wire.Epoch(2, "n")


class Taken(Ledger):
    """A standby that took over with possible loss: `north` and `south` were agents, a job of each minute is north's."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("north", "south"):
            self.add_agent(name)
        self.tickets = {NORTH: 0, SOUTH: 0}
        for agent_id in (NORTH, SOUTH):
            self.arrive(agent_id)
        self.job = self.add_job(cron="* * * * *")
        self.plan(START_US)
        self.order = order_rows.of_agent(self.connection, NORTH)[0]
        order_rows.acknowledge(self.connection, self.order.id, 1)
        self.before = self.run("before", START_US)
        self.do(lambda transaction: debts.incur(transaction.connection, LOSS_US))

    def plan(self, now_us: int) -> None:
        while plans := orders.plan_all(orders.read_changed(self.connection), now_us):
            self.do(orders.put_plans(plans, now_us))

    def run(self, request: str, now_us: int) -> Run:
        return self.do(runs.run_now("backup", request, BOSS, now_us))

    def arrive(self, agent_id: str, now_us: int = START_US, held: tuple[tuple[int, int], ...] = ()) -> None:
        hello = wire.Hello(agent_id, 2, "1.0", "boot", "instance", now_us)
        admission = self.present(hello, wire.Present(EPOCH, self.tickets[agent_id], wire.GateSet(), (), held), now_us)
        assert admission.admitted is not None
        self.tickets[agent_id] = admission.admitted.ticket

    def present(self, hello: wire.Hello, shown: wire.Present, now_us: int) -> reconciliation.Admission:
        return self.do(reconciliation.present(hello.agent_id, hello, shown, 2, now_us))

    def confirm(self, agent_id: str, now_us: int = LOSS_US) -> None:
        self.do(reports.record(agent_id, [wire.TicketKept(self.tickets[agent_id])], 2, now_us))

    def turn(self, now_us: int) -> None:
        """What the scheduler does with what was withheld."""
        while withheld_runs.has_work(self.connection):
            self.do(withheld_runs.let_go(now_us))
        self.do(retries.begin_due(now_us))

    def dispatched(self, now_us: int) -> list[int]:
        given = self.do(reconciliation.dispatch(NORTH, 2, now_us))
        return [one.number for one in given]

    def state(self, number: int) -> tuple[str, str]:
        found = run_rows.get(self.connection, number)
        assert found is not None
        return found.state, found.reason


def test_what_is_older_than_the_loss_waits_for_a_silent_agent_and_what_is_newer_goes() -> None:
    """North is back, south is silent: the run from before may be south's, the one of today is not."""
    master = Taken()
    master.arrive(NORTH, LOSS_US, ((master.order.id, 1),))
    master.confirm(NORTH)
    fresh = master.run("after", LOSS_US + 1)
    assert master.dispatched(LOSS_US + 1) == [fresh.number]
    assert master.state(master.before.number) == ("waiting", OWED)
    master.arrive(SOUTH, LOSS_US + MINUTE_US)
    assert master.state(master.before.number) == ("waiting", OWED), "not before it has kept what it was told"
    master.confirm(SOUTH)
    master.turn(LOSS_US + MINUTE_US)
    assert master.state(master.before.number) == ("starting", "")
    assert master.dispatched(LOSS_US + MINUTE_US) == [master.before.number]


def test_a_rerun_of_something_older_waits_too() -> None:
    """The lost master may have made the same attempt and given it away."""
    master = Taken()
    master.arrive(NORTH, LOSS_US, ((master.order.id, 1),))
    master.confirm(NORTH)
    run_rows.set_state(master.connection, master.before.number, "failed", LOSS_US)
    again = master.do(runs.rerun(master.before.number, BOSS, LOSS_US + 1))
    assert master.dispatched(LOSS_US + 1) == []
    assert master.state(again.number) == ("waiting", OWED)


def test_an_order_that_its_agent_lacks_may_have_moved_and_is_given_to_nobody() -> None:
    """North gave it back to the lost master: while south is silent it stays withheld, then it is made anew."""
    master = Taken()
    master.arrive(NORTH, LOSS_US)
    master.confirm(NORTH)
    assert order_rows.unacknowledged(master.connection, NORTH) == []
    assert [order.id for order in rows.withheld_orders(master.connection)] == [master.order.id]
    later_us = LOSS_US + 5 * MINUTE_US
    master.do(silence_of_south(later_us))
    master.do(silence.declare_dead("south", BOSS, later_us))
    master.plan(later_us)
    fresh = order_rows.unacknowledged(master.connection, NORTH)
    assert [order.valid_from_us for order in fresh] == [later_us]
    assert fresh[0].id >= master.order.id + ID_GAP


def test_a_schedule_that_never_had_an_order_here_may_have_been_given_away() -> None:
    """The job was made just before the loss, this master had not planned it: nobody gets it while one is silent."""
    master = Taken()
    master.connection.execute("DELETE FROM debts")
    late = master.add_job(name="late", cron="*/2 * * * *", now_us=LOSS_US)
    master.do(lambda transaction: debts.incur(transaction.connection, LOSS_US))
    fresh = master.add_job(name="fresh", cron="*/3 * * * *", now_us=LOSS_US + 1)
    master.plan(LOSS_US + 1)
    withheld = rows.withheld_orders(master.connection)
    assert [order.job_id for order in withheld] == [late.id]
    assert [o.withheld for o in order_rows.of_job(master.connection, fresh.id)] == [0]


def silence_of_south(now_us: int):
    return reconciliation.fall_silent(SOUTH, LOSS_US, now_us)


def test_what_was_withheld_can_be_run_again_by_name_once_all_have_answered() -> None:
    """While south is silent nobody repeats it; afterwards what nobody reported is a person's to decide."""
    master = Taken()
    master.arrive(NORTH, LOSS_US)
    master.confirm(NORTH)
    now_us = LOSS_US + 3 * MINUTE_US
    key = f"j{master.job.id}.s{master.order.schedule_id}.20260921T141500Z.a1"
    lines = silence_rows.unknown(master.connection, now_us)
    assert (lines[0].first_us, lines[0].dead) == (FIRST_US, False)
    with pytest.raises(Conflict, match="silent since a loss"):
        master.do(silence.rerun(key, BOSS, now_us))
    master.arrive(SOUTH, now_us)
    master.confirm(SOUTH, now_us)
    assert master.do(silence.rerun(key, BOSS, now_us)).attempt == 2


def test_orders_are_given_again_whatever_their_number_says() -> None:
    """Version 4 of the lost master is not version 4 of this one."""
    master = Taken()
    master.arrive(NORTH, LOSS_US, ((master.order.id, 4),))
    (order,) = order_rows.unacknowledged(master.connection, NORTH)
    assert (order.id, order.version) == (master.order.id, 5)


def test_a_gate_of_before_the_loss_is_acknowledged_by_nobody_until_the_agent_connects() -> None:
    """The lost master may have lifted a lock at the agent: it counts as locked once it has kept what it is told.

    An agent that holds a higher revision than this office knows is told one above that.
    """
    ledger = Ledger()
    for name in ("north", "south"):
        ledger.add_agent(name)
    revision = ledger.do(gates.lock_all(BOSS, START_US, "night")).revision
    for name in ("north", "south"):
        ledger.acknowledge_gates(name, revision)
    assert ledger.do(gates.lock_all(BOSS, START_US)).unacknowledged == 0
    agent_rows.update(ledger.connection, NORTH, version="1.0")
    ledger.do(lambda transaction: debts.incur(transaction.connection, LOSS_US))
    again = ledger.do(gates.lock_all(BOSS, LOSS_US))
    assert (again.changed, again.unacknowledged) == (False, 2)
    gate = gate_rows.host_wide(ledger.connection)[0]
    assert (gate.set_at_us, gate.reason, gate.revision) == (START_US, "night", again.revision)
    hello = wire.Hello(NORTH, 2, "1.0", "boot", "instance", LOSS_US)
    lifted = wire.GateSet(revision + 1, ())
    shown = wire.Present(EPOCH, 0, lifted, (), ())
    ledger.do(reconciliation.present(NORTH, hello, shown, 3, LOSS_US))
    told = drains.gate_set(ledger.connection, NORTH, wire.PROTOCOL)
    assert told.revision > lifted.revision
    assert told.kinds == ("queue_locked",)
    ledger.do(reports.record(NORTH, [wire.GatesKept(told.revision)], 3, LOSS_US))
    assert ledger.do(gates.lock_all(BOSS, LOSS_US)).unacknowledged == 1


def test_new_rows_get_ids_that_no_lost_row_can_have() -> None:
    """The lost master may have made job 2: this one's next is far above, so no key means two things."""
    master = Taken()
    job = master.add_job(name="fresh", schedules=[When("0 0 * * *")])
    assert job.id >= master.job.id + ID_GAP
    assert master.add_job(name="fresher").id == job.id + 1


def test_a_silent_agent_that_owes_is_named_with_what_to_type_and_its_lease_is_seven_days_more() -> None:
    """The message says until when; its orders are not over before, whatever this master knows of them."""
    master = Taken()
    master.do(reconciliation.fall_silent(NORTH, LOSS_US, LOSS_US))
    (text,) = [message.text for message in system_messages.page(master.connection)]
    assert "north is silent since a takeover" in text
    assert "understudy agent declare-dead north" in text
    master.connection.execute("UPDATE orders SET held_until_us = ?, state = 'releasing'", (LOSS_US,))
    over_us = LOSS_US + HELD_US + LEASE_SLACK_US
    assert master.do(silence.give_up(NORTH, 1.0, LOSS_US + DAY_US)) == 0
    assert master.do(silence.give_up(NORTH, 1.0, over_us + 1)) == 1


def test_a_later_takeover_inherits_the_debt() -> None:
    """It is rows: a promotion without loss adds nothing and takes nothing away; one with loss begins anew."""
    master = Taken()
    assert rows.names(master.connection) == ["north", "south"]
    master.do(reconciliation.open_epoch(3, LOSS_US + 1))
    assert rows.names(master.connection) == ["north", "south"]
    master.do(lambda transaction: debts.incur(transaction.connection, LOSS_US + DAY_US))
    debt = rows.of_agent(master.connection, NORTH)
    assert debt is not None
    assert debt.since_us == LOSS_US + DAY_US
