"""Workflows that run: every step once, in its order; interrupted, suspended, cancelled, repeated, inside each other."""

from __future__ import annotations

import pytest

from server.actions import gates, reconciliation, retries, runs, silence, workflow_engine, workflow_runs, workflows
from server.core import agent_wire as wire
from server.core.model import SECOND_US, SYSTEM
from server.core.retry import RetryRule
from server.core.workflow_runs import ItemName
from server.core.workflows import Edge, Join, Outcome, WorkflowSpec, WorkflowStep, as_json
from server.errors import Conflict, Invalid
from server.office.scheduler import look
from server.storage import agents as agent_rows
from server.storage import jobs as job_rows
from server.storage import workflow_runs as rows
from tests.unit.floor import Floor, step


@pytest.fixture
def floor() -> Floor:
    return Floor()


def test_steps_run_in_the_order_of_their_edges_each_once(floor: Floor) -> None:
    """A diamond: both branches after the first, the last after both; asked for twice it is one run."""
    floor.workflow(step("a"), step("b", "a"), step("c", "a"), step("d", "b", "c"))
    first = floor.start()
    assert floor.start().id == first.id
    assert floor.work() == ["a", "b", "c", "d"]
    assert floor.run().state == "succeeded"
    assert floor.states() == ["succeeded"] * 4
    assert floor.work() == []
    assert floor.ledger.count("runs") == 4


def test_a_step_has_its_names_variables_and_what_earlier_ones_told(floor: Floor) -> None:
    """The workflow's variables, the run's over them, outputs over those, the step's own over all."""
    many = step("many", "a", for_each=["x", "y"], environment={"OWN": "many"})
    floor.workflow(step("a"), many, step("z", "many"), variables={"PLACE": "here", "KIND": "full"})
    floor.start(KIND="short")
    [key] = floor.sent()
    assert floor.given[key].specification.environment == {
        "PLACE": "here",
        "KIND": "short",
        "UNDERSTUDY_WORKFLOW": "flow",
        "UNDERSTUDY_WORKFLOW_RUN": "1",
        "UNDERSTUDY_STEP": "a",
        "UNDERSTUDY_ITEM": "",
        "UNDERSTUDY_REQUESTED_BY": "system",
    }
    floor.end(key, SIZE="7", OWN="a")
    keys = floor.sent()
    told = [floor.given[key].specification.environment for key in keys]
    assert [(one["UNDERSTUDY_ITEM"], one["SIZE"], one["OWN"]) for one in told] == [
        ("x", "7", "many"),
        ("y", "7", "many"),
    ]
    floor.end(keys[0], AT="1")
    floor.end(keys[1], AT="2")
    [last] = floor.sent()
    told_last = floor.given[last].specification.environment
    assert (told_last["AT_0"], told_last["AT_1"], told_last["SIZE"]) == ("1", "2", "7")


def test_edges_by_outcome_and_joins(floor: Floor) -> None:
    """A failure goes to its handler, skips what came after success, and `any` begins once."""
    floor.workflow(
        step("a"),
        step("good", "a"),
        step("bad", after=[Edge(step="a", on=Outcome.FAILED)]),
        step("end", after=[Edge(step="good"), Edge(step="bad")], join=Join.ANY),
        step("side"),
        step("both", "good", "side"),
    )
    floor.start()
    assert sorted(floor.work(a="bad")) == ["a", "bad", "end", "side"]
    assert floor.states() == ["failed", "skipped", "succeeded", "succeeded", "succeeded", "skipped"]
    assert floor.run().state == "succeeded"
    floor.start(request="two")
    assert sorted(floor.work(good="bad")) == ["a", "good", "side"]
    assert (floor.run(2).state, floor.run(2).reason) == ("failed", "good: exit code 3")


def test_what_was_interrupted_runs_again_behind_the_checkpoint_where_it_may(floor: Floor) -> None:
    """b is the checkpoint; d is interrupted on its machine: c and d run again as attempt 2, a and b do not."""
    floor.workflow(
        step("a"), step("b", "a", checkpoint=True), step("c", "b", restartable=True), step("d", "c", restartable=True)
    )
    floor.start()
    floor.end(floor.sent()[0], A="1")
    floor.end(floor.sent()[0])
    floor.end(floor.sent()[0])
    floor.end(floor.sent()[0], "gone")
    keys = floor.sent()
    assert [key[-3:] for key in keys] == [".a2"]
    assert floor.given[keys[0]].specification.environment["A"] == "1"
    floor.end(keys[0])
    assert floor.work() == ["d"]
    assert floor.run().state == "succeeded"
    assert floor.ledger.count("runs") == 6


