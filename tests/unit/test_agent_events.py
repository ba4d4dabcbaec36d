"""Monitors at the agent, as a pure machine: events once over crashes, gates, masters that come and go (SKY-16)."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replication.core.types import Epoch
from server.core import agent_wire as wire
from server.core.agent_ledger import FireAnswer
from server.core.model import Specification
from server.core.monitors import FILE, MANUAL, Reaction, Settings, StandingMonitor
from server.core.sightings import Found, Look
from tests.unit.agent_world import World

HERE = Specification(job_id=7, job_name="import", command="true", environment={"A": "b"})


def monitor(kind: str = FILE, version: int = 1, **values: object) -> StandingMonitor:
    watch = {} if kind == MANUAL else {"path": "/d/*", "on": ["created", "changed"]}
    chosen = Settings(**{**watch, **values})  # type: ignore[arg-type]  # test values
    return StandingMonitor(3, version, "arrivals", kind, chosen, (Reaction(HERE),), ((9, "there"),))


def given_world(kind: str = FILE, **values: object) -> tuple[World, StandingMonitor]:
    """An agent that a master of protocol 2 has admitted and given a monitor."""
    world, made = World(), monitor(kind, **values)
    connect(world)
    world.hear(wire.GiveMonitor(made))
    return world, made


def connect(world: World, protocol: int = 2, number: int = 1, node: str = "a" * 32, **admitted: object) -> None:
    world.do(world.session.link_closed(node))
    world.do(world.session.link_opened(node))
    office = wire.Office(node, "master", Epoch(number, node), world.wall_us, protocol=protocol)
    world.hear(office, node)
    world.hear(wire.Admitted(1, **admitted), node)  # type: ignore[arg-type]  # test values


def look(world: World, made: StandingMonitor, *paths: str, **crash: bool) -> None:
    found = tuple(Found(path, 1, "1:1") for path in paths)
    world.do(world.session.looked(made, Look(found), world.now), **crash)


def fired(world: World) -> list[wire.Fired]:
    return [body for _, body in world.bodies(wire.Fired) if isinstance(body, wire.Fired)]


def fire(world: World, request: str = "q", name: str = "arrivals", **variables: str) -> FireAnswer:
    outcome = world.session.fire(1, name, request, variables, world.now)
    world.do(outcome)
    return outcome.answers[0][1]


def test_an_event_is_numbered_reported_and_begins_its_run_with_its_variables() -> None:
    """The report of the event comes before that of its run; the job's own environment stays."""
    world, made = given_world()
    look(world, made)
    look(world, made, "/d/a")
    assert world.processes == {"j7.e3-1.a1": 1}
    event = fired(world)[0]
    assert (event.number, event.what, event.elsewhere) == (1, "created", (9,))
    environment = world.disk.runs["j7.e3-1.a1"].specification.environment
    assert environment["A"] == "b"
    assert environment["UNDERSTUDY_EVENT_PATH"] == "/d/a"
    assert environment["UNDERSTUDY_EVENT_MONITOR"] == "arrivals"
    kinds = [type(m.body) for m in world.told(wire.Report) if isinstance(m, wire.Report)]
    assert kinds.index(wire.Fired) < kinds.index(wire.Begun)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=9))
def test_each_file_begins_one_run_wherever_the_agent_is_killed(steps: list[tuple[bool, bool, bool]]) -> None:
    """Kill -9 before the saves or after them, masters that come and go: each file's event has one run, and one only."""
    world, made = given_world()
    look(world, made)
    files: list[str] = []
    for is_new, before, after in steps:
        if is_new:
            files.append(f"/d/{len(files)}")
        look(world, made, *files, crash_before_saves=before, crash_after_saves=after and not before)
        connect(world)
    look(world, made, *files)
    connect(world)
    keys = {f"j7.e3-{number}.a1" for number in range(1, len(files) + 1)}
    assert world.processes == dict.fromkeys(keys, 1)
    told = {event.number: event.variables["PATH"] for event in fired(world)}
    assert sorted(told.values()) == sorted(files)
    assert Counter(event.number for event in fired(world)).total() == len(files)


def test_a_locked_queue_holds_the_run_also_over_connections_and_begins_it_when_unlocked() -> None:
    """SKY-2: the run of an event is the agent's own: a new connection does not drop it, as it drops dispatches."""
    world, made = given_world()
    world.hear(wire.SetGates(wire.GateSet(2, ("queue_locked",))))
    look(world, made)
    look(world, made, "/d/a")
    assert world.processes == {}
    connect(world)
    assert world.disk.runs["j7.e3-1.a1"].state == "held"
    world.hear(wire.SetGates(wire.GateSet(3, ())))
    assert world.processes == {"j7.e3-1.a1": 1}


def test_a_stopped_scheduler_suppresses_the_event_for_every_job() -> None:
    """BEY-9: nothing begins, and the report says for which jobs and why, those of other agents included."""
    world, made = given_world()
    world.hear(wire.SetGates(wire.GateSet(2, ("scheduler_stopped",))))
    look(world, made)
    look(world, made, "/d/a")
    assert world.processes == {}
    event = fired(world)[0]
    assert event.elsewhere == ()
    assert dict(event.suppressed) == {7: "scheduler stopped", 9: "scheduler stopped"}


def test_nothing_is_remembered_while_nothing_would_begin() -> None:
    """After a reboot nothing begins before the master has answered: what came meanwhile is told then."""
    world, made = given_world()
    look(world, made)
    world.reboot()
    look(world, made, "/d/a")
    assert world.processes == {}
    connect(world)
    look(world, made, "/d/a")
    assert world.processes == {"j7.e3-1.a1": 1}


