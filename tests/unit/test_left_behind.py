"""Runs between two agents, two offices or two wishes: none is left behind, and what nobody wants does not begin."""

from __future__ import annotations

import pytest

from server.actions import agents, debts, exceptions, gates, jobs, reconciliation, reports, runs, silence
from server.core import agent_wire as wire
from server.core.debts import ID_GAP
from server.core.model import MINUTE_US, SYSTEM, JoinToken
from server.core.run_states import RunState
from server.storage import agents as agent_rows
from server.storage import debts as debt_rows
from server.storage import deliveries
from server.storage import groups as group_rows
from server.storage import missed as missed_rows
from server.storage import orders as order_rows
from server.storage import runs as run_rows
from server.storage import schedules as schedule_rows
from server.storage import silence as silence_rows
from tests.unit.group_site import NAMES, Site
from tests.unit.ledger import START_US
from tests.unit.test_debts import LOSS_US, SOUTH, Taken
from tests.unit.test_silence import BOSS, FIRST_US, LEFT_US, NORTH, Master

FRESH = "f" * 32
LATER_US = LEFT_US + MINUTE_US


def token() -> JoinToken:
    return JoinToken(id="t", secret_hash="h", name="north", created_by="boss", created_at_us=1, expires_at_us=2**60)


def come_back(master: Master, now_us: int = LATER_US, **shown: object) -> reconciliation.Admission:
    admission = master.arrive(master.agent().ticket, now_us, **shown)
    assert admission.admitted is not None
    master.do(reports.record(NORTH, [wire.TicketKept(admission.admitted.ticket)], 1, now_us))
    master.do(runs.agent_is_back(NORTH, now_us))
    return admission


def test_a_cancelled_run_that_never_arrived_does_not_begin_when_its_agent_is_back() -> None:
    """It was sent and lost on the way, then somebody cancelled it: the agent's word that it never began ends it."""
    master = Master()
    run = master.do(runs.run_now("backup", "one", BOSS, START_US))
    master.do(reconciliation.dispatch(NORTH, 1, START_US))
    master.fall_silent()
    master.do(runs.cancel(run.number, BOSS, LATER_US))
    come_back(master)
    assert (master.run(run.key).state, master.run(run.key).reason) == ("cancelled", "cancelled by boss")


def test_a_cancelled_run_of_a_group_does_not_go_back_into_its_pool() -> None:
    """Its member has come back without it: nobody else is given what somebody has cancelled."""
    site = Site()
    site.job()
    (run,) = site.submit("one")
    site.place()
    site.send()
    name, _ = site.at(run)
    site.ledger.do(reconciliation.fall_silent(site.ids[name], START_US, START_US + 1))
    site.ledger.do(runs.cancel(run.number, SYSTEM, START_US + 2))
    hello = wire.Hello(site.ids[name], 2, "1.0", "boot", "instance", START_US)
    shown = wire.Present(wire.Epoch(1, "n"), 0, wire.GateSet(), (), ())
    site.ledger.do(reconciliation.present(site.ids[name], hello, shown, 1, START_US + 3))
    assert site.run(run).state == "cancelled"


def test_a_run_begun_by_a_dispatch_that_was_lost_is_at_its_agent() -> None:
    """The office that sent it lost its last writes: the agent's word that it runs counts, so a kill goes there."""
    master = Master()
    master.do(gates.lock_all(BOSS, START_US))
    run = master.do(runs.run_now("backup", "one", BOSS, START_US))
    master.report(run.key, wire.Begun(master.order.specification, None, 1), START_US + 1)
    master.do(runs.kill(run.number, BOSS, START_US + 2))
    assert master.run(run.key).state == "running"
    assert NORTH in deliveries.agents(master.connection), "the kill is to be brought"


def held(master: Master) -> str:
    """An occurrence that the agent holds behind a lock."""
    at_us = FIRST_US + 3 * MINUTE_US
    master.report(master.key(at_us), wire.Held(master.order.specification, at_us, 1, "queue locked"), at_us)
    return master.key(at_us)


def test_what_a_replaced_machine_held_is_unknown_and_may_run_again_once_it_is_dead() -> None:
    """It would say `queue locked` for ever, at a machine that nobody asks any more."""
    master = Master()
    key = held(master)
    master.fall_silent()
    master.do(agents.replace("north", token(), BOSS, LATER_US, "", True))
    assert master.run(key).state == "unknown"
    master.do(agents.enrol("t", "h", FRESH, LATER_US))
    again = master.do(silence.rerun(key, BOSS, LATER_US))
    assert again.agent_id == FRESH