def test_what_may_not_restart_waits_for_a_decision_of_three_kinds(floor: Floor) -> None:
    """resume: behind the checkpoint; restart: that step alone; give up: it has failed. Each once, with an alarm."""
    expected = {"resume": (["c", "d"], "succeeded"), "restart": (["d"], "succeeded"), "give_up": (["f"], "succeeded")}
    for number, decision in enumerate(expected, 1):
        if number == 1:
            floor.workflow(
                step("b", checkpoint=True),
                step("c", "b"),
                step("d", "c"),
                step("f", after=[Edge(step="d", on=Outcome.FAILED)]),
            )
        floor.start(request=f"case-{number}")
        floor.work(d="gone")
        assert (floor.run(number).state, floor.run(number).reason) == (
            "deciding",
            "d: its process is gone without an exit status",
        )
        with pytest.raises(Conflict, match="does not wait for a decision"):
            floor.ledger.do(workflow_runs.give_up(number, SYSTEM, floor.now_us, step="c"))
        floor.ledger.do(getattr(workflow_runs, decision)(number, SYSTEM, floor.now_us))
        assert (floor.work(), floor.run(number).state) == expected[decision]
        assert floor.ledger.count("system_messages") == number


def test_a_silent_machine_decides_nothing_until_it_is_dead_for_certain(floor: Floor) -> None:
    """Silent: the step is unknown and nothing follows. Declared dead: it goes on elsewhere, in the group."""
    floor.workflow(step("a", checkpoint=True), step("b", "a", restartable=True), group="web", agent="")
    floor.start()
    floor.end(floor.sent()[0])
    [key] = floor.sent()
    name = floor.where(key)
    floor.connected.discard(floor.ids[name])
    agent_rows.update(floor.ledger.connection, floor.ids[name], ticket=1)
    floor.ledger.do(reconciliation.fall_silent(floor.ids[name], floor.now_us, floor.now_us))
    assert floor.sent() == []
    assert floor.states() == ["succeeded", "open"]
    floor.ledger.do(silence.declare_dead(name, SYSTEM, floor.now_us))
    [again] = floor.sent()
    assert again == key.replace(".a1", ".a2")
    assert floor.where(again) != name
    floor.tell(name, key, wire.Ended(0, None, 1, 2, 0, False))
    floor.follow()
    assert floor.states() == ["succeeded", "open"], "the late result of the first attempt is not the second one's"
    floor.end(again)
    assert floor.run().state == "succeeded"


def test_a_step_bound_to_a_dead_machine_is_moved_by_a_person(floor: Floor) -> None:
    """It cannot begin there: a decision is asked for, and `on` moves it."""
    floor.workflow(step("a"), step("b", "a", agent="beta"))
    agent_rows.update(floor.ledger.connection, floor.ids["beta"], dead_at_us=floor.now_us)
    floor.start()
    assert floor.work() == ["a"]
    assert floor.run().state == "deciding"
    assert "--on OTHER" in floor.run().reason
    with pytest.raises(Conflict, match="declared dead"):
        floor.ledger.do(workflow_runs.resume(1, SYSTEM, floor.now_us, on="beta"))
    floor.ledger.do(workflow_runs.restart(1, SYSTEM, floor.now_us, on="gamma"))
    [key] = floor.sent()
    assert floor.where(key) == "gamma"
    floor.end(key)
    assert floor.run().state == "succeeded"


def test_suspended_nothing_begins_and_resumed_it_goes_on(floor: Floor) -> None:
    """What runs ends; then it is suspended, until somebody resumes it."""
    floor.workflow(step("a"), step("b", "a"))
    floor.start()
    [key] = floor.sent()
    floor.ledger.do(workflow_runs.suspend(1, SYSTEM, floor.now_us))
    assert floor.run().state == "suspending"
    floor.end(key)
    assert (floor.run().state, floor.run().reason) == ("suspended", "suspended by system")
    assert floor.sent() == []
    floor.ledger.do(workflow_runs.resume(1, SYSTEM, floor.now_us))
    assert floor.work() == ["b"]
    assert floor.run().state == "succeeded"


