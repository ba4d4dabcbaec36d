"""After a takeover with loss: what the master itself submits is withheld while an agent may have been given it."""

from __future__ import annotations

import msgspec

from server.actions import debts, group_instants, happenings, jobs, pools, reports, retries, runs, silence
from server.core import agent_wire as wire
from server.core.debts import HELD_US, LATE, OWED, WITHHELD_US
from server.core.limits import Limits
from server.core.model import MINUTE_US, SYSTEM, Run, Specification
from server.core.silence import LEASE_SLACK_US
from server.storage import debts as rows
from server.storage import missed
from server.storage import orders as order_rows
from server.storage import runs as run_rows
from tests.unit.test_debts import LOSS_US, NORTH, SOUTH, Taken, silence_of_south
from tests.unit.test_silence import BOSS

ONE = Limits(runs_at_once=1)
NEXT_US = LOSS_US + MINUTE_US - LOSS_US % MINUTE_US


class Moved(Taken):
    """`own` is a job of each minute with a limit, north's: the master submits its instants. North is back.

    South is silent. The lost master may have taken its limit away and given it to south.
    """

    def __init__(self) -> None:
        super().__init__()
        self.connection.execute("DELETE FROM debts")
        self.own = self.add_job(name="own", cron="* * * * *", limits=ONE)
        self.plan(LOSS_US - 1)
        self.do(lambda transaction: debts.incur(transaction.connection, LOSS_US))
        self.arrive(NORTH, LOSS_US, ((self.order.id, 1),))
        self.confirm(NORTH)
        self.do(silence_of_south(LOSS_US))

    def pass_time(self, now_us: int, connected: tuple[str, ...] = (NORTH,)) -> None:
        """What scheduler and placer do until they have nothing to do."""
        while self.do(group_instants.make_due(now_us)):
            pass
        self.plan(now_us)
        self.turn(now_us)
        while self.do(pools.place_waiting(connected, now_us)):
            pass

    def of_own(self) -> list[Run]:
        """Its runs, the oldest first."""
        lines = run_rows.page(self.connection, self.own.id)
        found = [run_rows.get(self.connection, line.number) for line in reversed(lines)]
        return [run for run in found if run is not None]

    def key(self, at_us: int = NEXT_US) -> str:
        """The key that both masters, and an agent with an order of the lost one, give the instant."""
        (found,) = [run.key for run in self.of_own() if run.scheduled_for_us == at_us and run.attempt == 1]
        return found

    def hear(self, agent_id: str, key: str, body: wire.Body, now_us: int) -> None:
        """A report of an agent."""
        self.do(reports.record(agent_id, [wire.Report(1, key, now_us, body)], 2, now_us))


def begun() -> wire.Begun:
    """As an agent reports a begin."""
    return wire.Begun(Specification(job_id=2, job_name="own", command="true"), None, 1)


def test_an_instant_that_a_silent_agent_may_begin_by_itself_is_withheld_and_says_who_owes() -> None:
    """Due after the loss, of a job that was the master's own: nobody is sent it, and its reason says what to type."""
    master = Moved()
    master.pass_time(NEXT_US)
    (run,) = [run for run in master.of_own() if run.scheduled_for_us == NEXT_US]
    assert (run.state, run.reason, run.begin_after_us) == ("waiting", OWED, WITHHELD_US)
    assert run.number not in master.dispatched(NEXT_US)
    line = run_rows.line(master.connection, run.number)
    assert line is not None
    assert "south owes an answer" in line.reason
    assert line.reason.endswith("understudy agent declare-dead south")
    assert rows.count_withheld(master.connection)[0] >= 1


def test_without_a_debt_the_same_instant_goes_at_once() -> None:
    """What is withheld is withheld for the silent agent alone."""
    master = Moved()
    master.arrive(SOUTH, LOSS_US)
    master.confirm(SOUTH)
    master.pass_time(NEXT_US)
    (run,) = [run for run in master.of_own() if run.scheduled_for_us == NEXT_US]
    assert run.state == "starting"


def test_a_job_that_is_made_after_the_loss_is_nobody_elses() -> None:
    """Its schedule has an id that the lost master cannot have used."""
    master = Moved()
    fresh = master.add_job(name="fresh", cron="* * * * *", limits=Limits(runs_at_once=1), now_us=LOSS_US + 1)
    master.plan(LOSS_US + 1)
    master.pass_time(NEXT_US)
    assert [line.state for line in run_rows.page(master.connection, fresh.id)] == ["starting"]


