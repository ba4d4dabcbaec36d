"""Jobs that begin a workflow: by time, by prerequisites, on request; their runs follow it, once, over takeovers."""

from __future__ import annotations

import pytest

from server.actions import (
    checkpoints,
    exceptions,
    jobs,
    reconciliation,
    runs,
    variables,
    workflow_begins,
    workflow_runs,
    workflows,
)
from server.core import agent_wire as wire
from server.core.limits import Limits
from server.core.model import MINUTE_US, SECOND_US, SYSTEM, Run
from server.core.retry import RetryRule
from server.core.special_instances import SpecialInstance
from server.core.workflows import WorkflowSpec, WorkflowStep, as_json
from server.errors import Conflict, Invalid, NotFound
from server.storage import deliveries
from server.storage import runs as run_rows
from server.storage import workflow_runs as rows
from server.storage.job_workflows import WORKFLOWS
from tests.unit.floor import Floor, step
from tests.unit.stage import FIRST_US, start, stop


@pytest.fixture
def floor() -> Floor:
    made = Floor()
    made.workflow(step("a"), step("b", "a"))
    return made


def add(floor: Floor, name: str = "nightly", cron: str = "", **more: object) -> None:
    """A job that begins the workflow."""
    when = [jobs.When(cron)] if cron else []
    spec = jobs.JobSpec(name=name, workflow="flow", schedules=when, **more)  # type: ignore[arg-type]  # any field
    floor.ledger.do(jobs.create(spec, SYSTEM, floor.now_us))


def sealed(_scope: str, _value: str) -> tuple[bytes, bytes]:
    """Instead of the node's key."""
    return b"nonce", b"sealed"


def found(floor: Floor) -> list[Run]:
    """The runs of jobs that begin workflows, in order."""
    connection = floor.ledger.connection
    numbers = connection.execute("SELECT number FROM runs WHERE agent_id = ? ORDER BY number", (WORKFLOWS,)).fetchall()
    return [run for (number,) in numbers if (run := run_rows.get(connection, number)) is not None]


def states(floor: Floor) -> list[str]:
    return [run.state for run in found(floor)]


def ask(floor: Floor, request: str = "one", job: str = "nightly") -> Run:
    """Run the job now and let the scheduler's changes begin it."""
    run = floor.ledger.do(runs.run_now(job, request, SYSTEM, floor.now_us))
    floor.ledger.do(workflow_begins.begin_due(floor.now_us))
    floor.follow()
    return run


async def test_each_instant_begins_one_run_of_the_workflow_and_the_next_follows(floor: Floor) -> None:
    """Three instants, the cursor put back between as after a lost outcome: three runs, ended as their workflows."""
    add(floor, cron="*/5 * * * *")
    await floor.stage.turn()
    for number in range(1, 4):
        await floor.stage.turn(FIRST_US - floor.now_us if number == 1 else 5 * MINUTE_US)
        assert states(floor)[-1] == "running"
        again = "UPDATE orders SET accounted_until_us = valid_from_us, next_instant_us = ?"
        floor.ledger.connection.execute(again, (FIRST_US,))
        await floor.stage.turn()
        assert floor.work() == ["a", "b"]
        assert floor.run(number).state == "succeeded"
    assert states(floor) == ["succeeded"] * 3
    assert floor.ledger.count("workflow_runs") == 3
    assert [run.scheduled_for_us for run in found(floor)] == [FIRST_US + n * 5 * MINUTE_US for n in range(3)]
    assert [floor.run(n + 1).key for n in range(3)] == [run.key for run in found(floor)]
    assert floor.run().requested_by == "job nightly"


async def test_a_new_office_neither_begins_it_again_nor_loses_sight_of_it(floor: Floor) -> None:
    """Before it began, and while it runs: the next master begins what is to begin, once, and hears how it ended."""
    add(floor)
    floor.ledger.do(runs.run_now("nightly", "one", SYSTEM, floor.now_us))
    floor.ledger.do(reconciliation.open_epoch(2, floor.now_us))
    assert states(floor) == ["starting"]
    await floor.stage.turn()
    floor.ledger.do(reconciliation.open_epoch(3, floor.now_us))
    assert WORKFLOWS not in deliveries.holders(floor.ledger.connection), "nobody waits for an agent to answer for it"
    await floor.stage.turn()
    assert states(floor) == ["running"]
    assert floor.ledger.count("workflow_runs") == 1
    assert floor.work() == ["a", "b"]
    assert states(floor) == ["succeeded"]


async def test_what_a_stopped_scheduler_missed_is_made_up_for_once(floor: Floor) -> None:
    """Two instants missed, the policy `once`: one run of the workflow when the scheduler goes on."""
    add(floor, cron="*/5 * * * *")
    await floor.stage.turn()
    stop(floor.stage)
    await floor.stage.turn(FIRST_US - floor.now_us)
    await floor.stage.turn(5 * MINUTE_US)
    assert found(floor) == []
    start(floor.stage)
    await floor.stage.turn(MINUTE_US)
    assert states(floor) == ["running"]
    assert floor.ledger.count("workflow_runs") == 1
    assert [cause for _, cause, _ in floor.stage.missed()] == ["scheduler stopped"] * 2


