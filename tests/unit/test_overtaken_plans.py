"""A plan is written over the rows that it was made from, or not at all: the job is planned again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from server.actions import jobs as job_actions
from server.actions import orders
from server.core.model import MINUTE_US, SYSTEM, Order
from server.storage import jobs
from server.storage import orders as order_rows
from tests.unit.ledger import START_US, Ledger

NORTH, SOUTH = ("north" * 32)[:32], ("south" * 32)[:32]
LATER_US = START_US + MINUTE_US


class Moved(Ledger):
    """A job of `north` with an order that it has, moved to `south`: the order is on its way back."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("north", "south"):
            self.add_agent(name)
        self.job = self.add_job(cron="* * * * *")
        self.plan()
        order_rows.acknowledge(self.connection, self.orders()[0].id, 1)
        spec = job_actions.JobSpec(
            name="backup", command="true", agent="south", schedules=[job_actions.When("* * * * *")]
        )
        self.do(job_actions.update("backup", spec, SYSTEM, START_US))
        self.plan()
        assert [(order.agent_id, order.state) for order in self.orders()] == [(NORTH, "releasing")]

    def plan(self, meanwhile: Callable[[], object] = lambda: None) -> int:
        """As the scheduler does: read, plan beside the writer, write; returns how many plans were written."""
        plans = orders.plan_all(orders.read_changed(self.connection), LATER_US)
        meanwhile()
        return self.do(orders.put_plans(plans, LATER_US))

    def orders(self) -> list[Order]:
        return order_rows.of_job(self.connection, self.job.id)

    def mark(self) -> None:
        self.do(lambda t: jobs.mark_unplanned(t.connection, self.job.id))

    def release(self) -> None:
        """The agent answers what it started of the order."""
        order = self.orders()[0]
        self.do(lambda t: orders.released(t.connection, order, (), LATER_US))


def test_an_order_that_comes_back_while_its_job_is_planned_is_given_on() -> None:
    """The plan found it on its way back and waited for it; marked as planned, the job would have no order for ever."""
    moved = Moved()
    moved.mark()
    assert moved.plan(meanwhile=moved.release) == 0
    assert moved.plan() == 1
    assert [(order.agent_id, order.state) for order in moved.orders()] == [(SOUTH, "active")]


MARKS: dict[str, Callable[[Ledger, int], None]] = {
    "the job": lambda ledger, job_id: jobs.mark_unplanned(ledger.connection, job_id),
    "its agent": lambda ledger, job_id: jobs.mark_agent_unplanned(ledger.connection, SOUTH),
}


@pytest.mark.parametrize("mark", MARKS.values(), ids=MARKS.keys())
def test_every_mark_is_seen_by_a_plan_that_was_read_before(mark: Callable[[Ledger, int], None]) -> None:
    """Also the second of two, and one after the job was planned in between."""
    moved = Moved()
    for _ in range(3):
        mark(moved, moved.job.id)
        assert moved.plan(meanwhile=lambda: mark(moved, moved.job.id)) == 0
        mark(moved, moved.job.id)
        assert moved.plan() == 1
        assert not orders.read_changed(moved.connection)