def test_what_waited_for_a_replaced_machine_goes_to_the_new_one() -> None:
    """Also what was looked at between the two: the lock of the old machine went with it, so it was let go already."""
    master = Master()
    master.do(gates.lock("north", BOSS, START_US))
    run = master.do(runs.run_now("backup", "one", BOSS, START_US))
    master.fall_silent()
    master.do(agents.replace("north", token(), BOSS, LATER_US))
    master.do(runs.submit_waiting(LATER_US))
    master.do(agents.enrol("t", "h", FRESH, LATER_US))
    assert master.run(run.key).agent_id == FRESH


def test_a_member_that_is_being_stopped_is_asked_for_what_it_holds() -> None:
    """It began to drain by itself just before the run arrived: another member is free meanwhile (SMA-7)."""
    site = Site()
    site.job()
    (run,) = site.submit("one")
    site.place()
    site.send()
    name, _ = site.at(run)
    site.report(name, "", wire.DrainBegun(START_US, "stop", 600))
    given = wire.Specification(job_id=1, job_name="serve", command="true")
    site.report(name, run.key, wire.Held(given, None, 1, "agent draining"), 2)
    site.place()
    (asked,) = group_rows.pending_recalls(site.ledger.connection, site.ids[name])
    site.end(name, run.key, asked.id)
    site.place()
    other, state = site.at(run)
    assert (other != name, state) == (True, "starting")


def test_schedules_of_members_get_ids_that_no_lost_row_can_have() -> None:
    """The lost master may have deployed the group too: a run's key would name two members' occurrences."""
    master = Taken()
    master.do(lambda t: schedule_rows.set_members(t.connection, master.job.id, [NORTH], LOSS_US))
    written, of_member = schedule_rows.with_members(master.connection, master.job.id)
    assert of_member.id >= written.id + ID_GAP


def test_a_run_of_a_deleted_job_does_not_begin_when_its_agent_is_back() -> None:
    """It waited for the agent, not for a gate; the job was deleted meanwhile."""
    master = Master()
    run = master.do(runs.run_now("backup", "one", BOSS, START_US))
    master.fall_silent()
    master.do(jobs.delete("backup", BOSS, LATER_US))
    come_back(master)
    assert master.do(reconciliation.dispatch(NORTH, 1, LATER_US)) == []
    assert (master.run(run.key).state, master.run(run.key).reason) == ("cancelled", "job deleted")


MOVED_US = FIRST_US + 3 * MINUTE_US
TO_US = MOVED_US + 30_000_000


def moved() -> Master:
    """An occurrence is moved by half a minute, and the agent knows it."""
    master = Master()
    spec = exceptions.ExceptionSpec(instant_us=MOVED_US, move_to_us=TO_US)
    master.do(exceptions.put("backup", spec, BOSS, LEFT_US))
    master.plan(LEFT_US)
    (order,) = order_rows.of_agent(master.connection, NORTH)
    order_rows.acknowledge(master.connection, order.id, order.version)
    return master


def test_a_moved_occurrence_that_a_dead_machine_may_have_begun_is_not_given_to_another() -> None:
    """It was due before the word: it stays unknown, and only what is to come is free."""
    master = moved()
    master.fall_silent()
    now_us = TO_US + 2 * MINUTE_US
    master.do(silence.declare_dead("north", BOSS, now_us))
    master.rebind(now_us)
    (order,) = order_rows.of_job(master.connection, master.job.id)
    assert order.agent_id != NORTH
    assert order.exceptions == []
    assert MOVED_US in master.unknown(now_us)


def test_a_moved_occurrence_that_began_is_not_given_to_another_before_its_report_has_come() -> None:
    """The order is given back ahead of hundreds of reports: what it names as begun belongs to that agent."""
    master = moved()
    now_us = TO_US + MINUTE_US
    master.rebind(now_us)
    (order,) = order_rows.of_agent(master.connection, NORTH)
    answer = wire.Released(order.id, order.version, (MOVED_US,))
    master.do(reports.record(NORTH, [answer], 1, now_us))
    master.plan(now_us)
    (fresh,) = order_rows.of_job(master.connection, master.job.id)
    assert (fresh.agent_id != NORTH, fresh.exceptions) == (True, [])


def test_a_moved_occurrence_that_did_not_begin_is_in_the_ledger_once_its_order_is_back() -> None:
    """Also one that was moved to an earlier time: its own instant is still to come."""
    master = Master()
    later_us = FIRST_US + 30 * MINUTE_US
    spec = exceptions.ExceptionSpec(instant_us=later_us, move_to_us=TO_US)
    master.do(exceptions.put("backup", spec, BOSS, LEFT_US))
    master.plan(LEFT_US)
    now_us = TO_US + MINUTE_US
    master.rebind(now_us)
    (order,) = order_rows.of_agent(master.connection, NORTH)
    master.do(reports.record(NORTH, [wire.Released(order.id, order.version, ())], 1, now_us))
    row = missed_rows.of_occurrence(master.connection, order.schedule_id, later_us)
    assert row is not None
    assert row.cause == "moved to another agent"