async def test_it_waits_for_its_prerequisites_and_is_waited_for(floor: Floor) -> None:
    """A job after which it begins, and one that begins after it."""
    floor.job("before")
    add(floor, prerequisites="before completed")
    floor.job("then", prerequisites="nightly completed")
    floor.submit("x", job="before")
    floor.place()
    [key] = floor.send("alpha")["alpha"] or floor.send("beta")["beta"]
    name = floor.where(key)
    floor.begin(name, key)
    floor.report(name, key, wire.Ended(0, None, floor.now_us, floor.now_us, 0, False, ""), 2)
    floor.follow()
    await floor.stage.turn()
    assert states(floor) == ["running"]
    for name in ("a", "b"):
        assert floor.ledger.count("runs", "job_id = (SELECT id FROM jobs WHERE name = 'then')") == 0, name
        [key] = floor.sent()
        floor.end(key)
    assert states(floor) == ["succeeded"]
    assert floor.ledger.count("runs", "job_id = (SELECT id FROM jobs WHERE name = 'then')") == 1


async def test_a_failure_is_tried_again_as_another_run_of_the_workflow(floor: Floor) -> None:
    """The job's rule: the second attempt begins the workflow anew, and its success is the end."""
    add(floor, retry=RetryRule(attempts_max=2, delay_s=10))
    ask(floor)
    floor.work(b="bad")
    assert (states(floor)[0], found(floor)[0].reason) == ("failed", "b: exit code 3")
    await floor.stage.turn(11 * SECOND_US)
    assert states(floor) == ["failed", "running"]
    assert floor.work() == ["a", "b"]
    assert states(floor) == ["failed", "succeeded"]
    assert floor.ledger.count("workflow_runs") == 2


async def test_cancelling_the_run_cancels_the_workflow_and_the_other_way_round(floor: Floor) -> None:
    """Cancelled, killed, and cancelled from the workflow's side; a kill after a cancel reaches its steps."""
    add(floor)
    ask(floor)
    [key] = floor.sent()
    floor.ledger.do(runs.cancel(found(floor)[0].number, SYSTEM, floor.now_us))
    await floor.stage.turn(SECOND_US)
    assert (states(floor), floor.run().state) == (["running"], "cancelling")
    assert found(floor)[0].reason.startswith("workflow run 1 is cancelling")
    floor.ledger.do(runs.kill(found(floor)[0].number, SYSTEM, floor.now_us))
    await floor.stage.turn()
    asked = run_rows.by_key(floor.ledger.connection, key)
    assert asked is not None
    assert asked.cancel_kill
    floor.end(key, "bad")
    assert (states(floor), floor.run().state) == (["killed"], "cancelled")
    ask(floor, "two")
    floor.ledger.do(workflow_runs.cancel(2, SYSTEM, floor.now_us))
    floor.work()
    floor.follow()
    assert states(floor) == ["killed", "cancelled"]


async def test_one_at_a_time_held_and_limited(floor: Floor) -> None:
    """Skipped while one is open; waits while the job or its workflow is held, and for its turn."""
    add(floor, skip_if_running=True)
    ask(floor)
    ask(floor, "two")
    assert states(floor) == ["running", "skipped"]
    floor.work()
    floor.ledger.do(workflows.hold("flow", SYSTEM, floor.now_us))
    ask(floor, "three")
    await floor.stage.turn()
    assert [(run.state, run.reason) for run in found(floor)[2:]] == [("waiting", "its workflow is held")]
    floor.ledger.do(workflows.release("flow", SYSTEM, floor.now_us))
    await floor.stage.turn()
    assert states(floor)[2] == "running"
    floor.work()
    add(floor, "limited", limits=Limits(runs_at_once=1))
    ask(floor, "four", "limited")
    ask(floor, "five", "limited")
    floor.place()
    await floor.stage.turn()
    floor.place()
    assert states(floor)[3:] == ["running", "waiting"]
    floor.work()
    floor.place()
    await floor.stage.turn()
    assert states(floor)[3:] == ["succeeded", "running"]


async def test_a_suspended_workflow_is_said_and_the_run_itself_cannot_be(floor: Floor) -> None:
    """The workflow is what is suspended; its run says so, and goes on with it."""
    add(floor)
    run = ask(floor)
    with pytest.raises(Conflict, match="understudy workflow suspend 1"):
        floor.ledger.do(checkpoints.suspend(run.number, SYSTEM, floor.now_us))
    floor.ledger.do(workflow_runs.suspend(1, SYSTEM, floor.now_us))
    floor.work()
    assert (states(floor), found(floor)[0].reason) == (["running"], "workflow run 1 is suspended: suspended by system")
    floor.ledger.do(workflow_runs.resume(1, SYSTEM, floor.now_us))
    floor.work()
    assert (states(floor), found(floor)[0].reason) == (["succeeded"], "")


