"""Agents that do not answer: what is unknown, a machine declared dead, what is given up. JS7-1, JS7-5, JS7-6."""

from __future__ import annotations

import msgspec
import pytest

from server.actions import agents, jobs, missed, order_ledger, orders, reconciliation, reports, runs, silence
from server.core import agent_wire as wire
from server.core.instants import LATE_US, instants_between
from server.core.model import DAY_US, MINUTE_US, SECOND_US, Agent, JoinToken, Order, Principal, Run
from server.core.run_keys import occurrence_key
from server.core.silence import LEASE_SLACK_US, Window, unknown_instants
from server.errors import Conflict, Forbidden, NotFound
from server.storage import agents as agent_rows
from server.storage import jobs as job_rows
from server.storage import missed as missed_rows
from server.storage import orders as order_rows
from server.storage import runs as run_rows
from server.storage import silence as rows
from server.storage import system_messages
from tests.unit.agent_world import A, World, order, specification
from tests.unit.ledger import START_US, Ledger

BOSS = Principal("boss", "administrator")
NORTH = ("north" * 32)[:32]
FIRST_US = START_US - START_US % MINUTE_US + MINUTE_US
"""The first instant of a job of every minute that is made at START_US."""
LEFT_US = FIRST_US + 2 * MINUTE_US + 30 * SECOND_US
HELLO = wire.Hello(NORTH, 2, "1.0", "boot", "instance", START_US)


class Master(Ledger):
    """A job of every minute at `north`, which holds its order, ran twice and then fell silent."""

    def __init__(self, **job: object) -> None:
        super().__init__()
        self.add_agent("north")
        self.add_agent("south")
        self.job = self.add_job(cron="* * * * *", **job)
        self.plan(START_US)
        self.order: Order = order_rows.of_agent(self.connection, NORTH)[0]
        self.report_number = 0
        self.epoch = 1
        self.arrive(ticket=0)
        order_rows.acknowledge(self.connection, self.order.id, self.order.version)
        for at_us in (FIRST_US, FIRST_US + MINUTE_US, FIRST_US + 2 * MINUTE_US):
            self.ran(at_us)

    def plan(self, now_us: int) -> None:
        plans = orders.plan_all(orders.read_changed(self.connection), now_us)
        self.do(orders.put_plans(plans, now_us))

    def key(self, at_us: int, attempt: int = 1) -> str:
        return occurrence_key(self.job.id, self.order.schedule_id, at_us, attempt)

    def report(self, key: str, body: wire.Body, now_us: int) -> None:
        self.report_number += 1
        report = wire.Report(self.report_number, key, now_us, body)
        self.do(reports.record(NORTH, [report], self.epoch, now_us))

    def ran(self, at_us: int) -> None:
        begun = wire.Begun(self.order.specification, at_us, 1)
        self.report(self.key(at_us), begun, at_us)
        self.report(self.key(at_us), wire.Ended(0, None, at_us, at_us, 0, False), at_us)

    def fall_silent(self, now_us: int = LEFT_US + 15 * SECOND_US) -> None:
        self.do(reconciliation.fall_silent(NORTH, LEFT_US, now_us))

    def arrive(self, ticket: int, now_us: int = START_US, **shown: object) -> reconciliation.Admission:
        presented = msgspec.structs.replace(wire.Present(wire.Epoch(1, "n"), ticket, wire.GateSet(), (), ()), **shown)
        return self.do(reconciliation.present(NORTH, HELLO, presented, 1, now_us))

    def unknown(self, now_us: int) -> list[int]:
        return [at_us for line in rows.unknown(self.connection, now_us) for at_us in line.instants_us]

    def agent(self) -> Agent:
        found = agent_rows.get(self.connection, NORTH)
        assert found is not None
        return found

    def run(self, key: str) -> Run:
        found = run_rows.by_key(self.connection, key)
        assert found is not None
        return found

    def rebind(self, now_us: int) -> None:
        spec = jobs.JobSpec(name="backup", command="true", agent="south", schedules=[jobs.When("* * * * *")])
        if self.job.may_run_twice:
            spec = msgspec.structs.replace(spec, may_run_twice=True, give_up_after_s=self.job.give_up_after_s)
        self.do(jobs.update("backup", spec, BOSS, now_us))
        self.plan(now_us)


