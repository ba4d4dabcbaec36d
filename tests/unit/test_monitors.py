"""actions.monitors and actions.events: what people say, what agents report, and the runs that follow (SKY-16)."""

from __future__ import annotations

from typing import Any

import pytest

from server.actions import agents, events, gates, groups, jobs, monitors, reconciliation, reports, runs
from server.actions.monitors import MonitorSpec
from server.core import agent_wire as wire
from server.core.model import Principal, Run
from server.core.monitors import KINDS, Monitor, Settings
from server.core.run_keys import event_key, parse_key
from server.errors import Conflict, Forbidden, Invalid, NotFound
from server.storage import agents as agent_rows
from server.storage import events as event_rows
from server.storage import monitors as monitor_rows
from server.storage import runs as run_rows
from server.storage import specifications, system_messages
from tests.unit.ledger import START_US, Ledger

BOB = Principal("bob", "operator")
NORTH, SOUTH = ("north" * 32)[:32], ("south" * 32)[:32]


class Master(Ledger):
    """Two agents; `here` runs on north, which watches, and `there` on south."""

    def __init__(self, kind: str = "file") -> None:
        super().__init__()
        self.add_agent("north")
        self.add_agent("south")
        self.here = self.add_job("here")
        self.there = self.add_job("there", agent="south")
        self.monitor: Monitor = self.do(monitors.create(spec(kind), BOB, START_US))
        self.number = 0

    def report(self, body: wire.Body, key: str = "", agent: str = NORTH) -> None:
        self.number += 1
        self.do(reports.record(agent, [wire.Report(self.number, key, START_US, body)], 3, START_US))

    def fired(self, number: int = 1, **values: Any) -> wire.Fired:
        more = {"elsewhere": (self.there.id,), **values}
        variables = {"MONITOR": "arrivals", "PATH": "/d/a"}
        return wire.Fired(self.monitor.id, "arrivals", number, "created", START_US + number, variables, **more)

    def runs(self) -> list[Run]:
        event = event_rows.page(self.connection)
        return [run for line in event for run in run_rows.of_event(self.connection, line.id)]

    def given(self) -> list[Monitor]:
        return monitor_rows.unacknowledged(self.connection, NORTH)


def spec(kind: str = "file", **values: Any) -> MonitorSpec:
    settings = {"file": Settings(path="/d/*", on=["created"]), "manual": Settings()}.get(kind, Settings())
    return MonitorSpec(
        **{
            "name": "arrivals",
            "agent": "north",
            "kind": kind,
            "settings": settings,
            "jobs": ["here", "there"],
            **values,
        }
    )


def test_a_key_of_an_event_names_monitor_and_event() -> None:
    """Both forms are taken apart again, and fit a file's name."""
    own, asked = parse_key(event_key(3, 7, "12", 2)), parse_key(event_key(3, 7, "rab-c"))
    assert (own.job_id, own.monitor_id, own.event, own.attempt) == (3, 7, "12", 2)
    assert (asked.monitor_id, asked.event, asked.schedule_id, asked.request_id) == (7, "rab-c", None, "")


@pytest.mark.parametrize(
    ("kind", "settings", "field"),
    [
        ("file", Settings(path="d/*", on=["created"]), "path"),
        ("file", Settings(path="/d/**/x", on=["created"]), "path"),
        ("file", Settings(path="/d/", on=["created"]), "path"),
        ("file", Settings(path="/d/*", on=[]), "on"),
        ("file", Settings(path="/d/*", on=["started"]), "on"),
        ("file", Settings(path="/d/*", on=["steady"]), "steady_s"),
        ("file", Settings(path="/d/*", on=["created"], interval_s=0), "interval_s"),
        ("directory", Settings(path="/d", on=["count"]), "at_least"),
        ("process", Settings(on=["started"]), "pattern"),
        ("process", Settings(on=["started"], pattern="x", pid_file="/x"), "pattern"),
        ("process", Settings(on=["started"], pid_file="x"), "pid_file"),
        ("socket", Settings(), "kind"),
    ],
)
def test_wrong_settings_are_refused_by_field(kind: str, settings: Settings, field: str) -> None:
    """The error names what is wrong; nothing is made."""
    with pytest.raises(Invalid) as refused:
        monitors.create(spec(kind, settings=settings), BOB, START_US)
    assert field in refused.value.fields


def test_each_kind_can_be_made_and_given() -> None:
    """Every word that a kind may be told to look for is accepted."""
    for kind, words in KINDS.items():
        settings = Settings(
            path="/d/x" if kind in ("file", "directory") else "",
            pattern="x*" if kind == "process" else "",
            on=list(words),
            steady_s=5,
            at_least=2,
        )
        ledger = Ledger()
        ledger.add_agent("north")
        made = ledger.do(monitors.create(spec(kind, settings=settings, jobs=[]), BOB, START_US))
        message = events.standing(ledger.connection, made)
        assert isinstance(message, wire.GiveMonitor)
        assert wire.decode_from_node(wire.encode(message)) == message