def test_an_agent_that_was_accepted_and_has_not_come_back_owes_an_answer_too() -> None:
    """Its ticket was forgotten, not what a lost master gave it afterwards."""
    master = Taken()
    master.confirm(NORTH)
    master.confirm(SOUTH)
    master.do(reconciliation.quarantine_double(SOUTH, LOSS_US))
    master.do(agents.accept_restored("south", BOSS, LOSS_US))
    master.do(lambda t: debts.incur(t.connection, LOSS_US + 1))
    assert all(debt_rows.of_agent(master.connection, agent_id) is not None for agent_id in (NORTH, SOUTH))
    assert SOUTH in silence_rows.expected(master.connection)


def test_a_recalled_run_whose_next_attempt_was_made_is_answered_once_and_for_all() -> None:
    """Given up, taken out of the group, run again elsewhere: the first agent's answer is no step of an ended run.

    A report that is refused would come for ever, with everything behind it.
    """
    site = Site()
    site.job(may_run_twice=True, give_up_after_s=60)
    (run,) = site.submit("one")
    site.place()
    site.send()
    name, _ = site.at(run)
    site.ledger.do(reconciliation.fall_silent(site.ids[name], START_US, START_US + 1))
    site.deploy(*(other for other in NAMES if other != name))
    (asked,) = group_rows.pending_recalls(site.ledger.connection, site.ids[name])
    assert site.ledger.do(silence.give_up(site.ids[name], 1000, START_US + 2)) == 1
    site.ledger.do(runs.rerun(run.number, SYSTEM, START_US + 3))
    hello = wire.Hello(site.ids[name], 2, "1.0", "boot", "instance", START_US)
    shown = wire.Present(wire.Epoch(1, "n"), 0, wire.GateSet(), (), ())
    site.ledger.do(reconciliation.present(site.ids[name], hello, shown, 1, START_US + 4))
    assert site.run(run).state == "missed"
    assert group_rows.pending_recalls(site.ledger.connection, site.ids[name]) == []
    site.end(name, run.key, asked.id)
    assert site.run(run).state == "missed"


def test_the_answer_to_a_recall_of_an_ended_run_changes_nothing() -> None:
    """An earlier build left such a request open."""
    site = Site()
    site.job()
    (run,) = site.submit("one")
    site.place()
    site.send()
    name, _ = site.at(run)
    site.deploy(*(other for other in NAMES if other != name))
    (asked,) = group_rows.pending_recalls(site.ledger.connection, site.ids[name])
    site.ledger.do(lambda t: run_rows.set_state(t.connection, run.number, "missed", START_US))
    site.end(name, run.key, asked.id)
    assert site.run(run).state == "missed"
    assert group_rows.pending_recalls(site.ledger.connection, site.ids[name]) == []


GIVEN = wire.Specification(job_id=1, job_name="serve", command="true")
BODIES = (
    wire.Held(GIVEN, None, 1, "queue locked"),
    wire.Begun(GIVEN, None, 1),
    *(wire.Ended(None, None, None, 2, 0, False, cause) for cause in ("never started", "cancelled", "given up")),
    *(
        wire.Ended(None, 9, 1, 2, 0, False, cause)
        for cause in ("", "killed", "timeout", "drained", "handed over", "suspended")
    ),
    wire.Checkpointed(3, b"state", "5d"),
    *(wire.Ended(None, None, None, 2, 0, False, "recalled", "serve", recall) for recall in (1, 7)),
    wire.Fired(1, "gone", 1, "manual", 5, {}, (1, 99), ((1, "queue locked"), (98, "queue locked"))),
    wire.MonitorProblem(9, "no such directory"),
    wire.Suppressed(1, 999, START_US, "still running", True),
    wire.Drained(77, "request", ()),
)
KEYS = ("", "no key", "j77.rx.a1", "j1.rother.a1", "j1.e9-1.a1", "j1.s44.20260101T000000Z.a1")


@pytest.mark.parametrize("state", list(RunState))
@pytest.mark.parametrize("sent", [None, 1])
def test_no_report_is_refused_whatever_the_rows_say(state: RunState, sent: int | None) -> None:
    """What is refused comes for ever and keeps all reports behind it: at any state, of jobs and monitors unknown here,
    of a machine that was declared dead.
    """
    site = Site()
    site.job()
    (run,) = site.submit("one")
    alpha, connection = site.ids["alpha"], site.ledger.connection
    run_rows.update(connection, run.number, agent_id=alpha, dispatched_epoch=sent, state=state)
    group_rows.recall(connection, site.run(run), "boss", "another deployment", START_US)
    for dead_at_us in (None, START_US):
        agent_rows.update(connection, alpha, dead_at_us=dead_at_us)
        for body in BODIES:
            for key in (run.key, *KEYS):
                connection.execute("SAVEPOINT one_report")
                site.report("alpha", key, body)
                connection.execute("ROLLBACK TO one_report")
