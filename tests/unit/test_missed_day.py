"""A day without submissions (SKY-12, BEY-8, BEY-9): each policy does what it says, each occurrence is listed once."""

from __future__ import annotations

from collections import Counter

import pytest

from server.actions import gates, missed, reconciliation, reports
from server.core import agent_wire as wire
from server.core.instants import MAY_HAVE_RUN
from server.core.model import DAY_US, HOUR_US, MINUTE_US, SECOND_US, SYSTEM
from server.errors import Conflict
from server.storage import missed as rows
from server.storage import runs as run_rows
from server.storage import silence as silence_rows
from tests.unit.ledger import START_US
from tests.unit.stage import Stage, start, stop

NORTH = ("north" * 32)[:32]
HOURS = 24
LONG_S, SHORT_S = 2 * 86400, 3 * 3600
POLICIES = [
    ("skip", LONG_S, 0, 0, 24),
    ("once", LONG_S, 1, 0, 23),
    ("once", SHORT_S, 1, 21, 2),
    ("all", LONG_S, 24, 0, 0),
    ("all", SHORT_S, 3, 21, 0),
    ("ask", LONG_S, 0, 24, 0),
    ("ask", SHORT_S, 0, 24, 0),
]
"""Policy, grace in seconds; then of 24 hourly occurrences how many are run, stay open for a person, are closed."""


class Day(Stage):
    """The job `backup`, due every hour, of an agent's order or of the master's own."""

    def __init__(self, by_master: bool, policy: str = "ask", grace_s: int = LONG_S) -> None:
        super().__init__()
        if by_master:
            self.ledger.add_job("gate", cron="")
        waits = "gate ended|running|submitted dont-overwrite dont-clear" if by_master else ""
        rule = {"misfire_policy": policy, "misfire_grace_s": grace_s, "prerequisites": waits}
        self.job = self.ledger.add_job(cron="0 * * * *", **rule)

    def acknowledge(self) -> None:
        """The agent has the order."""
        order = self.order()
        if not order.by_master:
            kept = [wire.OrderKept(order.id, order.version)]
            self.ledger.do(reports.record(NORTH, kept, 1, self.clock.now_us))

    def outcomes(self) -> Counter[str]:
        return Counter(resolution or "open" for _, _, resolution in self.missed())

    def causes(self) -> set[str]:
        return {cause for _, cause, _ in self.missed()}


