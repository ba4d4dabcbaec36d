"""JS7-2: occurrences skipped, moved or changed once: on the agent, on the master, and when it hears of it too late."""

from __future__ import annotations

import msgspec
import pytest

from server.actions import exceptions, jobs, reports
from server.actions.exceptions import ExceptionSpec
from server.core import agent_wire as wire
from server.core import occurrence_exceptions as core
from server.core.model import MINUTE_US, SECOND_US, SYSTEM, Principal
from server.core.occurrence_exceptions import OccurrenceException
from server.core.run_keys import occurrence_key
from server.core.schedule import expand
from server.errors import Conflict, Forbidden, Invalid, NotFound
from server.office.deliverer import order_message
from server.storage import exceptions as rows
from server.storage import orders as order_rows
from tests.unit.agent_world import START_US as AGENT_START_US
from tests.unit.agent_world import World, order
from tests.unit.stage import FIRST_US, Stage

AT = AGENT_START_US + 100 * SECOND_US
STEP = 60 * SECOND_US


def told(version: int, *found: OccurrenceException, **values: object) -> wire.GiveOrder:
    """The order of schedule 5 with five instants a minute apart from AT on, and exceptions."""
    given = order(100, 60, 5, version, **values).order
    return wire.GiveOrder(msgspec.structs.replace(given, exceptions=tuple(found)))


def key(number: int) -> str:
    return occurrence_key(1, 5, AT + number * STEP)


