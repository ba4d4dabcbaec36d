"""The ledger under any history of stops, silent agents and late reports: each instant ends as a run or a row, once."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from server.actions import gates
from server.actions.stops import GRACE_US
from server.core.gates import REASONS, SCHEDULER_STOPPED, Verdict, on_occurrence
from server.core.model import MINUTE_US, SECOND_US, SYSTEM
from server.core.run_keys import occurrence_key
from server.core.timing import Timing, instants
from server.office.scheduler import Scheduler
from server.storage import gates as gate_rows
from server.storage import missed as missed_rows
from server.storage import runs as run_rows
from server.storage import settings as setting_rows
from tests.unit.ledger import START_US, HandClock, Ledger, LocalStore

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(1, 400)),
        st.tuples(st.sampled_from(["stop", "start", "hear", "report", "turn"]), st.just(0)),
    ),
    max_size=40,
)


class World:
    """A master and one agent that obeys the gates it has heard of and tells what it did when it is asked."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.agent = self.ledger.add_agent("north")
        self.job = self.ledger.add_job(cron="* * * * *", misfire_policy="ask")
        self.clock = HandClock()
        self.scheduler = Scheduler(LocalStore(self.ledger), self.clock)
        self.heard: list[str] = []
        self.untold: list[tuple[int, bool]] = []
        self.turn()

    def turn(self) -> None:
        asyncio.run(self.scheduler.turn())

    def wait(self, seconds: int) -> None:
        """Time passes; the agent starts or suppresses what is due, by the gates that it knows."""
        before_us = self.clock.now_us
        self.clock.now_us += seconds * SECOND_US
        for at_us in instants(Timing("* * * * *"), before_us, self.clock.now_us):
            self.untold.append((at_us, on_occurrence(self.heard)[0] is Verdict.START))

    def hear(self) -> None:
        """The agent gets the gates, says all that it did before, and acknowledges."""
        self.report()
        self.heard = [gate.kind for gate in gate_rows.every(self.ledger.connection)]
        self.ledger.acknowledge_gates("north", setting_rows.gate_revision(self.ledger.connection))

    def report(self) -> None:
        """What the agent did reaches the master."""
        for at_us, did_start in self.untold:
            connection = self.ledger.connection
            if did_start:
                key = occurrence_key(self.job.id, 1, at_us)
                more = {"schedule_id": 1, "scheduled_for_us": at_us}
                run_rows.insert(connection, key, self.job.id, self.agent.id, "true", "running", at_us, **more)
            else:
                cause = REASONS[SCHEDULER_STOPPED]
                missed_rows.record(connection, self.job.id, 1, at_us, cause, self.clock.now_us)
        self.untold.clear()

    def act(self, what: str, seconds: int) -> None:
        """One step of a history."""
        if what == "wait":
            self.wait(seconds)
        elif what == "stop":
            self.ledger.do(gates.stop_scheduler(SYSTEM, self.clock.now_us))
        elif what == "start":
            self.ledger.do(gates.start_scheduler(SYSTEM, self.clock.now_us))
        else:
            {"hear": self.hear, "report": self.report, "turn": self.turn}[what]()

    def started(self) -> set[int]:
        """Instants with a run."""
        return {int(row[0]) for row in self.ledger.connection.execute("SELECT scheduled_for_us FROM runs")}

    def open_rows(self) -> set[int]:
        """Instants with an open row."""
        query = "SELECT scheduled_for_us FROM missed WHERE resolution = ''"
        return {int(row[0]) for row in self.ledger.connection.execute(query)}


@settings(max_examples=150)
@given(STEPS)
def test_every_instant_is_a_run_or_a_row_and_never_both(steps: list[tuple[str, int]]) -> None:
    """SKY-3, BEY-9: when all has been told, nothing is lost, nothing is open beside its run, nothing is there twice."""
    world = World()
    for what, seconds in steps:
        world.act(what, seconds)
    world.act("start", 0)
    world.hear()
    world.clock.now_us += 2 * GRACE_US
    world.turn()
    end_us = world.clock.now_us - 2 * GRACE_US
    due = set(instants(Timing("* * * * *"), START_US, end_us))
    started, missed = world.started(), world.open_rows()
    assert {at for at in started | missed if at <= end_us} == due
    assert not started & missed
    assert world.ledger.count("stops") == 0
    assert all(at % MINUTE_US == 0 for at in missed)
