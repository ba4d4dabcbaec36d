"""Jobs of single agents whose runs need the whole picture: the master itself submits what is due of them."""

from __future__ import annotations

import pytest

from server.actions import agents, exceptions, gates, reconciliation, reports, runs, silence
from server.core import agent_wire as wire
from server.core import planning
from server.core.model import DAY_US, MINUTE_US, SECOND_US, SYSTEM, Job, JoinToken, Run
from server.storage import agents as agent_rows
from server.storage import jobs as job_rows
from server.storage import orders as order_rows
from server.storage import overview
from server.storage import runs as run_rows
from server.storage import silence as silence_rows
from tests.unit.ledger import START_US
from tests.unit.stage import FIRST_US, Stage, start, stop

NORTH = ("north" * 32)[:32]
EVERY_US = 5 * MINUTE_US
MASTER = "the master submits it"
HELLO = wire.Hello(NORTH, wire.PROTOCOL, "test", "boot", "one", 0)


@pytest.fixture(autouse=True)
def needs_the_whole_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which jobs do is one predicate, and it grows with each rule: here it is those that say so."""

    def is_by_master(job: Job, is_group: bool) -> bool:
        return is_group or job.description == MASTER

    monkeypatch.setattr(planning, "is_by_master", is_by_master)


class MasterStage(Stage):
    """A stage whose job `backup` on `north` is the master's to submit, every five minutes."""

    def __init__(self, by_master: bool = True, **more: object) -> None:
        super().__init__()
        self.ledger.add_job(**more)
        if by_master:
            self.need(MASTER)

    def need(self, description: str) -> None:
        """Change the job so that its runs need the whole picture, or not."""
        job = job_rows.get(self.ledger.connection, 1)
        assert job is not None
        job_rows.update(self.ledger.connection, 1, description=description, version=job.version + 1)

    def minutes(self) -> list[int]:
        """Minutes after the first instant of all runs, by number."""
        found = [run_rows.get(self.ledger.connection, n + 1) for n in range(self.ledger.count("runs"))]
        return [((run.scheduled_for_us or 0) - FIRST_US) // MINUTE_US for run in found if run]

    def run(self, number: int) -> Run:
        found = run_rows.get(self.ledger.connection, number)
        assert found is not None
        return found

    def give_back(self, started: tuple[int, ...] = ()) -> None:
        """The agent answers that it has released its order."""
        order = self.order()
        told = [wire.Released(order.id, order.version, started)]
        self.ledger.do(reports.record(NORTH, told, 1, self.clock.now_us))

    def silent(self) -> None:
        self.ledger.do(reconciliation.fall_silent(NORTH, self.clock.now_us, self.clock.now_us))

    def present(self, held: tuple[tuple[int, int], ...] = ()) -> reconciliation.Admission:
        """The agent connects with the orders that it holds."""
        agent = agent_rows.get(self.ledger.connection, NORTH)
        assert agent is not None
        shown = wire.Present(wire.Epoch(1, "n"), agent.ticket, wire.GateSet(), (), held)
        return self.ledger.do(reconciliation.present(NORTH, HELLO, shown, 1, self.clock.now_us))


async def test_the_agent_is_told_nothing_and_each_instant_is_one_run() -> None:
    """No order goes to it, it is not called autonomous for one, its page counts none; also when done twice."""
    stage = MasterStage()
    await stage.turn()
    connection = stage.ledger.connection
    assert stage.order().by_master
    assert order_rows.unacknowledged(connection, NORTH) == []
    assert order_rows.of_agent(connection, NORTH) == []
    assert order_rows.autonomous_until_us(connection, NORTH) is None
    line = overview.agent_line(connection, "north")
    assert line is not None
    assert line.autonomous_until_us is None
    await stage.turn(FIRST_US - START_US)
    await stage.turn(EVERY_US)
    connection.execute("UPDATE orders SET accounted_until_us = valid_from_us, next_instant_us = ?", (FIRST_US,))
    await stage.turn(SECOND_US)
    assert stage.minutes() == [0, 5]


@pytest.mark.parametrize("away_us", [SECOND_US, 7 * MINUTE_US])
async def test_a_job_that_becomes_the_masters_loses_no_instant_and_runs_none_twice(away_us: int) -> None:
    """The agent's order is taken back first. It began one instant and not the next; then the master is away a while
    before it plans: what fell due in between is the master's, late ones are in the ledger."""
    stage = MasterStage(by_master=False, misfire_policy="ask")
    await stage.turn()
    given = stage.order()
    stage.ledger.do(reports.record(NORTH, [wire.OrderKept(given.id, given.version)], 1, stage.clock.now_us))
    stage.need(MASTER)
    await stage.turn(FIRST_US - START_US)
    await stage.turn(EVERY_US + MINUTE_US)
    assert (stage.order().id, stage.order().state) == (given.id, "releasing")
    assert stage.minutes() == [], "the instants are the agent's until it has answered"
    assert stage.missed() == []
    stage.clock.now_us = FIRST_US + 2 * EVERY_US - SECOND_US
    stage.give_back((FIRST_US,))
    await stage.turn(away_us)
    assert stage.order().by_master
    late = away_us > MINUTE_US
    assert [minutes for minutes, _, _ in stage.missed()] == ([5, 10, 15] if late else [5])
    assert stage.minutes() == ([] if late else [10])
    stage.clock.now_us = FIRST_US + 4 * EVERY_US
    await stage.turn()
    assert stage.minutes()[-1] == 20


async def test_a_job_that_is_the_agents_again_leaves_no_gap() -> None:
    """The master's order ends at once; the agent's begins there."""
    stage = MasterStage()
    await stage.turn()
    await stage.turn(FIRST_US - START_US)
    stage.need("")
    await stage.turn(MINUTE_US)
    order = stage.order()
    assert (order.by_master, order.state, order.next_instant_us) == (False, "active", FIRST_US + EVERY_US)
    assert [one.id for one in order_rows.unacknowledged(stage.ledger.connection, NORTH)] == [order.id]
    assert stage.minutes() == [0]
    assert stage.missed() == []


async def test_an_order_that_an_agent_gave_back_before_the_master_died_is_followed_without_a_gap() -> None:
    """The same for orders between agents: what fell due after the answer and before the next order is in the ledger."""
    stage = MasterStage(by_master=False, misfire_policy="ask")
    stage.ledger.add_agent("south")
    await stage.turn()
    given = stage.order()
    stage.ledger.do(reports.record(NORTH, [wire.OrderKept(given.id, given.version)], 1, stage.clock.now_us))
    south = ("south" * 32)[:32]
    job_rows.update(stage.ledger.connection, 1, agent_id=south, version=2)
    await stage.turn()
    stage.give_back()
    stage.clock.now_us = FIRST_US + 2 * EVERY_US + MINUTE_US
    await stage.turn()
    assert stage.order().agent_id == south
    assert [(minutes, cause) for minutes, cause, _ in stage.missed()] == [
        (minutes, "moved to another agent") for minutes in (0, 5, 10)
    ]


async def test_a_run_for_a_silent_agent_waits_with_its_reason_and_starts_when_it_is_back() -> None:
    """It was never sent, so nothing of it is unknown; neither is the occurrence."""
    stage = MasterStage()
    await stage.turn()
    stage.silent()
    await stage.turn(FIRST_US - START_US)
    run = stage.run(1)
    assert (run.state, run.reason) == ("waiting", "no agent")
    await stage.turn(EVERY_US)
    assert silence_rows.unknown(stage.ledger.connection, stage.clock.now_us) == []
    assert [stage.run(n).state for n in (1, 2)] == ["waiting", "waiting"]
    admission = stage.present()
    assert admission.strays == ()
    stage.ledger.do(runs.agent_is_back(NORTH, stage.clock.now_us))
    assert [stage.run(n).state for n in (1, 2)] == ["starting", "starting"]
    await stage.turn()
    assert stage.order().acknowledged_version == stage.order().version, "its inventory says nothing of such an order"


async def test_while_the_agent_of_an_order_on_its_way_back_is_silent_its_instants_are_its_own() -> None:
    """They are unknown, and the master makes none of them; once it answers they are known, each once."""
    stage = MasterStage(by_master=False, misfire_policy="ask")
    await stage.turn()
    given = stage.order()
    stage.ledger.do(reports.record(NORTH, [wire.OrderKept(given.id, given.version)], 1, stage.clock.now_us))
    stage.silent()
    stage.need(MASTER)
    stage.clock.now_us = FIRST_US + EVERY_US + MINUTE_US
    await stage.turn()
    (line,) = silence_rows.unknown(stage.ledger.connection, stage.clock.now_us)
    assert (line.count, stage.minutes(), stage.missed()) == (2, [], [])
    stage.present(((given.id, given.version),))
    stage.give_back((FIRST_US,))
    await stage.turn()
    assert [minutes for minutes, _, _ in stage.missed()] == [5]
    assert stage.order().by_master
    assert silence_rows.unknown(stage.ledger.connection, stage.clock.now_us) == []


async def test_an_agent_that_holds_the_number_of_a_masters_order_is_asked_for_it() -> None:
    """A master that lost its last writes may have given it: it is a stray, and the row stays as it is."""
    stage = MasterStage()
    await stage.turn()
    order = stage.order()
    admission = stage.present(((order.id, 1),))
    assert admission.admitted is not None
    assert admission.admitted.strays == ((order.id, 1),)
    assert stage.order() == order


@pytest.mark.parametrize("is_dead", [True, False], ids=["dead", "replaced"])
async def test_what_is_due_of_a_machine_that_is_gone_is_missed_with_that_cause(is_dead: bool) -> None:
    """Nothing is unknown of it and nothing is submitted, whenever the scheduler comes to plan the job."""
    stage = MasterStage(misfire_policy="ask")
    await stage.turn()
    agent_rows.update(stage.ledger.connection, NORTH, ticket=1, ticket_confirmed=1, version="test")
    stage.silent()
    if is_dead:
        told = stage.ledger.do(silence.declare_dead("north", SYSTEM, stage.clock.now_us))
        assert (told.unknown_occurrences, told.unknown_runs) == (0, 0)
    else:
        token = JoinToken(
            id="again", secret_hash="hash", name="north", created_by="test", created_at_us=0, expires_at_us=2**62
        )
        stage.ledger.do(agents.replace("north", token, SYSTEM, stage.clock.now_us))
    stage.clock.now_us = FIRST_US + SECOND_US
    await stage.turn()
    await stage.turn(EVERY_US)
    cause = "agent declared dead" if is_dead else "agent replaced, its new machine has not joined yet"
    assert [(minutes, why) for minutes, why, _ in stage.missed()] == [(0, cause), (5, cause)]
    assert stage.minutes() == []


async def test_what_a_stop_suppressed_is_listed_once_with_its_cause_and_the_policy_decides() -> None:
    """The ledger of stops leaves the master's own orders to the master; the late one is no outage of it."""
    stage = MasterStage(misfire_policy="all", misfire_grace_s=86400)
    await stage.turn()
    stage.clock.now_us = FIRST_US - SECOND_US
    stop(stage)
    for _ in range(12):
        await stage.turn(MINUTE_US)
    start(stage)
    await stage.turn(MINUTE_US)
    assert stage.missed() == [(minutes, "scheduler stopped", "run") for minutes in (0, 5, 10)]
    assert sorted(stage.minutes()) == [0, 5, 10]


async def test_a_suspended_maintenance_of_its_agent_lets_it_be_missed_and_a_lock_lets_it_wait() -> None:
    """As for orders that the agent holds: the gate's verdict is one rule."""
    stage = MasterStage(misfire_policy="ask")
    await stage.turn()
    stage.ledger.do(gates.lock("north", SYSTEM, stage.clock.now_us))
    await stage.turn(FIRST_US - START_US)
    assert (stage.run(1).state, stage.run(1).reason) == ("waiting", "queue locked")
    connection = stage.ledger.connection
    connection.execute("UPDATE gates SET kind = 'maintenance_suspended' WHERE agent_id = ?", (NORTH,))
    await stage.turn(EVERY_US)
    assert stage.missed() == [(5, "maintenance", "")]


async def test_single_occurrences_are_skipped_and_moved_by_the_master() -> None:
    """Each occurrence once, at its other time."""
    stage = MasterStage()
    await stage.turn()
    skip = exceptions.ExceptionSpec(instant_us=FIRST_US, skip=True)
    move = exceptions.ExceptionSpec(instant_us=FIRST_US + EVERY_US, move_to_us=FIRST_US + EVERY_US + 2 * MINUTE_US)
    for spec in (skip, move):
        stage.ledger.do(exceptions.put("backup", spec, SYSTEM, stage.clock.now_us))
    began = []
    for minutes in range(9):
        stage.clock.now_us = FIRST_US + minutes * MINUTE_US + SECOND_US
        await stage.turn()
        began.append(len(stage.minutes()))
    assert began == [0] * 7 + [1, 1]
    assert [minutes for minutes, _, _ in stage.missed()] == [0]


async def test_an_outage_of_a_day_is_in_the_ledger_by_instant() -> None:
    """No master was in office: one row for each, none twice after a second start."""
    stage = MasterStage(cron="0 * * * *", misfire_policy="ask")
    await stage.turn()
    stage.clock.now_us += DAY_US
    await stage.turn()
    await stage.turn(SECOND_US)
    found = stage.missed()
    assert len(found) == 24
    assert {cause for _, cause, _ in found} == {"no master was in office"}
