"""Scheduled jobs of groups: one run at each instant, the ledger of what was missed, and orders that move."""

from __future__ import annotations

import msgspec

from server.actions import exceptions, jobs, reports, runs
from server.core import agent_wire as wire
from server.core.model import MINUTE_US, SECOND_US, SYSTEM
from server.core.run_keys import parse_key
from server.storage import orders as order_rows
from server.storage import runs as run_rows
from server.storage import schedules as schedule_rows
from tests.unit.group_site import WEB, Site
from tests.unit.stage import FIRST_US, start, stop


async def test_a_scheduled_job_of_a_group_makes_one_run_at_each_instant_also_when_everything_is_done_twice() -> None:
    """Three instants, and the change repeated with the cursor put back, as after a lost outcome: three runs."""
    site = Site()
    site.job(cron="*/5 * * * *")
    await site.stage.turn()
    for _ in range(3):
        await site.stage.turn(FIRST_US - site.now_us if site.now_us < FIRST_US else 5 * MINUTE_US)
    connection = site.ledger.connection
    assert site.ledger.count("runs") == 3
    connection.execute("UPDATE orders SET accounted_until_us = valid_from_us, next_instant_us = ?", (FIRST_US,))
    await site.stage.turn(SECOND_US)
    assert site.ledger.count("runs") == 3
    found = [run_rows.get(connection, number) for number in (1, 2, 3)]
    assert [run.scheduled_for_us for run in found if run] == [FIRST_US + n * 5 * MINUTE_US for n in range(3)]
    assert all(run.group_id == run.agent_id == WEB for run in found if run)


async def test_a_stopped_scheduler_and_an_absent_master_leave_missed_instants_to_the_policy() -> None:
    """As for standing orders: the cause is in the ledger, `once` runs the last of them when it may."""
    site = Site()
    site.job(cron="*/5 * * * *")
    await site.stage.turn()
    site.stage.clock.now_us = FIRST_US - SECOND_US
    stop(site.stage)
    await site.stage.turn(2 * SECOND_US)
    assert site.ledger.count("runs") == 0
    start(site.stage)
    await site.stage.turn(MINUTE_US)
    assert site.stage.missed() == [(0, "scheduler stopped", "run")]
    assert site.ledger.count("runs") == 1
    await site.stage.turn(14 * MINUTE_US)
    causes = [(minutes, cause) for minutes, cause, _ in site.stage.missed()]
    assert causes == [(0, "scheduler stopped"), (5, "no master was in office"), (10, "no master was in office")]
    assert site.ledger.count("runs") == 2, "`once` makes up for nothing when a later one has run already"


async def test_a_held_job_of_a_group_is_recorded_and_goes_on_when_released() -> None:
    """The master suppresses its own order, as it does with an agent's."""
    site = Site()
    site.job(cron="*/5 * * * *", misfire_policy="skip")
    await site.stage.turn()
    site.ledger.do(jobs.hold("serve", SYSTEM, site.now_us))
    site.stage.clock.now_us = FIRST_US
    await site.stage.turn(SECOND_US)
    site.ledger.do(jobs.release("serve", SYSTEM, site.now_us))
    await site.stage.turn()
    assert site.stage.missed() == [(0, "job held", "policy")]
    await site.stage.turn(5 * MINUTE_US)
    assert site.ledger.count("runs") == 1


async def test_a_job_that_moves_between_an_agent_and_a_group_never_has_two_live_orders() -> None:
    """To the group only when the agent has given its order back; from the group at once."""
    site = Site()
    site.job(cron="*/5 * * * *")
    await site.stage.turn()
    agent_spec = jobs.JobSpec(name="serve", command="true", agent="alpha", schedules=[jobs.When("*/5 * * * *")])
    site.ledger.do(jobs.update("serve", agent_spec, SYSTEM, site.now_us))
    await site.stage.turn()
    live = order_rows.of_job(site.ledger.connection, 1)
    assert [(order.agent_id, order.by_master) for order in live] == [(site.ids["alpha"], False)]
    group_spec = msgspec.structs.replace(agent_spec, agent="", group="web")
    site.ledger.do(jobs.update("serve", group_spec, SYSTEM, site.now_us))
    await site.stage.turn()
    (order,) = order_rows.of_job(site.ledger.connection, 1)
    assert (order.agent_id, order.state) == (site.ids["alpha"], "releasing")
    site.ledger.do(reports.record(site.ids["alpha"], [wire.Released(order.id, order.version, ())], 1, site.now_us))
    await site.stage.turn()
    live = order_rows.of_job(site.ledger.connection, 1)
    assert [(order.agent_id, order.by_master) for order in live] == [(WEB, True)]