def test_what_falls_due_at_a_silent_agent_is_unknown_and_no_row_is_written() -> None:
    """Three ran; the next ones are unknown while it is silent, whatever number; the tables do not grow."""
    master = Master()
    assert master.unknown(LEFT_US + DAY_US) == [], "it answers: what is due is its own to report"
    master.fall_silent()
    tables = [master.count(table) for table in ("runs", "missed")]
    two_later_us = FIRST_US + 5 * MINUTE_US
    assert master.unknown(two_later_us + LATE_US) == [FIRST_US + n * MINUTE_US for n in (3, 4, 5)]
    line = rows.unknown(master.connection, START_US + DAY_US)[0]
    assert (line.count, line.first_us, line.dead) == (24 * 60 - 3, FIRST_US + 3 * MINUTE_US, False)
    assert tables == [master.count(table) for table in ("runs", "missed")]


def test_the_agents_return_answers_every_one() -> None:
    """Two began, one was skipped, by its reports: nothing is unknown any more."""
    master = Master()
    master.fall_silent()
    now_us = FIRST_US + 5 * MINUTE_US + LATE_US
    master.arrive(1, now_us, orders=((master.order.id, master.order.version),))
    master.ran(FIRST_US + 3 * MINUTE_US)
    master.ran(FIRST_US + 4 * MINUTE_US)
    skipped = wire.Suppressed(master.job.id, master.order.schedule_id, FIRST_US + 5 * MINUTE_US, "late")
    master.report("", skipped, now_us)
    master.do(reconciliation.fall_silent(NORTH, now_us, now_us))
    assert master.unknown(now_us) == []
    assert master.run(master.key(FIRST_US + 4 * MINUTE_US)).state == "succeeded"


def test_nothing_is_unknown_beyond_what_the_agent_may_hold() -> None:
    """An order that is renewed while its agent is silent does not reach it: the lease that it has ends it."""
    master = Master()
    master.fall_silent()
    held_us = order_rows.of_agent(master.connection, NORTH)[0].held_until_us
    late_us = START_US + 4 * DAY_US
    ending = orders.read_ending(master.connection, late_us)
    master.do(orders.put_renewals(orders.renew_all(ending, late_us), late_us))
    renewed = order_rows.of_agent(master.connection, NORTH)[0]
    assert renewed.valid_until_us > held_us == renewed.held_until_us
    assert rows.unknown(master.connection, START_US + 9 * DAY_US)[0].last_us <= held_us


def test_a_dead_machine_frees_its_future_only() -> None:
    """What it may have started stays unknown under its keys; what falls due later is missed, then the new agent's."""
    master = Master()
    master.fall_silent()
    dead_us = FIRST_US + 4 * MINUTE_US + LATE_US
    told = master.do(silence.declare_dead("north", BOSS, dead_us, "burnt"))
    assert (told.orders, told.unknown_runs, told.unknown_occurrences) == (1, 0, 2)
    master.plan(dead_us)
    later_us = FIRST_US + 7 * MINUTE_US
    master.do(order_ledger.account_held(later_us))
    assert master.unknown(later_us) == [FIRST_US + 3 * MINUTE_US, FIRST_US + 4 * MINUTE_US]
    open_rows = missed_rows.open_rows(master.connection)
    assert [row.cause for row in open_rows] == ["agent declared dead"] * 3
    master.do(orders.resolve_missed(later_us, 0))
    assert len(missed_rows.open_rows(master.connection)) == 3, "no policy starts what nobody could run"
    master.rebind(later_us)
    master.plan(later_us)
    active = [o for o in order_rows.of_job(master.connection, master.job.id) if o.state == "active"]
    assert [o.agent_id for o in active] == [("south" * 32)[:32]]
    assert any("was declared dead" in message.text for message in system_messages.page(master.connection))


