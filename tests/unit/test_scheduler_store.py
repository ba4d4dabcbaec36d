"""The scheduler over the real store: what it plans is journaled, and an idle one journals nothing."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from server.actions import agents, jobs
from server.core.model import HOUR_US, SYSTEM, JoinToken
from server.office.scheduler import Scheduler
from server.storage import migrate, overview
from server.storage import orders as order_rows
from server.storage.overview import DueCount, Upcoming
from tests.unit.engine import opened
from tests.unit.ledger import START_US, HandClock

TOKEN = JoinToken(
    id="t", secret_hash="h", name="north", created_by="test", created_at_us=START_US, expires_at_us=START_US + 1
)


def _next_hour(connection: sqlite3.Connection) -> tuple[list[DueCount], list[Upcoming]]:
    """How often each job is due within the hour, and the next five."""
    until_us = START_US + HOUR_US
    return overview.due_counts(connection, START_US, until_us), overview.upcoming(connection, START_US, until_us, 5)


async def test_orders_survive_in_the_journal_and_idling_adds_nothing(tmp_path: Path) -> None:
    """A job becomes an order in committed requests; opened again, the order is there and nothing more is written."""
    clock = HandClock()
    async with opened(tmp_path) as engine:
        await engine.store.write(lambda transaction: migrate.migrate(transaction.connection))
        await engine.store.write(agents.invite(TOKEN, SYSTEM, START_US))
        await engine.store.write(agents.enrol("t", "h", "a" * 32, START_US))
        spec = jobs.JobSpec(name="backup", command="true", agent="north", schedules=[jobs.When("*/5 * * * *")])
        await engine.store.write(jobs.create(spec, SYSTEM, START_US))
        await Scheduler(engine.store, clock).turn()
        written = len(engine.requests)
    async with opened(tmp_path) as engine:
        found, _ = await engine.store.read(lambda connection: order_rows.of_agent(connection, "a" * 32))
        await Scheduler(engine.store, clock).turn()
        assert [(order.state, order.version) for order in found] == [("active", 1)]
        assert engine.requests == []
        (due, lines), _ = await engine.store.read(_next_hour)
        assert [(line.job, line.count) for line in due] == [("backup", 12)]
        assert [line.due_us for line in lines] == sorted({line.due_us for line in lines})
        assert len(lines) == 5
    assert written >= 5