async def test_a_job_gives_its_workflow_variables(floor: Floor) -> None:
    """The job's, over them its special instance's, over them those of one occurrence; variables by value."""
    floor.ledger.do(variables.put(variables.VariableSpec(name="place", value="/srv"), sealed, SYSTEM, floor.now_us))
    monthly = SpecialInstance(name="full", days=["2026-09-21"], environment={"KIND": "full"})
    given = {"KIND": "delta", "WHERE": "${{ place }}/dump"}
    add(floor, cron="*/5 * * * *", environment=given, special_instances=[monthly])
    run = ask(floor)
    assert floor.run(1).variables == {"KIND": "delta", "WHERE": "/srv/dump"}
    [schedule] = floor.ledger.connection.execute("SELECT id FROM schedules WHERE cron = '*/5 * * * *'").fetchall()
    once = exceptions.ExceptionSpec(schedule_id=schedule[0], instant_us=FIRST_US, environment={"WHERE": "/tmp"})
    floor.ledger.do(exceptions.put("nightly", once, SYSTEM, floor.now_us))
    await floor.stage.turn()
    await floor.stage.turn(FIRST_US - floor.now_us)
    assert floor.run(2).variables == {"KIND": "full", "WHERE": "/tmp", "UNDERSTUDY_INSTANCE": "full"}
    assert run.key == floor.run(1).key
    floor.place()
    told = [one.dispatch for one in floor.ledger.do(reconciliation.dispatch(floor.ids["alpha"], 1, floor.now_us))]
    assert ("delta", "/srv/dump") in [
        (one.specification.environment.get("KIND"), one.specification.environment.get("WHERE")) for one in told
    ]


def test_what_a_workflow_is_given_names_no_secret(floor: Floor) -> None:
    """It would stand in the clear, with the run: refused when it is saved, and when the variable would become one."""
    floor.ledger.do(variables.put(variables.VariableSpec(name="place", value="/srv"), sealed, SYSTEM, floor.now_us))
    word = variables.VariableSpec(name="word", value="hush-hush", secret=True)
    floor.ledger.do(variables.put(word, sealed, SYSTEM, floor.now_us))
    with pytest.raises(Invalid, match="secret"):
        add(floor, "one", environment={"A": "${{ word }}"})
    with pytest.raises(Invalid, match="cannot be the name"):
        add(floor, "two", environment={"UNDERSTUDY_A": "x"})
    add(floor, "three", environment={"A": "${{ place }}"})
    becomes = variables.VariableSpec(name="place", value="hush-hush", secret=True)
    with pytest.raises(Conflict, match="secret"):
        floor.ledger.do(variables.put(becomes, sealed, SYSTEM, floor.now_us))


def test_what_cannot_be_said_is_refused_by_name(floor: Floor) -> None:
    """Both kinds of doing, fields of steps, no such workflow, a circle through a job, a deletion, a changed command."""
    add(floor, cron="*/5 * * * *")
    with pytest.raises(Invalid, match="command belongs to the steps"):
        add(floor, "both", command="true", agent="alpha")
    with pytest.raises(NotFound, match="no workflow"):
        floor.ledger.do(jobs.create(jobs.JobSpec(name="x", workflow="nowhere"), SYSTEM, floor.now_us))
    with pytest.raises(Conflict, match=r"nightly begins flow.*understudy job delete nightly"):
        floor.ledger.do(workflows.delete("flow", SYSTEM, floor.now_us))
    circle = as_json(WorkflowSpec(name="round", steps=[WorkflowStep(name="a", job="nightly")]))
    with pytest.raises(Invalid, match="begins a workflow; name that workflow"):
        floor.ledger.do(workflows.create(circle, SYSTEM, floor.now_us))
    floor.job("plain")
    floor.workflow(WorkflowStep(name="a", job="plain"), name="uses-plain")
    with pytest.raises(Conflict, match="is a step of uses-plain"):
        floor.ledger.do(jobs.update("plain", jobs.JobSpec(name="plain", workflow="flow"), SYSTEM, floor.now_us))
    [schedule] = floor.ledger.connection.execute("SELECT id FROM schedules WHERE cron = '*/5 * * * *'").fetchall()
    other = exceptions.ExceptionSpec(schedule_id=schedule[0], instant_us=FIRST_US, command="false")
    with pytest.raises(Conflict, match="has no command"):
        floor.ledger.do(exceptions.put("nightly", other, SYSTEM, floor.now_us))
    floor.ledger.do(jobs.delete("nightly", SYSTEM, floor.now_us))
    floor.ledger.do(workflows.delete("flow", SYSTEM, floor.now_us))
    assert rows.count_open(floor.ledger.connection) == 0