def test_a_week_of_seconds_is_counted_without_looking_at_each() -> None:
    """The same by arithmetic as one by one, over several series with known ones in between."""
    spans = [(10, 1, 600), (1000, 7, 50), (5000, 0, 1)]
    order = msgspec.structs.replace(Master().order, instants=spans, exceptions=[])
    for after_us, until_us in ((0, 9), (0, 6000), (55, 1043), (609, 999), (1342, 1343), (4999, 5000)):
        every = [t for t in instants_between(spans, after_us, until_us) if t not in (60, 1007, 1343)]
        found = unknown_instants(order, Window(after_us, until_us), (60, 1007, 1343, 61_000, 1001))
        assert list(found) == sorted(every)
        assert found.count == len(every)
        assert found.last_us() == (max(every) if every else None)
        assert all(t in found for t in every)
        assert 1001 not in found


def test_only_a_silent_agent_is_declared_dead_and_by_an_administrator() -> None:
    """One that answers is refused with what to type instead; again is refused; an operator may not."""
    master = Master()
    with pytest.raises(Conflict, match="understudy job update JOB --agent OTHER"):
        master.do(silence.declare_dead("north", BOSS, LEFT_US))
    with pytest.raises(Conflict, match="never been connected"):
        master.do(silence.declare_dead("south", BOSS, LEFT_US))
    with pytest.raises(Forbidden):
        silence.declare_dead("north", Principal("bob", "operator"), LEFT_US)
    master.fall_silent()
    master.do(silence.declare_dead("north", BOSS, LEFT_US + MINUTE_US))
    with pytest.raises(Conflict, match="already"):
        master.do(silence.declare_dead("north", BOSS, LEFT_US + MINUTE_US))


def test_an_unknown_occurrence_is_run_again_by_name_and_only_after_the_word() -> None:
    """While the agent is only silent the refusal says why; then it is attempt 2, on the agent that has the job now."""
    master = Master()
    master.fall_silent()
    now_us = FIRST_US + 4 * MINUTE_US + LATE_US
    key = master.key(FIRST_US + 3 * MINUTE_US)
    with pytest.raises(Conflict, match="north is silent and may have run it"):
        master.do(silence.rerun(key, BOSS, now_us))
    master.do(silence.declare_dead("north", BOSS, now_us))
    with pytest.raises(Conflict, match="Give it to another agent first"):
        master.do(silence.rerun(key, BOSS, now_us))
    master.rebind(now_us)
    again = master.do(silence.rerun(key, BOSS, now_us))
    assert (again.key, again.agent_id) == (master.key(FIRST_US + 3 * MINUTE_US, 2), ("south" * 32)[:32])
    assert master.run(key).state == "unknown"
    assert master.unknown(now_us) == [FIRST_US + 4 * MINUTE_US]
    with pytest.raises(NotFound):
        master.do(silence.rerun(master.key(FIRST_US + 50 * MINUTE_US), BOSS, now_us))
    assert master.do(silence.dismiss("backup", BOSS, now_us)) == 1
    assert master.unknown(now_us) == []


def dead_and_rerun() -> tuple[Master, int]:
    """Declared dead with two unknown, one of which was run again elsewhere."""
    master = Master()
    master.fall_silent()
    now_us = FIRST_US + 4 * MINUTE_US + LATE_US
    master.do(silence.declare_dead("north", BOSS, now_us))
    master.rebind(now_us)
    master.do(silence.rerun(master.key(FIRST_US + 3 * MINUTE_US), BOSS, now_us))
    return master, now_us