def test_cancelled_it_ends_what_runs_and_can_go_on_later(floor: Floor) -> None:
    """A run at its agent is asked to end; what had not begun never does, until it is resumed."""
    floor.workflow(step("a", checkpoint=True), step("b", "a"), step("c", "b"))
    floor.start()
    floor.end(floor.sent()[0])
    [key] = floor.sent()
    floor.ledger.do(workflow_runs.cancel(1, SYSTEM, floor.now_us))
    assert floor.run().state == "cancelling"
    ended = wire.Ended(None, 15, floor.now_us, floor.now_us, 0, False, "cancelled")
    floor.tell("alpha", key, ended)
    assert floor.sent() == []
    assert floor.run().state == "cancelled"
    floor.ledger.do(workflow_runs.resume(1, SYSTEM, floor.now_us))
    assert floor.work() == ["b", "c"]
    assert floor.run().state == "succeeded"


def test_a_failed_run_goes_on_behind_its_checkpoint(floor: Floor) -> None:
    """c failed and d was skipped: resumed, b and c run again, d after them; a is the checkpoint."""
    floor.workflow(step("a", checkpoint=True), step("b", "a"), step("c", "b"), step("d", "c"))
    floor.start()
    assert floor.work(c="bad") == ["a", "b", "c"]
    floor.ledger.do(workflow_runs.resume(1, SYSTEM, floor.now_us))
    assert floor.work() == ["b", "c", "d"]
    assert floor.run().state == "succeeded"


def test_a_workflow_inside_another_gives_back_its_outputs_and_is_stopped_with_it(floor: Floor) -> None:
    """The inner one has the outer one's variables; cancelled outside, the inner one ends too; resumed, both go on."""
    floor.workflow(step("x"), step("y", "x"), name="inner")
    floor.workflow(WorkflowStep(name="sub", workflow="inner"), step("after", "sub"), variables={"PLACE": "here"})
    floor.start()
    [key] = floor.sent()
    assert floor.given[key].specification.environment["PLACE"] == "here"
    floor.end(key, X="1")
    [key] = floor.sent()
    floor.ledger.do(workflow_runs.cancel(1, SYSTEM, floor.now_us))
    floor.tell("alpha", key, wire.Ended(None, 15, 1, 2, 0, False, "cancelled"))
    floor.follow()
    assert (floor.run(1).state, floor.run(2).state) == ("cancelled", "cancelled")
    floor.ledger.do(workflow_runs.resume(1, SYSTEM, floor.now_us))
    keys = floor.sent()
    assert [floor.step_of(one) for one in keys] == ["x"], "there is no checkpoint: from the start"
    floor.end(keys[0], X="2")
    floor.end(floor.sent()[0], Y="3")
    [last] = floor.sent()
    told = floor.given[last].specification.environment
    assert (told["X"], told["Y"]) == ("2", "3")
    floor.end(last)
    assert (floor.run(1).state, floor.run(2).state) == ("succeeded", "succeeded")


def test_a_workflow_that_takes_too_long_is_ended(floor: Floor) -> None:
    """At its deadline the scheduler ends what runs; it has failed, and says why."""
    floor.workflow(step("a"), step("b", "a"), timeout_s=60)
    floor.start()
    [key] = floor.sent()
    deadline_us = floor.now_us + 60 * SECOND_US
    assert look(floor.ledger.connection, floor.now_us).deadline_us <= deadline_us
    assert floor.ledger.do(workflow_engine.time_out(deadline_us - 1)) == 0
    assert floor.ledger.do(workflow_engine.time_out(deadline_us)) == 1
    floor.tell("alpha", key, wire.Ended(None, 15, 1, 2, 0, False, "cancelled"))
    floor.follow()
    assert (floor.run().state, floor.run().reason) == ("failed", "it ran longer than its timeout")


def test_steps_with_a_job_run_that_job_and_its_gates_hold_them(floor: Floor) -> None:
    """A named job's run is the step's; a locked queue lets it wait; it is watched only while awaited."""
    floor.ledger.add_job("nightly", cron="", agent="beta", environment={"KIND": "job", "OTHER": "job"})
    floor.workflow(WorkflowStep(name="a", job="nightly"), variables={"KIND": "flow"})
    floor.ledger.do(gates.lock_all(SYSTEM, floor.now_us, "test"))
    floor.start()
    assert floor.sent() == []
    assert [row.reason for row in rows.items(floor.ledger.connection, 1)] == ["queue locked"]
    floor.ledger.do(gates.unlock_all(SYSTEM, floor.now_us))
    [key] = floor.sent()
    told = floor.given[key].specification.environment
    assert (told["KIND"], told["OTHER"]) == ("flow", "job")
    floor.end(key)
    assert floor.run().state == "succeeded"
    assert floor.ledger.count("watches") == 0


