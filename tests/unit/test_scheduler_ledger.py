"""scheduler: the ledger of stops and holds, and misfire policies, driven turn by turn."""

from __future__ import annotations

import pytest

from server.actions import jobs, orders
from server.actions.stops import GRACE_US
from server.core.model import DAY_US, HOUR_US, MINUTE_US, SECOND_US, SYSTEM
from server.core.schedule import expand
from server.storage import missed as missed_rows
from server.storage import orders as order_rows
from server.storage import runs as run_rows
from tests.unit.ledger import START_US
from tests.unit.stage import FIRST_US, Stage, start, stop


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_a_stop_is_accounted_for_once(stage: Stage) -> None:
    """SKY-3: due times of a stopped scheduler are missed, each once, in every order of reports and turns."""
    stage.ledger.add_job(misfire_policy="ask")
    await stage.turn()
    stop(stage)
    await stage.turn(FIRST_US + 10 * MINUTE_US + GRACE_US + SECOND_US - START_US)
    expected = [(minute, "scheduler stopped", "") for minute in (0, 5, 10)]
    assert stage.missed() == expected
    missed_rows.record(stage.ledger.connection, 1, 1, FIRST_US + 5 * MINUTE_US, "told twice", stage.clock.now_us)
    await stage.turn(SECOND_US)
    assert stage.missed() == expected


async def test_the_agents_own_report_comes_first(stage: Stage) -> None:
    """Within the grace after an instant the master leaves it to the agent, and says when it will look."""
    stage.ledger.add_job(misfire_policy="ask")
    await stage.turn()
    stop(stage)
    stage.clock.now_us = FIRST_US + GRACE_US - SECOND_US
    assert await stage.turn() == FIRST_US + GRACE_US
    assert stage.missed() == []
    await stage.turn(2 * SECOND_US)
    assert stage.missed() == [(0, "scheduler stopped", "")]


async def test_the_end_of_a_stop_is_accounted_for_after_the_start(stage: Stage) -> None:
    """The last instants before the start are written although the gate is gone, those after it are not."""
    stage.ledger.add_job(misfire_policy="ask")
    await stage.turn()
    stop(stage)
    stage.clock.now_us = FIRST_US + 6 * MINUTE_US
    start(stage)
    await stage.turn(HOUR_US)
    assert stage.missed() == [(0, "scheduler stopped", ""), (5, "scheduler stopped", "")]
    assert stage.ledger.count("stops") == 0


async def test_a_stop_without_any_length_is_forgotten(stage: Stage) -> None:
    """Stopped and started in the same microsecond: nothing is missed, and the turn comes to its end."""
    stage.ledger.add_job(misfire_policy="ask")
    await stage.turn()
    stage.clock.now_us = FIRST_US + 6 * MINUTE_US
    stop(stage)
    start(stage)
    await stage.turn(GRACE_US)
    assert stage.missed() == []
    assert stage.ledger.count("stops") == 0


async def test_nothing_before_the_stop_is_missed(stage: Stage) -> None:
    """Instants before the stop were the agent's: the master does not call them missed."""
    stage.ledger.add_job(misfire_policy="ask")
    await stage.turn()
    stage.clock.now_us = FIRST_US + 61 * MINUTE_US
    stop(stage)
    await stage.turn(5 * MINUTE_US)
    assert stage.missed() == [(65, "scheduler stopped", "")]


async def test_a_stop_that_the_agent_has_not_heard_of(stage: Stage) -> None:
    """A silent agent may have started it: what is not known is not called missed until the agent has acknowledged."""
    stage.ledger.add_job(misfire_policy="ask")
    await stage.turn()
    stop(stage, acknowledged=False)
    await stage.turn(HOUR_US)
    assert stage.missed() == []
    stage.ledger.acknowledge_gates("north", 99)
    await stage.turn(SECOND_US)
    assert len(stage.missed()) == 12


async def test_what_ran_is_not_missed(stage: Stage) -> None:
    """An instant that was started just before the agent heard of the stop has its run and no row."""
    job = stage.ledger.add_job(misfire_policy="ask")
    await stage.turn()
    run_rows.insert(
        stage.ledger.connection,
        "k",
        job.id,
        job.agent_id,
        "true",
        "running",
        FIRST_US,
        schedule_id=1,
        scheduled_for_us=FIRST_US,
    )
    stop(stage)
    await stage.turn(FIRST_US + 6 * MINUTE_US - START_US)
    assert stage.missed() == [(5, "scheduler stopped", "")]