def test_a_dead_machine_switched_on_again_starts_nothing_and_its_reports_are_taken() -> None:
    """It is let in under quarantine: what it ran becomes runs, what it never started is missed, no attempt doubles."""
    master, now_us = dead_and_rerun()
    admission = master.arrive(1, now_us, orders=((master.order.id, master.order.version),))
    assert admission.admitted is not None
    assert "accept-restored north" in admission.admitted.quarantined
    assert master.run(master.key(FIRST_US + 3 * MINUTE_US)).state == "missed", "it never began here; attempt 2 is there"
    (stray,) = admission.admitted.strays
    master.ran(FIRST_US + 4 * MINUTE_US)
    answer = wire.Released(*stray, (FIRST_US + 4 * MINUTE_US,))
    master.do(reports.record(NORTH, [answer], 1, now_us))
    assert master.unknown(now_us) == []
    assert master.run(master.key(FIRST_US + 4 * MINUTE_US)).state == "succeeded"
    assert reconciliation.next_ticket(NORTH)(master) == 0, "nothing is given to it"
    master.do(agents.accept_restored("north", BOSS, now_us))
    assert (master.agent().dead_at_us, master.agent().quarantined_at_us) == (None, None)
    assert master.arrive(2, now_us).admitted is not None, "its memory is whole: its next ticket fits"


def test_the_memory_of_a_restored_machine_frees_nothing() -> None:
    """Back from a snapshot it does not know what it ran: its old connection is refused, and nothing becomes missed."""
    master, now_us = dead_and_rerun()
    agent_rows.update(master.connection, NORTH, ticket=5, ticket_confirmed=5)
    again = master.arrive(1, now_us)
    assert again.admitted is None
    assert "snapshot" in again.refusal
    assert master.unknown(now_us) == [FIRST_US + 4 * MINUTE_US]


def test_an_agent_of_the_earlier_release_stays_outside() -> None:
    """It would take an admission as leave to start: it is only told that it is quarantined."""
    master, now_us = dead_and_rerun()
    old = msgspec.structs.replace(HELLO, protocol=1)
    shown = wire.Present(wire.Epoch(1, "n"), 1, wire.GateSet(), (), ())
    assert master.do(reconciliation.present(NORTH, old, shown, 1, now_us)).admitted is None


def test_what_was_given_away_is_not_the_old_agents_to_miss() -> None:
    """A returning agent says that it did not start an instant which is another's by now: no row, nothing runs twice."""
    master, now_us = dead_and_rerun()
    master.plan(now_us)
    at_us = FIRST_US + 6 * MINUTE_US
    body = wire.Suppressed(master.job.id, master.order.schedule_id, at_us, "agent was quarantined")
    master.report("", body, at_us)
    assert missed_rows.of_occurrence(master.connection, master.order.schedule_id, at_us) is None


def test_a_job_that_may_be_given_up_moves_by_itself_in_time() -> None:
    """Not before its time and a minute; then its order is free, its past instants are missed, its run is repeated."""
    master = Master(may_run_twice=True, give_up_after_s=30)
    begun_us = FIRST_US + 3 * MINUTE_US
    master.report(master.key(begun_us), wire.Begun(master.order.specification, begun_us, 1), begun_us)
    master.fall_silent()
    now_us = FIRST_US + 5 * MINUTE_US + LATE_US
    master.rebind(now_us)
    number = master.run(master.key(begun_us)).number
    assert rows.to_give_up(master.connection, 0) == {NORTH: 30}
    assert master.do(silence.give_up(NORTH, 89.0, now_us)) == 0
    with pytest.raises(Conflict, match="given up 90 s after north fell silent"):
        master.do(runs.rerun(number, BOSS, now_us))
    assert master.do(silence.give_up(NORTH, 90.0, now_us)) == 2
    assert master.do(runs.rerun(number, BOSS, now_us)).agent_id == ("south" * 32)[:32]
    causes = {row.cause for row in missed_rows.open_rows(master.connection)}
    assert causes == {"given up by a silent agent"}
    assert rows.to_give_up(master.connection, 0) == {}