def test_the_order_of_an_agent_that_showed_it_is_nobody_elses() -> None:
    """North holds the order of the plain job, so no other agent got it: what it missed goes to it again."""
    master = Moved()
    at_us = NEXT_US
    missed.record(master.connection, master.job.id, master.order.schedule_id, at_us, "agent disk full", at_us)
    row = missed.of_occurrence(master.connection, master.order.schedule_id, at_us)
    assert row is not None
    schedule_id = master.order.schedule_id
    run = runs.submit_occurrence(master.connection, master.job, schedule_id, at_us, "system", at_us)
    assert run.number in master.dispatched(at_us)


def test_what_the_silent_agent_ran_is_its_run_and_not_a_line_of_server_history() -> None:
    """South is back with the instant in its inventory, then with its end: one run, south's, nothing for north."""
    master = Moved()
    master.pass_time(NEXT_US)
    key = master.key()
    hello = wire.Hello(SOUTH, 2, "1.0", "boot", "instance", NEXT_US)
    notes = (wire.RunNote(key, "ended"),)
    shown = wire.Present(wire.Epoch(2, "n"), master.tickets[SOUTH], wire.GateSet(), notes, ((77, 1),))
    admission = master.present(hello, shown, NEXT_US)
    assert admission.strays == ()
    assert admission.admitted is not None
    assert admission.admitted.strays == ((77, 1),)
    master.tickets[SOUTH] = admission.admitted.ticket
    master.confirm(SOUTH, NEXT_US)
    master.pass_time(NEXT_US + 2, (NORTH, SOUTH))
    assert master.dispatched(NEXT_US + 2) == [master.before.number]
    master.hear(SOUTH, key, begun(), NEXT_US + 3)
    master.hear(SOUTH, key, wire.Ended(0, None, LOSS_US, NEXT_US + 4, 0, False), NEXT_US + 5)
    run = run_rows.by_key(master.connection, key)
    assert run is not None
    assert (run.state, run.agent_id, run.exit_code) == ("succeeded", SOUTH, 0)
    assert master.count("server_history") == 0
    assert [one.key for one in master.of_own()].count(key) == 1


def test_a_report_alone_takes_the_waiting_run_too() -> None:
    """A begin that no inventory named, while another agent still owes."""
    master = Moved()
    master.pass_time(NEXT_US)
    master.hear(SOUTH, master.key(), begun(), NEXT_US)
    run = run_rows.by_key(master.connection, master.key())
    assert run is not None
    assert (run.state, run.agent_id, run.begin_after_us) == ("running", SOUTH, None)


def test_once_all_have_answered_what_is_young_goes_and_what_is_late_is_the_policys() -> None:
    """Three instants were withheld: the young one is sent; of the late ones `once` has nothing to make up for."""
    master = Moved()
    last_us = NEXT_US + 2 * MINUTE_US
    for number in range(3):
        master.pass_time(NEXT_US + number * MINUTE_US)
    master.arrive(SOUTH, last_us + 1)
    master.confirm(SOUTH, last_us + 1)
    master.pass_time(last_us + 2)
    states = {run.scheduled_for_us: run.state for run in master.of_own() if run.attempt == 1}
    assert [states[at_us] for at_us in (NEXT_US, NEXT_US + MINUTE_US, last_us)] == ["missed", "missed", "starting"]
    schedule_id = master.of_own()[0].schedule_id
    assert schedule_id is not None
    row = missed.of_occurrence(master.connection, schedule_id, NEXT_US)
    assert row is not None
    assert row.cause == LATE


def test_what_a_dead_machine_may_have_run_is_unknown_and_a_persons_to_decide() -> None:
    """The instants up to the word are unknown of south; later ones go; a rerun is another attempt where the job is."""
    master = Moved()
    master.pass_time(NEXT_US)
    master.do(silence.declare_dead("south", BOSS, NEXT_US + 1))
    master.pass_time(NEXT_US + 2)
    (run,) = [run for run in master.of_own() if run.scheduled_for_us == NEXT_US]
    assert (run.state, run.agent_id) == ("unknown", SOUTH)
    assert rows.dead(master.connection) == []
    later_us = NEXT_US + MINUTE_US
    master.pass_time(later_us)
    (later,) = [run for run in master.of_own() if run.scheduled_for_us == later_us]
    assert later.state == "starting"
    again = master.do(runs.rerun(run.number, BOSS, later_us))
    assert (again.attempt, again.agent_id) == (2, NORTH)


