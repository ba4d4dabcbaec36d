"""A scheduler over a ledger with one agent, for tests that drive it turn by turn."""

from __future__ import annotations

from server.actions import gates
from server.core.model import MINUTE_US, SYSTEM, Order
from server.office.scheduler import Scheduler
from server.storage import missed as missed_rows
from server.storage import orders as order_rows
from tests.unit.ledger import START_US, HandClock, Ledger, LocalStore

FIRST_US = START_US - START_US % (5 * MINUTE_US) + 5 * MINUTE_US
"""The first instant of `*/5 * * * *` after the start."""


class Stage:
    """A scheduler over a ledger with the agent `north`, with its store and clock."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.ledger.add_agent("north")
        self.store = LocalStore(self.ledger)
        self.clock = HandClock()
        self.scheduler = Scheduler(self.store, self.clock)

    async def turn(self, later_us: int = 0) -> int:
        """Move the clock and let the scheduler do all there is; returns its next deadline."""
        self.clock.now_us += later_us
        _, deadline_us = await self.scheduler.turn()
        return deadline_us

    def order(self, schedule_id: int = 1) -> Order:
        """The newest order of a schedule."""
        connection = self.ledger.connection
        row = connection.execute("SELECT max(id) FROM orders WHERE schedule_id = ?", (schedule_id,)).fetchone()
        found = order_rows.get(connection, int(row[0]))
        assert found is not None
        return found

    def missed(self, only_open: bool = False) -> list[tuple[int, str, str]]:
        """(minutes after the first instant, cause, resolution) of the ledger's rows, by time."""
        found = missed_rows.page(self.ledger.connection, limit=10_000, only_open=only_open)
        return sorted(((m.scheduled_for_us - FIRST_US) // MINUTE_US, m.cause, m.resolution) for m in found)


def stop(stage: Stage, acknowledged: bool = True) -> None:
    """Stop the scheduler; the agent has heard of it, or not."""
    summary = stage.ledger.do(gates.stop_scheduler(SYSTEM, stage.clock.now_us))
    if acknowledged:
        stage.ledger.acknowledge_gates("north", summary.revision)


def start(stage: Stage) -> None:
    stage.ledger.do(gates.start_scheduler(SYSTEM, stage.clock.now_us))