def test_an_event_is_recorded_once_and_submits_what_is_for_other_agents_once() -> None:
    """A report that comes twice makes one event and one run; its dispatch carries the variables."""
    master = Master()
    for _ in range(2):
        master.report(master.fired())
    assert [line.token for line in event_rows.page(master.connection)] == ["1"]
    assert [(run.key, run.state, run.agent_id) for run in master.runs()] == [("j2.e1-1.a1", "starting", SOUTH)]
    given = master.do(reconciliation.dispatch(SOUTH, 3, START_US))
    assert given[0].dispatch.specification.environment["UNDERSTUDY_EVENT_PATH"] == "/d/a"


def test_each_member_of_an_all_group_gets_the_event_and_an_empty_group_is_on_record() -> None:
    """One run for each member, with its own key; without members the event is missed, not refused."""
    master = Master()
    ann = Principal("ann", "administrator")
    master.do(groups.create(groups.GroupSpec(name="web", policy="all", agents=["north", "south"]), "g" * 32, ann, 1))
    job = master.add_job("everywhere", agent="", group="web")
    for number in (1, 2):
        master.report(master.fired(number, elsewhere=(job.id,)))
    keys = {run.key for run in master.runs()}
    assert keys == {f"j{job.id}.e1-{number}.m{agent}.a1" for number in (1, 2) for agent in (NORTH, SOUTH)}
    master.do(groups.update("web", groups.GroupChange(agents=[]), ann, START_US))
    master.report(master.fired(3, elsewhere=(job.id,)))
    newest = master.runs()[0]
    assert (newest.state, newest.reason) == ("missed", "its group has no members")


def test_an_event_for_a_dead_machine_is_recorded_as_missed_and_the_reports_go_on() -> None:
    """A report must never be refused: its agent would send it for ever."""
    master = Master()
    agent_rows.update(master.connection, SOUTH, dead_at_us=START_US)
    master.report(master.fired())
    master.report(wire.Trouble("next"))
    why = "its machine was declared dead or replaced"
    assert [(run.state, run.reason) for run in master.runs()] == [("missed", why)]
    assert [message.text for message in system_messages.page(master.connection)][-1].endswith("next")


def test_a_run_that_was_heard_of_before_its_event_is_the_events_run() -> None:
    """After a lossy promotion the agent that ran it may report first: no second run, and no refused report."""
    master = Master()
    begun = wire.Begun(specifications.of_job(master.connection, master.there, master.there.agent_id), None, 1)
    master.report(begun, "j2.e1-1.a1", agent=SOUTH)
    master.report(master.fired())
    assert [(run.key, run.state) for run in master.runs()] == [("j2.e1-1.a1", "running")]


def test_the_run_of_the_watching_agent_belongs_to_its_event() -> None:
    """Its key finds the event, the run says by which monitor, and a repetition gets the same variables."""
    master = Master()
    master.report(master.fired(elsewhere=()))
    begun = wire.Begun(specifications.of_job(master.connection, master.here, master.here.agent_id), None, 1)
    master.report(begun, "j1.e1-1.a1")
    master.report(wire.Ended(1, None, START_US, START_US, 0, False), "j1.e1-1.a1")
    run = master.runs()[0]
    assert (run.key, run.state, run.requested_by) == ("j1.e1-1.a1", "failed", "event arrivals")
    again = master.do(runs.rerun(run.number, BOB, START_US))
    assert (again.key, again.event_id) == ("j1.e1-1.a2", run.event_id)
    given = master.do(reconciliation.dispatch(NORTH, 3, START_US))
    assert given[0].dispatch.specification.environment["UNDERSTUDY_EVENT_PATH"] == "/d/a"


def test_what_a_gate_suppressed_is_on_record_and_can_be_run_again() -> None:
    """BEY-9: missed or skipped with its cause, once; a person may run it with the event's variables."""
    master = Master()
    body = master.fired(elsewhere=(), suppressed=((1, "scheduler stopped"), (2, "still running")))
    for _ in range(2):
        master.report(body)
    states = [(run.key, run.state, run.reason) for run in master.runs()]
    assert states == [("j1.e1-1.a1", "missed", "scheduler stopped"), ("j2.e1-1.a1", "skipped", "still running")]
    again = master.do(runs.rerun(master.runs()[0].number, BOB, START_US))
    assert (again.state, again.event_id) == ("starting", master.runs()[0].event_id)


def test_an_event_of_another_agents_monitor_or_with_a_used_number_is_an_alarm() -> None:
    """After a lossy failover or a snapshot numbers may mean something else: people are told, nothing is guessed."""
    master = Master()
    master.report(master.fired())
    master.report(master.fired(2), agent=SOUTH)
    other = wire.Fired(master.monitor.id, "arrivals", 1, "created", START_US + 77, {"PATH": "/d/other"}, (2,))
    master.report(other)
    texts = [message.text for message in system_messages.page(master.connection)]
    assert len([text for text in texts if "does not know as such" in text]) == 2
    assert len(master.runs()) == 1