def test_a_look_for_an_earlier_version_tells_nothing() -> None:
    """A look that was under way while the monitor changed is not taken for the new one; what was seen counts on."""
    world, made = given_world()
    look(world, made)
    changed = monitor(version=2)
    world.hear(wire.GiveMonitor(changed))
    look(world, made, "/d/a")
    assert world.processes == {}
    look(world, changed, "/d/a")
    assert world.processes == {"j7.e3-1.a1": 1}


def test_another_path_begins_anew_and_numbers_go_on() -> None:
    """What is at the new place already is not new; a number is never used again, also not after a release."""
    world, made = given_world()
    look(world, made)
    look(world, made, "/d/a")
    other = monitor(version=2, path="/e/*")
    world.hear(wire.GiveMonitor(other))
    look(world, other, "/e/old")
    world.hear(wire.ReleaseMonitor(3, 3))
    world.hear(wire.GiveMonitor(other))
    look(world, other, "/e/old")
    look(world, other, "/e/old", "/e/new")
    assert sorted(world.processes) == ["j7.e3-1.a1", "j7.e3-2.a1"]


def test_a_restored_agent_takes_the_numbers_and_the_present_as_they_are() -> None:
    """After a snapshot the past tells nothing, and the master says from which number on."""
    world, made = given_world()
    look(world, made)
    connect(world, number=2, restored=True)
    world.hear(wire.GiveMonitor(made, next_number=12))
    look(world, made, "/d/came-while-away")
    assert world.processes == {}
    look(world, made, "/d/came-while-away", "/d/new")
    assert world.processes == {"j7.e3-12.a1": 1}


def test_a_master_of_protocol_1_is_told_nothing_that_it_cannot_read() -> None:
    """Events and their runs stay in the spool, and go to the next master that understands them, in order."""
    world, made = given_world()
    look(world, made)
    connect(world, protocol=1, number=2)
    world.sent.clear()
    look(world, made, "/d/a")
    assert world.processes == {"j7.e3-1.a1": 1}
    assert world.told(wire.Report) == []
    assert not world.session.takes_output("j7.e3-1.a1")
    connect(world, protocol=2, number=3)
    assert [type(m.body) for m in world.told(wire.Report) if isinstance(m, wire.Report)] == [wire.Fired, wire.Begun]


def test_a_manual_event_is_one_event_for_each_request() -> None:
    """The same key is answered with the same number and begins nothing more, also after a restart."""
    world, _ = given_world(MANUAL)
    assert (fire(world, "q", file="x").number, fire(world, "q", file="x").number) == (1, 1)
    world.start()
    assert fire(world, "q", file="x").number == 1
    assert fire(world, "other").number == 2
    assert sorted(world.processes) == ["j7.e3-1.a1", "j7.e3-2.a1"]
    assert world.disk.runs["j7.e3-1.a1"].specification.environment["UNDERSTUDY_EVENT_FILE"] == "x"


@pytest.mark.parametrize(
    ("name", "variables", "code"),
    [
        ("nobody", {}, "not_found"),
        ("arrivals", {"time": "1"}, "invalid"),
        ("arrivals", {"1x": "1"}, "invalid"),
        ("arrivals", {"x": "a\0b"}, "invalid"),
        ("arrivals", {"x": "a" * 5000}, "invalid"),
        ("arrivals", {f"v{n}": "1" for n in range(40)}, "invalid"),
    ],
)
def test_what_cannot_be_fired_is_refused_and_changes_nothing(name: str, variables: dict[str, str], code: str) -> None:
    """A refusal has a code and a sentence; no number is used."""
    world, _ = given_world(MANUAL)
    answer = fire(world, "q", name, **variables)
    assert (answer.code, answer.number) == (code, 0)
    assert answer.detail
    assert fire(world).number == 1


def test_a_quarantined_agent_fires_nothing_and_says_so() -> None:
    """The refusal can be tried again later; nothing is kept of it."""
    world, _ = given_world(MANUAL)
    world.hear(wire.Quarantined("it runs twice"))
    answer = fire(world)
    assert answer.code == "unavailable"
    assert "it runs twice" in answer.detail
    assert world.disk.requested == {}


def test_a_job_that_is_held_or_still_running_is_not_begun_and_says_why() -> None:
    """Held at the master, or `skip_if_running` with an open run: the event is reported with the cause."""
    held = Reaction(HERE, True)
    busy = Reaction(msgspec.structs.replace(HERE, job_id=8, skip_if_running=True))
    world = World()
    connect(world)
    world.hear(wire.GiveMonitor(msgspec.structs.replace(monitor(MANUAL), reactions=(held, busy))))
    assert [fire(world, key).runs for key in ("one", "two")] == [("j8.e3-1.a1",), ()]
    assert dict(fired(world)[1].suppressed) == {7: "job held", 8: "still running"}


def test_a_problem_is_reported_when_it_begins_and_when_it_ends() -> None:
    """Once each, however often it is looked; a look that saw not all tells nothing."""
    world, made = given_world()
    look(world, made)
    for _ in range(3):
        world.do(world.session.looked(made, Look((), False, "too many"), world.now))
    look(world, made, "/d/a")
    problems = [body.text for _, body in world.bodies(wire.MonitorProblem) if isinstance(body, wire.MonitorProblem)]
    assert problems == ["too many", ""]
    assert world.processes == {"j7.e3-1.a1": 1}