async def test_with_all_each_member_has_an_order_of_its_own_and_a_removed_one_gives_its_back() -> None:
    """The order goes on without the master; keys, ledger and policy are each member's own."""
    site = Site(policy="all")
    site.job(cron="*/5 * * * *")
    await site.stage.turn()
    live = order_rows.of_job(site.ledger.connection, 1)
    assert {order.agent_id for order in live} == set(site.ids.values())
    assert len({order.schedule_id for order in live}) == 3
    assert len(schedule_rows.of_job(site.ledger.connection, 1)) == 1, "people see the one that they wrote"
    site.deploy("alpha", "beta")
    await site.stage.turn()
    states = {order.agent_id: order.state for order in order_rows.of_job(site.ledger.connection, 1)}
    assert states == {site.ids["alpha"]: "active", site.ids["beta"]: "active", site.ids["gamma"]: "releasing"}
    site.deploy("alpha", "beta", policy="preferred")
    await site.stage.turn()
    made = [order for order in order_rows.of_job(site.ledger.connection, 1) if order.state == "active"]
    assert [order.by_master for order in made] == [True]


def test_run_now_on_all_is_one_run_for_each_member_and_twice_is_once() -> None:
    """The member is in the key; a rerun goes to the member whose run it was."""
    site = Site(policy="all")
    site.job()
    site.submit("one")
    site.submit("one")
    found = [run_rows.get(site.ledger.connection, number) for number in range(1, site.ledger.count("runs") + 1)]
    assert {run.agent_id for run in found if run} == set(site.ids.values())
    assert {parse_key(run.key).member for run in found if run} == set(site.ids.values())
    assert len(found) == 3
    second = found[1]
    assert second is not None
    site.send()
    name = next(name for name, agent_id in site.ids.items() if agent_id == second.agent_id)
    site.begin(name, second.key)
    site.end(name, second.key)
    again = site.ledger.do(runs.rerun(second.number, SYSTEM, site.now_us))
    assert (again.agent_id, again.attempt) == (second.agent_id, 2)


async def test_single_occurrences_of_a_group_are_skipped_and_moved() -> None:
    """The master honours exceptions of its own order as an agent does: each occurrence once, at its other time."""
    site = Site()
    site.job(cron="*/5 * * * *")
    await site.stage.turn()
    skip = exceptions.ExceptionSpec(instant_us=FIRST_US, skip=True)
    move = exceptions.ExceptionSpec(instant_us=FIRST_US + 5 * MINUTE_US, move_to_us=FIRST_US + 7 * MINUTE_US)
    for spec in (skip, move):
        site.ledger.do(exceptions.put("serve", spec, SYSTEM, site.now_us))
    await site.stage.turn()
    began = []
    for minutes in range(12):
        site.stage.clock.now_us = FIRST_US + minutes * MINUTE_US + SECOND_US
        deadline_us = await site.stage.turn()
        began.append(site.ledger.count("runs"))
        if minutes == 5:
            assert deadline_us == FIRST_US + 7 * MINUTE_US, "the scheduler wakes for the moved one"
    assert began == [0] * 7 + [1] * 3 + [2] * 2
    first = run_rows.get(site.ledger.connection, 1)
    assert first is not None
    assert first.scheduled_for_us == FIRST_US + 5 * MINUTE_US
    assert [(minutes, resolution) for minutes, _, resolution in site.stage.missed()] == [(0, "policy")]