async def test_a_long_stop_is_written_in_batches(stage: Stage) -> None:
    """Three days of minutes are in the ledger whole, though no change writes more than a batch for an order."""
    stage.ledger.add_job(cron="* * * * *", misfire_policy="ask")
    await stage.turn()
    stop(stage)
    await stage.turn(3 * DAY_US)
    assert stage.ledger.count("missed") == 3 * 24 * 60


async def test_policy_decides_at_the_start(stage: Stage) -> None:
    """BEY-8: while stopped the rows stay open; at the start `once` runs the latest one and closes the others."""
    stage.ledger.add_job(misfire_policy="once")
    await stage.turn()
    stop(stage)
    await stage.turn(FIRST_US + 11 * MINUTE_US - START_US)
    assert [row[2] for row in stage.missed()] == ["", "", ""]
    start(stage)
    await stage.turn(SECOND_US)
    await stage.turn(GRACE_US)
    assert stage.missed() == [
        (0, "scheduler stopped", "policy"),
        (5, "scheduler stopped", "policy"),
        (10, "scheduler stopped", "run"),
    ]
    (run,) = run_rows.page(stage.ledger.connection)
    assert (run.scheduled_for_us, run.state) == (FIRST_US + 10 * MINUTE_US, "starting")


async def test_a_held_job_has_an_empty_order_and_a_ledger(stage: Stage) -> None:
    """Held: the agent gets no instants, the master writes them down; released: it begins anew from then on."""
    stage.ledger.add_job(misfire_policy="ask")
    await stage.turn()
    stage.ledger.do(jobs.hold("backup", SYSTEM, stage.clock.now_us))
    await stage.turn()
    assert (stage.order().version, stage.order().instants) == (2, [])
    assert await stage.turn(FIRST_US + 6 * MINUTE_US - START_US) == FIRST_US + 10 * MINUTE_US
    assert stage.missed() == [(0, "job held", ""), (5, "job held", "")]
    stage.clock.now_us = FIRST_US + 12 * MINUTE_US
    stage.ledger.do(jobs.release("backup", SYSTEM, stage.clock.now_us))
    await stage.turn()
    assert [row[0] for row in stage.missed()] == [0, 5, 10]
    order = stage.order()
    assert (order.version, next(expand(order.instants))) == (3, FIRST_US + 15 * MINUTE_US)
    await stage.turn(HOUR_US)
    assert [row[0] for row in stage.missed()] == [0, 5, 10]


async def test_a_release_lets_the_policy_decide(stage: Stage) -> None:
    """What a hold suppressed is decided by the job's policy when it is released: `once` runs the latest one."""
    stage.ledger.add_job(misfire_policy="once")
    await stage.turn()
    stage.ledger.do(jobs.hold("backup", SYSTEM, stage.clock.now_us))
    await stage.turn(FIRST_US + 6 * MINUTE_US - START_US)
    await stage.turn(SECOND_US)
    assert [row[2] for row in stage.missed()] == ["", ""]
    stage.ledger.do(jobs.release("backup", SYSTEM, stage.clock.now_us))
    await stage.turn()
    assert [row[2] for row in stage.missed()] == ["policy", "run"]


async def test_an_instant_just_before_the_start_does_not_make_once_twice(stage: Stage) -> None:
    """The policy waits until the stop is all in the ledger: the last instant is the only one that runs."""
    stage.ledger.add_job(misfire_policy="once")
    await stage.turn()
    stop(stage)
    await stage.turn(FIRST_US + 9 * MINUTE_US - START_US)
    stage.clock.now_us = FIRST_US + 10 * MINUTE_US + SECOND_US
    start(stage)
    await stage.turn()
    await stage.turn(GRACE_US)
    assert [(row[0], row[2]) for row in stage.missed()] == [(0, "policy"), (5, "policy"), (10, "run")]


async def test_a_renewal_that_was_overtaken_is_not_written(stage: Stage) -> None:
    """An order that got another version meanwhile keeps it: the renewal was made from the old one."""
    stage.ledger.add_job()
    await stage.turn()
    later_us = START_US + 6 * DAY_US
    ending = orders.read_ending(stage.ledger.connection, later_us)
    order_rows.update(stage.ledger.connection, stage.order().id, version=7)
    assert stage.ledger.do(orders.put_renewals(orders.renew_all(ending, later_us), later_us)) == 0
    assert (stage.order().version, stage.order().valid_until_us) == (7, START_US + 7 * DAY_US)
