"""scheduler: standing orders and what waits, driven turn by turn."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TypeVar

import pytest

from server.actions import gates, jobs, runs
from server.actions.change import Change
from server.actions.orders import released
from server.core.model import DAY_US, HOUR_US, MINUTE_US, SECOND_US, SYSTEM
from server.core.planning import renewal_us
from server.core.schedule import expand
from server.office.scheduler import Scheduler
from server.storage import agents as agent_rows
from server.storage import jobs as job_rows
from server.storage import missed as missed_rows
from tests.unit.ledger import START_US, LocalStore
from tests.unit.stage import FIRST_US, Stage, stop

T = TypeVar("T")


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_a_schedule_becomes_an_order_for_a_week(stage: Stage) -> None:
    """JS7-2: the instants of the next 7 days, with all that the agent needs to start them."""
    stage.ledger.add_job()
    deadline_us = await stage.turn()
    order = stage.order()
    assert order.instants == [(FIRST_US, 5 * MINUTE_US, 7 * 24 * 12)]
    assert (order.version, order.state, order.valid_until_us) == (1, "active", START_US + 7 * DAY_US)
    assert order.specification.command == "true"
    assert deadline_us == renewal_us(order.schedule_id, START_US, START_US + 7 * DAY_US)


async def test_an_idle_scheduler_writes_nothing(stage: Stage) -> None:
    """SKY-4: a quiet pair has a backlog of 0: turns without work leave the sequence where it is."""
    stage.ledger.add_job()
    await stage.turn()
    before = stage.store.sequence
    for _ in range(5):
        await stage.turn(HOUR_US)
    assert stage.store.sequence == before


async def test_orders_are_renewed_about_half_of_their_time(stage: Stage) -> None:
    """A renewal is a new version that reaches 7 days on; instants that a silent agent may still owe stay in it."""
    stage.ledger.add_job()
    deadline_us = await stage.turn()
    await stage.turn(deadline_us - START_US - SECOND_US)
    assert stage.order().version == 1
    await stage.turn(SECOND_US)
    order = stage.order()
    assert (order.version, order.valid_until_us) == (2, stage.clock.now_us + 7 * DAY_US)
    assert next(expand(order.instants)) == FIRST_US


async def test_a_schedule_of_every_second_is_bounded(stage: Stage) -> None:
    """A dense schedule has a shorter order, and is renewed about half of that."""
    stage.ledger.add_job(cron="* * * * * *")
    deadline_us = await stage.turn()
    order = stage.order()
    assert order.valid_until_us == START_US + 11_000 * SECOND_US
    assert 3 * 11_000 * SECOND_US // 8 <= deadline_us - START_US <= 5 * 11_000 * SECOND_US // 8
    await stage.turn(deadline_us - START_US)
    assert -SECOND_US < stage.order().valid_until_us - stage.clock.now_us - 11_000 * SECOND_US <= SECOND_US


def test_orders_that_were_planned_together_are_renewed_apart() -> None:
    """20,000 at one instant come in 256 slots of ten minutes, about as many in each, and each well before its end."""
    until_us = START_US + 7 * DAY_US
    slots = Counter(renewal_us(schedule_id, START_US, until_us) for schedule_id in range(1, 20_001))
    assert len(slots) > 250
    assert max(slots.values()) <= 85
    chance = random.Random(4)
    for _ in range(2000):
        now_us, length_us = chance.randrange(2**50), chance.choice((1, SECOND_US, DAY_US, 90 * DAY_US))
        length_us = chance.randint(1, length_us)
        schedule_id = chance.randrange(1, 2**40)
        at_us = renewal_us(schedule_id, now_us, now_us + length_us)
        assert now_us + 3 * length_us // 8 <= at_us <= now_us + 5 * length_us // 8
        assert at_us == renewal_us(schedule_id, now_us, now_us + length_us)


async def test_a_changed_job_is_a_new_version(stage: Stage) -> None:
    """The agent gets the new command under the same order, and nothing past is dropped by it."""
    stage.ledger.add_job()
    await stage.turn()
    spec = jobs.JobSpec(name="backup", command="false", agent="north", schedules=[jobs.When("*/5 * * * *")])
    stage.clock.now_us += HOUR_US
    stage.ledger.do(jobs.update("backup", spec, SYSTEM, stage.clock.now_us))
    await stage.turn()
    order = stage.order()
    assert (order.version, order.specification.command) == (2, "false")
    assert next(expand(order.instants)) == FIRST_US


async def test_an_order_moves_by_release(stage: Stage) -> None:
    """The new agent gets its order only when the old one has said what it started; the rest stays open."""
    job = stage.ledger.add_job(misfire_policy="ask")
    stage.ledger.add_agent("south")
    await stage.turn()
    spec = jobs.JobSpec(
        name="backup",
        command="true",
        agent="south",
        schedules=[jobs.When("*/5 * * * *")],
        misfire_policy="ask",
    )
    stage.clock.now_us = FIRST_US + 12 * MINUTE_US
    stage.ledger.do(jobs.update("backup", spec, SYSTEM, stage.clock.now_us))
    await stage.turn()
    old = stage.order()
    assert (old.state, old.version) == ("releasing", 2)
    stage.ledger.do(jobs.update("backup", spec, SYSTEM, stage.clock.now_us))
    await stage.turn()
    assert stage.ledger.count("orders") == 1
    stage.ledger.do(
        lambda transaction: released(
            transaction.connection, old, [FIRST_US, FIRST_US + 5 * MINUTE_US], stage.clock.now_us
        )
    )
    await stage.turn()
    south = agent_rows.by_name(stage.ledger.connection, "south")
    assert south is not None
    assert (stage.order().agent_id, stage.order().state) == (south.id, "active")
    assert next(expand(stage.order().instants)) == FIRST_US + 15 * MINUTE_US
    assert stage.missed() == [(10, "moved to another agent", "")]
    assert job.agent_id == old.agent_id


async def test_a_deleted_job_takes_its_order_back(stage: Stage) -> None:
    """Deleting releases the order, no new one is made, and what was missed of it waits for nobody."""
    stage.ledger.add_job()
    await stage.turn()
    missed_rows.record(stage.ledger.connection, 1, 1, START_US - MINUTE_US, "test", START_US)
    stage.ledger.do(jobs.delete("backup", SYSTEM, stage.clock.now_us))
    await stage.turn()
    assert stage.order().state == "releasing"
    order = stage.order()
    stage.ledger.do(lambda t: released(t.connection, order, [], stage.clock.now_us + HOUR_US))
    await stage.turn()
    assert stage.ledger.count("orders") == 1
    assert stage.missed(only_open=True) == []


class OvertakenStore(LocalStore):
    """Somebody else's change is written just before the first one that comes."""

    async def write(self, change: Change[T]) -> tuple[T, int]:
        """Hold the job first, once."""
        job = job_rows.by_name(self.ledger.connection, "backup")
        if job is not None and not job.held:
            self.ledger.do(jobs.hold("backup", SYSTEM, START_US))
        return await super().write(change)