def suppressed(world: World) -> list[tuple[int, str, bool]]:
    bodies = [body for _, body in world.bodies(wire.Suppressed)]
    return [((b.instant_us - AT) // STEP, b.cause, b.settled) for b in bodies if isinstance(b, wire.Suppressed)]


def agent(*found: OccurrenceException, **values: object) -> World:
    world = World()
    world.connect()
    world.hear(told(1, *found, **values))
    return world


def test_a_skipped_occurrence_does_not_begin_and_is_reported_with_its_cause() -> None:
    """Also without a master: the agent has it, and the others begin as ever."""
    world = agent(OccurrenceException(AT + STEP, "skipped by maria: holiday"))
    world.do(world.session.link_closed("a" * 32))
    world.pass_s(100)
    world.pass_s(60)
    world.pass_s(60)
    assert set(world.processes) == {key(0), key(2)}
    world.connect(ticket=2)
    assert suppressed(world) == [(1, "skipped by maria: holiday", True)]


@pytest.mark.parametrize("later_s", [25, -25])
def test_a_moved_occurrence_begins_at_its_new_time_under_its_own_key(later_s: int) -> None:
    """Later or earlier: exactly once, whatever the exception becomes afterwards."""
    world = agent(OccurrenceException(AT + STEP, "", AT + STEP + later_s * SECOND_US))
    world.pass_s(100 + 60 + min(later_s, 0))
    world.pass_s(0.5)
    assert (key(1) in world.processes) == (later_s < 0)
    assert world.session.next_deadline_us(world.now) == AT + STEP + (later_s * SECOND_US if later_s > 0 else 0)
    world.pass_s(abs(later_s))
    assert world.processes[key(1)] == 1
    (begun,) = [body for name, body in world.bodies(wire.Begun) if name == key(1)]
    assert isinstance(begun, wire.Begun)
    assert begun.scheduled_for_us == AT + STEP
    world.hear(told(2))
    for _ in range(4):
        world.pass_s(60)
    assert world.processes == {key(n): 1 for n in range(5)}


def test_another_command_and_environment_are_for_one_occurrence_only() -> None:
    """What is added to the environment is added; the next occurrence is the job's own again."""
    world = agent(
        OccurrenceException(AT + STEP, command="once", environment={"MODE": "full"}),
        environment={"A": "1"},
    )
    world.pass_s(100)
    world.pass_s(60)
    world.pass_s(60)
    runs = {record.key: record.specification for record in world.disk.runs.values()}
    assert (runs[key(1)].command, runs[key(1)].environment) == ("once", {"A": "1", "MODE": "full"})
    assert (runs[key(2)].command, runs[key(2)].environment) == ("true", {"A": "1"})


def test_what_the_agent_hears_too_late_changes_nothing() -> None:
    """It began by the version that it had: skipped, moved or changed afterwards it neither runs again nor is unsaid."""
    world = agent()
    world.pass_s(100)
    world.hear(told(2, OccurrenceException(AT, "skipped by maria")))
    world.hear(told(3, OccurrenceException(AT, "", AT + 30 * SECOND_US)))
    world.pass_s(40)
    assert world.processes == {key(0): 1}
    assert suppressed(world) == []


def test_a_late_exception_goes_by_the_misfire_policy_and_a_late_skip_stays_skipped() -> None:
    """The program was down at the new time: within the grace time it begins after the master has answered."""
    world = agent(
        OccurrenceException(AT, "", AT + 30 * SECOND_US),
        OccurrenceException(AT + STEP, "skipped by maria"),
        misfire_policy="once",
    )
    world.wall_us += 170 * SECOND_US
    world.boot_us += 170 * SECOND_US
    world.start()
    world.do(world.session.tick(world.now))
    assert world.processes == {}
    world.connect(ticket=2)
    world.do(world.session.tick(world.now))
    assert world.processes == {key(0): 1}
    assert suppressed(world) == [(1, "skipped by maria", True)]


def test_a_released_order_names_a_moved_instant_from_before_it_was_given() -> None:
    """The next agent must not begin it again, although it is older than this order."""
    world = agent(OccurrenceException(AT - 3 * STEP, "", AT - STEP))
    world.pass_s(45)
    assert world.processes == {key(-3): 1}
    world.hear(wire.ReleaseOrder(1, 2))
    assert [m.started for m in world.told(wire.Released)] == [(AT - 3 * STEP,)]  # type: ignore[union-attr]  # narrowed


def test_looking_ahead_shows_what_begins_when() -> None:
    """Skipped ones are not there, moved ones are where they begin."""
    found = (OccurrenceException(20, "skipped"), OccurrenceException(30, "", 45), OccurrenceException(5, "", 99))
    assert core.starts([10, 20, 30, 40, 50], found, 10, 50) == [(10, 10), (40, 40), (45, 30)]


class Desk(Stage):
    """A scheduler with the job `backup` every five minutes at the agent `north`."""

    def __init__(self, **more: object) -> None:
        super().__init__()
        self.job = self.ledger.add_job(**more)

    def put(self, number: int, **what: object) -> rows.ExceptionRow:
        spec = ExceptionSpec(instant_us=FIRST_US + number * 5 * MINUTE_US, **what)  # type: ignore[arg-type]  # test values
        return self.ledger.do(exceptions.put("backup", spec, MARIA, self.clock.now_us, "holiday"))

    def report(self, body: wire.Body, key: str = "") -> None:
        agent_id = self.job.agent_id
        self.ledger.do(reports.record(agent_id, [wire.Report(1, key, FIRST_US, body)], 1, self.clock.now_us))

    def begin(self, number: int) -> None:
        at_us = FIRST_US + number * 5 * MINUTE_US
        specification = self.order().specification
        self.report(wire.Begun(specification, at_us, 1), occurrence_key(self.job.id, 1, at_us))


MARIA = Principal("maria", "operator")


async def test_an_exception_is_a_new_version_of_the_order() -> None:
    """The agent is given it; the order's row says which version names what, and taking it back is one more."""
    desk = Desk()
    await desk.turn()
    before = desk.order().version
    desk.put(1, skip=True)
    desk.put(2, move_to_us=FIRST_US + 11 * MINUTE_US)
    await desk.turn()
    given = desk.order()
    assert given.version > before
    assert [(one.skipped, one.moved_to_us) for one in given.exceptions] == [
        ("skipped by maria: holiday", None),
        ("", FIRST_US + 11 * MINUTE_US),
    ]
    message = order_message(given)
    assert isinstance(message, wire.GiveOrder)
    assert message.order.exceptions == tuple(given.exceptions)
    desk.ledger.do(exceptions.remove("backup", FIRST_US + 5 * MINUTE_US, MARIA, desk.clock.now_us))
    await desk.turn()
    assert [one.moved_to_us for one in desk.order().exceptions] == [FIRST_US + 11 * MINUTE_US]
    assert desk.ledger.count("audit", "action LIKE 'exceptions.%'") == 3


async def test_an_agent_that_knows_no_exceptions_gets_none_of_those_occurrences() -> None:
    """What was skipped or moved does not begin at its old time there."""
    desk = Desk()
    desk.put(1, skip=True)
    await desk.turn()
    message = order_message(desk.order(), protocol=1)
    assert isinstance(message, wire.GiveOrder)
    assert message.order.exceptions == ()
    assert list(expand(message.order.instants))[:2] == [FIRST_US, FIRST_US + 10 * MINUTE_US]


async def test_what_can_be_said_of_which_occurrence() -> None:
    """Refusals name the field or what became of it; nothing is changed by them."""
    desk = Desk()
    with pytest.raises(Forbidden):
        exceptions.put("backup", ExceptionSpec(instant_us=1, skip=True), Principal("a", "auditor"), 1)
    for wrong in (
        {},
        {"skip": True, "command": "x"},
        {"command": " "},
        {"move_to_us": 1},
        {"move_to_us": FIRST_US},
        {"move_to_us": FIRST_US + 1},
        {"environment": {"": "x"}},
    ):
        with pytest.raises(Invalid):
            desk.put(0, **wrong)
    with pytest.raises(Invalid, match="not due at that instant"):
        desk.ledger.do(exceptions.put("backup", ExceptionSpec(instant_us=FIRST_US + 1, skip=True), MARIA, 1))
    with pytest.raises(NotFound):
        desk.ledger.do(exceptions.remove("backup", FIRST_US, MARIA, desk.clock.now_us))
    await desk.turn()
    desk.begin(0)
    with pytest.raises(Conflict, match="began already"):
        desk.put(0, skip=True)
    desk.clock.now_us = FIRST_US + 6 * MINUTE_US
    with pytest.raises(Conflict, match="due already"):
        desk.put(1, skip=True)
    desk.put(2, move_to_us=FIRST_US + 30 * MINUTE_US)
    desk.clock.now_us = FIRST_US + 15 * MINUTE_US
    with pytest.raises(Conflict, match="own time is past"):
        desk.ledger.do(exceptions.remove("backup", FIRST_US + 10 * MINUTE_US, MARIA, desk.clock.now_us))
    desk.put(2, skip=True)
    assert desk.ledger.count("exceptions") == 1


async def test_two_schedules_at_the_same_instant_must_be_told_apart() -> None:
    """The refusal names both."""
    desk = Desk(schedules=[jobs.When("*/5 * * * *"), jobs.When("*/10 * * * *")])
    at_us = FIRST_US + (FIRST_US // MINUTE_US % 10 == 5) * 5 * MINUTE_US
    with pytest.raises(Invalid, match=r"1 \(\*/5"):
        desk.ledger.do(exceptions.put("backup", ExceptionSpec(instant_us=at_us, skip=True), MARIA, desk.clock.now_us))
    spec = ExceptionSpec(instant_us=at_us, skip=True, schedule_id=2)
    assert desk.ledger.do(exceptions.put("backup", spec, MARIA, desk.clock.now_us)).schedule_id == 2


async def test_a_held_job_accounts_for_its_exceptions_itself() -> None:
    """Its agent has none of them: a skipped one is closed with its cause, a moved one is missed at its new time."""
    desk = Desk(misfire_policy="ask")
    desk.put(1, skip=True)
    desk.put(2, move_to_us=FIRST_US + 22 * MINUTE_US)
    desk.ledger.do(jobs.hold("backup", SYSTEM, desk.clock.now_us))
    await desk.turn()
    assert desk.order().exceptions == []
    desk.clock.now_us = FIRST_US + 16 * MINUTE_US
    await desk.turn()
    assert desk.missed() == [
        (0, "job held", ""),
        (5, "skipped by maria: holiday", "policy"),
        (15, "job held", ""),
    ]
    desk.clock.now_us = FIRST_US + 26 * MINUTE_US
    await desk.turn()
    assert (10, "job held", "") in desk.missed()


async def test_a_moved_order_keeps_what_is_still_to_come() -> None:
    """What was skipped stays skipped, what is to come later goes to the next agent, what is open is missed."""
    desk = Desk(misfire_policy="ask")
    await desk.turn()
    desk.put(1, skip=True)
    desk.put(2, move_to_us=FIRST_US + 60 * MINUTE_US)
    await desk.turn()
    order_rows.acknowledge(desk.ledger.connection, desk.order().id, desk.order().version)
    desk.ledger.add_agent("south")
    spec = jobs.JobSpec(name="backup", command="true", agent="south", schedules=[jobs.When("*/5 * * * *")])
    spec = msgspec.structs.replace(spec, misfire_policy="ask")
    desk.clock.now_us = FIRST_US + 16 * MINUTE_US
    desk.ledger.do(jobs.update("backup", spec, SYSTEM, desk.clock.now_us))
    await desk.turn()
    given = desk.order()
    assert given.state == "releasing"
    answer = wire.Released(given.id, given.version, (FIRST_US,))
    desk.ledger.do(reports.record(desk.job.agent_id, [answer], 1, desk.clock.now_us))
    await desk.turn()
    assert desk.missed() == [(5, "skipped by maria: holiday", "policy"), (15, "moved to another agent", "")]
    assert [one.instant_us for one in desk.order().exceptions] == [FIRST_US + 10 * MINUTE_US]
    assert desk.order().agent_id != given.agent_id