def test_an_agent_that_was_not_told_of_the_setting_gives_nothing_up() -> None:
    """The job learned it while the agent was silent: what it has runs on, so nothing of it is free."""
    master = Master()
    begun_us = FIRST_US + 3 * MINUTE_US
    master.report(master.key(begun_us), wire.Begun(master.order.specification, begun_us, 1), begun_us)
    master.fall_silent()
    job_rows.update(master.connection, master.job.id, give_up_after_s=30, may_run_twice=1)
    master.rebind(LEFT_US + MINUTE_US)
    assert rows.to_give_up(master.connection, 0) == {}
    assert master.do(silence.give_up(NORTH, 1e9, LEFT_US + MINUTE_US)) == 0


def test_an_order_whose_time_is_over_is_free_ten_minutes_later() -> None:
    """`valid_until` is the one lease by the wall clock: the job may move then; what may have begun stays unknown."""
    master = Master()
    master.fall_silent()
    master.rebind(LEFT_US + MINUTE_US)
    over_us = order_rows.of_agent(master.connection, NORTH)[0].held_until_us + LEASE_SLACK_US
    assert master.do(silence.give_up(NORTH, 1.0, over_us)) == 0
    assert master.do(silence.give_up(NORTH, 1.0, over_us + 1)) == 1
    master.plan(over_us)
    active = [o for o in order_rows.of_job(master.connection, master.job.id) if o.state == "active"]
    assert [o.agent_id for o in active] == [("south" * 32)[:32]]
    assert len(master.unknown(over_us)) == rows.KEYS_MAX


def test_a_replaced_machine_leaves_its_unknown_ones() -> None:
    """The name goes to a new machine; what the old one may have run can still be run again by its key."""
    master = Master()
    master.fall_silent()
    now_us = FIRST_US + 4 * MINUTE_US + LATE_US
    token = JoinToken(id="t", secret_hash="h", name="north", created_by="boss", created_at_us=1, expires_at_us=2**60)
    master.do(agents.replace("north", token, BOSS, now_us, "", True))
    assert master.unknown(now_us + DAY_US) == [FIRST_US + 3 * MINUTE_US, FIRST_US + 4 * MINUTE_US]
    master.plan(now_us)
    fresh = master.do(agents.enrol("t", "h", "f" * 32, now_us + MINUTE_US))
    while orders.read_changed(master.connection):
        master.plan(now_us + MINUTE_US)
    active = [o for o in order_rows.of_job(master.connection, master.job.id)]
    assert [(o.agent_id, o.state, o.suppressed) for o in active] == [(fresh.id, "active", "")]


def test_run_now_of_a_job_on_a_dead_machine_is_refused() -> None:
    """It would wait for ever: the refusal says what to type."""
    master = Master()
    master.fall_silent()
    master.do(silence.declare_dead("north", BOSS, LEFT_US + MINUTE_US))
    with pytest.raises(Conflict, match="understudy job update backup --agent OTHER"):
        master.do(runs.run_now("backup", "one", BOSS, LEFT_US + MINUTE_US))
    assert master.do(missed.run_all(BOSS, LEFT_US + MINUTE_US)).resolved == 0


def test_an_agent_that_is_let_in_under_quarantine_reports_and_begins_nothing() -> None:
    """What it ran alone is sent; its orders, what it held and what is dispatched to it do not begin."""
    world = World()
    world.connect()
    world.hear(order(5, 10, 100))
    world.hear(wire.SetGates(wire.GateSet(1, ("queue_locked",))))
    world.pass_s(6)
    world.do(world.session.link_closed(A))
    world.sent.clear()
    world.connect(2, quarantined="boss declared the machine dead")
    assert [key for key, _ in world.bodies(wire.Held)] == ["j1.s5.20270115T080005Z.a1"]
    world.hear(wire.SetGates(wire.GateSet(2, ())))
    world.hear(wire.Dispatch("j1.rone.a1", specification()))
    for _ in range(60):
        world.pass_s(1)
    assert world.processes == {}
    assert world.session.waiting(world.now) == "Quarantined: boss declared the machine dead"
    world.connect(3, ticket=2)
    world.pass_s(10)
    assert world.processes, "once accepted it works again"