def test_a_dead_machine_that_is_on_again_says_what_became_of_it() -> None:
    """Its report ends the unknown run."""
    master = Moved()
    master.pass_time(NEXT_US)
    master.do(silence.declare_dead("south", BOSS, NEXT_US + 1))
    master.pass_time(NEXT_US + 2)
    master.hear(SOUTH, master.key(), wire.Ended(0, None, LOSS_US, NEXT_US + 4, 0, False), NEXT_US + 5)
    run = run_rows.by_key(master.connection, master.key())
    assert run is not None
    assert run.state == "succeeded"


def test_after_the_time_for_which_an_agent_is_taken_to_hold_orders_new_instants_go() -> None:
    """What a silent agent may hold ends seven days after the loss, and the slack of its clock."""
    master = Moved()
    master.connection.execute("UPDATE debts SET held_until_us = ?", (NEXT_US - LEASE_SLACK_US,))
    assert NEXT_US - LOSS_US < HELD_US
    master.pass_time(NEXT_US)
    master.pass_time(NEXT_US + MINUTE_US)
    states = [run.state for run in master.of_own() if (run.scheduled_for_us or 0) >= NEXT_US]
    assert states == ["waiting", "starting"]


def test_a_job_that_is_changed_after_the_loss_is_given_to_no_agent_either() -> None:
    """Its limit is taken away here too: the order that an agent gets now would begin what south begins."""
    master = Moved()
    spec = jobs.JobSpec(name="own", command="true", agent="north", schedules=[jobs.When("* * * * *")])
    master.do(jobs.update("own", spec, SYSTEM, LOSS_US + 1))
    master.plan(LOSS_US + 1)
    assert [order.job_id for order in rows.withheld_orders(master.connection)] == [master.own.id]
    master.arrive(SOUTH, NEXT_US)
    master.confirm(SOUTH, NEXT_US)
    master.plan(NEXT_US)
    assert [order.withheld for order in order_rows.of_job(master.connection, master.own.id)] == [0]


def test_a_hundred_withheld_runs_stand_in_nobodys_way() -> None:
    """A page of the queue is full of them: what was asked for after the loss is placed all the same."""
    master = Moved()
    spec = jobs.JobSpec(name="own", command="true", agent="north", schedules=[jobs.When("* * * * *")])
    master.do(jobs.update("own", msgspec.structs.replace(spec, limits=Limits(runs_at_once=9)), SYSTEM, LOSS_US + 1))
    for number in range(100):
        master.pass_time(NEXT_US + number * MINUTE_US)
    fresh = master.do(runs.run_now("own", "fresh", BOSS, NEXT_US + 100 * MINUTE_US))
    master.pass_time(NEXT_US + 100 * MINUTE_US)
    assert master.state(fresh.number)[0] == "starting"
    assert rows.count_withheld(master.connection)[0] >= 100


def test_what_met_prerequisites_before_the_loss_is_withheld_too() -> None:
    """Two masters make the same run of the same happening; two agents could get it."""
    master = Moved()
    first = master.add_job(name="first", cron="")
    master.add_job(name="then", cron="", prerequisites="first completed")
    master.do(lambda transaction: debts.incur(transaction.connection, LOSS_US))
    master.arrive(NORTH, LOSS_US, ((master.order.id, 1),))
    master.confirm(NORTH)
    run = master.do(runs.run_now("first", "x", BOSS, LOSS_US + 1))
    assert master.dispatched(LOSS_US + 1)
    master.hear(NORTH, run.key, begun(), LOSS_US + 2)
    master.hear(NORTH, run.key, wire.Ended(0, None, LOSS_US, LOSS_US + 3, 0, False), LOSS_US + 4)
    while master.do(happenings.follow(LOSS_US + 5)):
        pass
    master.do(retries.begin_due(LOSS_US + 5))
    assert master.dispatched(LOSS_US + 5) == []
    (then,) = [line for line in run_rows.page(master.connection) if line.job == "then"]
    assert "south owes an answer" in then.reason
    assert first.id < rows.first_id(master.connection)