def test_jobs_of_steps_are_in_no_list_and_their_runs_are_not_repeated_by_themselves(floor: Floor) -> None:
    """People find neither the job nor a way to run the step beside its workflow."""
    floor.workflow(step("a"))
    floor.start()
    floor.work(a="bad")
    connection = floor.ledger.connection
    assert (job_rows.count(connection), job_rows.page(connection), job_rows.lines(connection)) == (0, [], [])
    assert job_rows.by_name(connection, "flow@1/a") is None
    assert job_rows.count_of_agent(connection, floor.ids["alpha"]) == 0
    with pytest.raises(Conflict, match="understudy workflow resume 1"):
        floor.ledger.do(runs.rerun(1, SYSTEM, floor.now_us))


def test_a_step_is_open_while_its_rule_makes_further_attempts(floor: Floor) -> None:
    """Failed once, tried again by the rule after its wait; cancelled meanwhile, the waiting attempt is ended."""
    floor.workflow(step("a", retry=RetryRule(attempts_max=3, delay_s=0)), step("b", "a"))
    floor.start()
    floor.end(floor.sent()[0], "bad")
    assert floor.states() == ["open"]
    floor.ledger.do(retries.begin_due(floor.now_us))
    [key] = floor.sent()
    assert key.endswith(".a2")
    floor.end(key)
    assert floor.work() == ["b"]
    floor.start(request="two")
    floor.end(floor.sent()[0], "bad")
    floor.ledger.do(workflow_runs.cancel(2, SYSTEM, floor.now_us))
    floor.follow()
    assert floor.run(2).state == "cancelled"
    assert floor.ledger.count("runs", "state = 'waiting'") == 0


def test_a_run_goes_on_with_the_version_that_it_began_with(floor: Floor) -> None:
    """Changed meanwhile, the old run ends as before; the next one is of the new version."""
    floor.workflow(step("a"), step("b", "a"))
    floor.start()
    [key] = floor.sent()
    spec = WorkflowSpec(name="flow", agent="alpha", steps=[step("a"), step("new", "a")])
    floor.ledger.do(workflows.update("flow", as_json(spec), SYSTEM, floor.now_us))
    floor.end(key)
    assert floor.work() == ["b"]
    floor.start(request="two")
    assert floor.work() == ["a", "new"]


def test_what_cannot_be_is_refused_with_what_to_do(floor: Floor) -> None:
    """A held workflow, names that no variable can have, another workflow's request, a run that has ended."""
    floor.workflow(step("a"))
    floor.workflow(step("a"), name="other")
    for name in ("UNDERSTUDY_X", "9", "a b", ""):
        with pytest.raises(Invalid):
            floor.start(request="bad", **{name: "x"})
    floor.ledger.do(workflows.hold("flow", SYSTEM, floor.now_us))
    with pytest.raises(Conflict, match="understudy workflow release flow"):
        floor.start()
    floor.ledger.do(workflows.release("flow", SYSTEM, floor.now_us))
    floor.start()
    with pytest.raises(Conflict, match="another workflow"):
        floor.start("other")
    floor.work()
    for action in (workflow_runs.suspend, workflow_runs.resume, workflow_runs.restart, workflow_runs.give_up):
        with pytest.raises(Conflict):
            floor.ledger.do(action(1, SYSTEM, floor.now_us))
    assert floor.ledger.do(workflow_runs.cancel(1, SYSTEM, floor.now_us)).state == "succeeded"


def test_more_outputs_than_an_environment_holds_stop_the_step_that_would_get_them(floor: Floor) -> None:
    """It waits for a decision and says why, instead of failing at the machine."""
    floor.workflow(step("a", for_each=[str(n) for n in range(5)]), step("b", "a"))
    floor.start()
    for key in floor.sent():
        floor.end(key, BIG="x" * 60_000)
    assert floor.sent() == []
    assert "more than 262144 bytes" in floor.run().reason
    row = rows.item(floor.ledger.connection, ItemName(1, 1, 0))
    assert row is not None
    assert row.state == "lost"