async def stopped_day(day: Day, turns: int) -> None:
    """The scheduler is stopped for a day, in which it looks at its rows so many times, and started again."""
    await day.turn()
    day.acknowledge()
    stop(day)
    for _ in range(turns):
        await day.turn(DAY_US // turns)
    start(day)
    await day.turn(MINUTE_US)
    await day.turn(MINUTE_US)


@pytest.mark.parametrize("by_master", [False, True], ids=["agent", "master"])
@pytest.mark.parametrize("turns", [1, 48], ids=["away", "there"])
@pytest.mark.parametrize(("policy", "grace_s", "run", "left", "closed"), POLICIES)
async def test_after_a_stopped_day_each_policy_does_what_it_says(
    policy: str, grace_s: int, run: int, left: int, closed: int, turns: int, by_master: bool
) -> None:
    """Whether the master was there in the meantime or its program was off: the same rows, each with its cause."""
    day = Day(by_master, policy, grace_s)
    await stopped_day(day, turns)
    assert day.causes() == {"scheduler stopped"}
    assert len(day.missed()) == HOURS == len({minutes for minutes, _, _ in day.missed()})
    assert (day.outcomes()["run"], day.outcomes()["open"], day.outcomes()["policy"]) == (run, left, closed)
    assert day.ledger.count("runs", f"job_id = {day.job.id}") == run
    if policy == "once":
        latest = max(minutes for minutes, _, _ in day.missed())
        assert [minutes for minutes, _, resolution in day.missed() if resolution == "run"] == [latest]


@pytest.mark.parametrize(("policy", "grace_s", "run", "left", "closed"), POLICIES)
async def test_after_a_day_without_a_master_the_same_holds_for_what_only_a_master_submits(
    policy: str, grace_s: int, run: int, left: int, closed: int
) -> None:
    """An outage of both nodes: an agent goes on with its orders, the master's own are missed, with that cause."""
    day = Day(True, policy, grace_s)
    await day.turn()
    await day.turn(DAY_US)
    await day.turn(SECOND_US)
    assert day.causes() == {"no master was in office"}
    assert (day.outcomes()["run"], day.outcomes()["open"], day.outcomes()["policy"]) == (run, left, closed)


async def test_what_a_silent_agent_may_have_run_is_not_in_the_ledger() -> None:
    """It is unknown: nothing offers to run it now, and `all` runs none of it."""
    day = Day(False)
    await day.turn()
    day.acknowledge()
    day.ledger.do(reconciliation.fall_silent(NORTH, START_US, START_US))
    day.clock.now_us += DAY_US
    await day.turn()
    assert day.missed() == []
    (line,) = silence_rows.unknown(day.ledger.connection, day.clock.now_us)
    assert line.count == HOURS
    assert day.ledger.do(missed.run_all(SYSTEM, day.clock.now_us)) == missed.Resolved(0, 0)
    assert day.ledger.count("runs") == 0


async def test_a_stop_that_a_silent_agent_never_heard_of_suppresses_nothing_for_certain() -> None:
    """The master writes nothing for it: what became of these instants only the agent can say."""
    day = Day(False)
    await day.turn()
    day.acknowledge()
    day.ledger.do(reconciliation.fall_silent(NORTH, START_US, START_US))
    stop(day, acknowledged=False)
    await day.turn(DAY_US)
    start(day)
    await day.turn(MINUTE_US)
    assert day.missed() == []
    assert silence_rows.unknown(day.ledger.connection, day.clock.now_us)[0].count == HOURS


@pytest.mark.parametrize("by_master", [False, True], ids=["agent", "master"])
async def test_what_stays_open_is_run_or_dismissed_one_by_one_or_by_a_filter(by_master: bool) -> None:
    """By number, by job and cause in batches, and all of the rest; each once, the oldest first."""
    day = Day(by_master)
    await stopped_day(day, 4)
    connection, now_us = day.ledger.connection, day.clock.now_us
    first, second, third = rows.open_rows(connection, 0, 3)
    run = day.ledger.do(missed.run(first.id, SYSTEM, now_us))
    assert run.scheduled_for_us == first.scheduled_for_us
    with pytest.raises(Conflict, match="resolved already: run"):
        day.ledger.do(missed.run(first.id, SYSTEM, now_us))
    day.ledger.do(missed.dismiss(second.id, SYSTEM, now_us, "not needed"))
    connection.execute("UPDATE missed SET cause = 'job held' WHERE id > ?", (third.id + 10,))
    held = missed.Which(job="backup", cause="job held")
    assert day.ledger.do(missed.dismiss_all(SYSTEM, now_us, "", held)) == missed.Resolved(11, 0)
    one = day.ledger.do(missed.run_all(SYSTEM, now_us, missed.Which(job="backup"), limit=5))
    assert one == missed.Resolved(5, 6, third.id + 4)
    two = day.ledger.do(missed.run_all(SYSTEM, now_us, missed.Which(after=one.after), limit=100))
    assert two == missed.Resolved(6, 0)
    assert day.outcomes() == Counter(run=12, dismissed=12)
    instants = [run_rows.get(connection, n + 1) for n in range(day.ledger.count("runs"))]
    assert len({run.scheduled_for_us for run in instants if run}) == 12


async def test_all_leaves_what_a_lost_memory_may_have_begun_to_a_person() -> None:
    """Its row stays open, is skipped by the batches, and can be run by its number."""
    day = Day(False)
    await stopped_day(day, 1)
    connection, now_us = day.ledger.connection, day.clock.now_us
    (first,) = rows.open_rows(connection, 0, 1)
    connection.execute("UPDATE missed SET cause = ? WHERE id = ?", (MAY_HAVE_RUN, first.id))
    assert day.ledger.do(missed.run_all(SYSTEM, now_us)) == missed.Resolved(23, 1)
    assert day.ledger.do(missed.run(first.id, SYSTEM, now_us)).scheduled_for_us == first.scheduled_for_us


async def test_a_lock_lets_wait_and_a_suspended_maintenance_lets_be_missed() -> None:
    """What waits is no row of the ledger; what a gate suppresses is one, with its cause."""
    day = Day(True)
    await day.turn()
    day.ledger.do(gates.lock("north", SYSTEM, day.clock.now_us))
    await day.turn(HOUR_US - START_US % HOUR_US)
    assert (day.missed(), day.ledger.count("runs")) == ([], 1)
    day.ledger.connection.execute("UPDATE gates SET kind = 'maintenance_suspended'")
    await day.turn(HOUR_US)
    assert day.causes() == {"maintenance"}
    assert day.ledger.count("runs") == 1