def test_a_manual_event_is_fired_once_for_each_request_and_waits_for_gates() -> None:
    """The same request is the same event; under a lock its runs wait with the reason."""
    master = Master("manual")
    master.do(gates.lock_all(BOB, START_US))
    fired = [master.do(monitors.fire("arrivals", {"file": "a"}, "q1", BOB, START_US)) for _ in range(2)]
    assert fired[0] == fired[1]
    assert [(run.key, run.state, run.reason) for run in fired[0].runs] == [
        ("j1.e1-rq1.a1", "waiting", "queue locked"),
        ("j2.e1-rq1.a1", "waiting", "queue locked"),
    ]
    assert fired[0].event.variables["FILE"] == "a"


def test_what_cannot_be_fired_is_refused() -> None:
    """A monitor that watches, a disabled one, an unknown one, wrong variables, and people who may not."""
    master = Master()
    with pytest.raises(Conflict, match="watches by itself"):
        master.do(monitors.fire("arrivals", {}, "q", BOB, START_US))
    with pytest.raises(NotFound):
        master.do(monitors.fire("nobody", {}, "q", BOB, START_US))
    with pytest.raises(Invalid):
        monitors.fire("arrivals", {"time": "1"}, "q", BOB, START_US)
    with pytest.raises(Forbidden):
        monitors.fire("arrivals", {}, "q", Principal("eve", "auditor"), START_US)
    manual = Master("manual")
    manual.do(monitors.disable("arrivals", BOB, START_US))
    with pytest.raises(Conflict, match="monitor enable arrivals"):
        manual.do(monitors.fire("arrivals", {}, "q", BOB, START_US))


def test_each_change_is_given_to_the_agent_until_it_says_that_it_holds_it() -> None:
    """Made, changed, disabled, deleted: the version grows, and what is not live is taken back."""
    master = Master()
    message = events.standing(master.connection, master.given()[0])
    assert isinstance(message, wire.GiveMonitor)
    assert [one.specification.job_name for one in message.monitor.reactions] == ["here"]
    assert message.monitor.elsewhere == ((master.there.id, "there"),)
    master.do(reports.record(NORTH, [wire.MonitorKept(1, 1)], 3, START_US))
    assert master.given() == []
    master.do(monitors.disable("arrivals", BOB, START_US))
    master.do(reports.record(NORTH, [wire.MonitorKept(1, 1)], 3, START_US))
    assert events.standing(master.connection, master.given()[0]) == wire.ReleaseMonitor(1, 2)
    master.do(monitors.enable("arrivals", BOB, START_US))
    master.do(monitors.delete("arrivals", BOB, START_US))
    assert events.standing(master.connection, master.given()[0]) == wire.ReleaseMonitor(1, 4)


def test_on_another_agent_it_is_another_monitor() -> None:
    """Numbers belong to the agent that gave them: the old row is taken back, the new one begins at 1 there."""
    master = Master()
    master.report(master.fired(5))
    moved = master.do(monitors.update("arrivals", spec(agent="south"), BOB, START_US))
    assert (moved.id, moved.agent_id, moved.name) == (2, SOUTH, "arrivals")
    assert events.standing(master.connection, master.given()[0]) == wire.ReleaseMonitor(1, 2)
    message = events.standing(master.connection, moved)
    assert isinstance(message, wire.GiveMonitor)
    assert message.next_number == 1
    master.do(jobs.delete("there", BOB, START_US))
    removal = agents.remove("south", Principal("ann", "administrator"), START_US)
    with pytest.raises(Conflict, match="monitors watch on south"):
        master.do(removal)


def test_an_inventory_gives_again_what_differs_and_takes_back_what_nobody_knows() -> None:
    """After a lossy promotion the agent may hold a later version, or a monitor that nobody has heard of."""
    master = Master()
    master.do(reports.record(NORTH, [wire.MonitorKept(1, 1)], 3, START_US))
    assert events.compare(master.connection, NORTH, {1: 1}, False) == ()
    assert master.given() == []
    assert events.compare(master.connection, NORTH, {1: 4, 9: 2}, False) == ((9, 2),)
    assert [monitor.id for monitor in master.given()] == [1]
    master.do(reports.record(NORTH, [wire.MonitorKept(1, 1)], 3, START_US))
    assert events.compare(master.connection, NORTH, {1: 1}, True) == ()
    assert [monitor.id for monitor in master.given()] == [1]


def test_a_problem_is_shown_and_told_and_ends() -> None:
    """The monitor carries the sentence; people get one message when it begins."""
    master = Master()
    for text in ("More than 10000 files match.", "More than 10000 files match.", ""):
        master.report(wire.MonitorProblem(1, text))
    found = monitor_rows.get(master.connection, 1)
    assert found is not None
    assert found.problem == ""
    texts = [message.text for message in system_messages.page(master.connection)]
    assert texts == ["Monitor arrivals: More than 10000 files match."]