async def test_a_plan_that_was_overtaken_is_not_written(stage: Stage) -> None:
    """Planning runs outside of the writer: a job that changed meanwhile is planned again in its new version."""
    stage.ledger.add_job()
    await Scheduler(OvertakenStore(stage.ledger), stage.clock).turn()
    assert stage.ledger.count("orders") == 1
    assert (stage.order().version, stage.order().suppressed, stage.order().instants) == (1, "job held", [])


async def test_waiting_runs_go_when_the_gate_falls(stage: Stage) -> None:
    """SKY-2: after the unlock every waiting run starts, in order, also more than one page of them."""
    stage.ledger.add_job(cron="")
    stage.ledger.do(gates.lock_all(SYSTEM, START_US))
    for k in range(250):
        stage.ledger.do(runs.run_now("backup", f"r{k}", SYSTEM, START_US))
    await stage.turn()
    assert stage.ledger.count("runs", "state = 'waiting' AND reason = 'queue locked'") == 250
    stage.ledger.do(gates.unlock_all(SYSTEM, START_US))
    await stage.turn()
    assert stage.ledger.count("runs", "state = 'starting'") == 250


async def test_a_release_lets_the_jobs_waiting_runs_go(stage: Stage) -> None:
    """Run now on a held job starts when the job is released, without any change of gates."""
    stage.ledger.add_job(cron="")
    stage.ledger.do(jobs.hold("backup", SYSTEM, START_US))
    await stage.turn()
    stage.ledger.do(runs.run_now("backup", "r1", SYSTEM, START_US))
    await stage.turn()
    assert stage.ledger.count("runs", "reason = 'job held'") == 1
    stage.ledger.do(jobs.release("backup", SYSTEM, START_US))
    await stage.turn()
    assert stage.ledger.count("runs", "state = 'starting'") == 1


async def test_no_query_of_a_quiet_turn_reads_a_table_through(stage: Stage) -> None:
    """Nothing grows with history: every statement of a turn finds its rows by an index or a key."""
    stage.ledger.add_job()
    stage.ledger.add_job("held")
    stage.ledger.do(jobs.hold("held", SYSTEM, START_US))
    await stage.turn()
    stop(stage)
    await stage.turn(HOUR_US)
    statements: list[str] = []
    connection = stage.ledger.connection
    connection.set_trace_callback(statements.append)
    await stage.turn(SECOND_US)
    connection.set_trace_callback(None)
    plans = [row[3] for text in statements for row in connection.execute(f"EXPLAIN QUERY PLAN {text}")]
    assert len(statements) > 8
    large = ("jobs", "orders", "runs", "missed", "sessions", "outcomes")
    through = [plan for plan in plans if plan.startswith("SCAN") and "INDEX" not in plan]
    assert [plan for plan in through if plan.split()[1] in large] == []


async def test_the_loop_wakes_by_a_commit_and_ends_by_cancelling(stage: Stage) -> None:
    """`run` needs no poll: a committed job is planned although the next deadline is far away."""
    stage.ledger.add_job("first")
    loop = asyncio.create_task(stage.scheduler.run())
    try:
        async with asyncio.timeout(10):
            await stage.store.wait_past(0)
            spec = jobs.JobSpec(name="second", command="true", agent="north", schedules=[jobs.When("@daily")])
            await stage.store.write(jobs.create(spec, SYSTEM, START_US))
            seen = stage.store.sequence
            while job_rows.to_plan(stage.ledger.connection):
                seen = await stage.store.wait_past(seen)
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
    assert stage.ledger.count("orders", "state = 'active'") == 2
