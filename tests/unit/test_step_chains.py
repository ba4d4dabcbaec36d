"""Workflows whose steps stay on one agent, by master and agent together: each step once, whoever begins it (JS7-4)."""

from __future__ import annotations

import sqlite3

import pytest

from server.actions import agents, debts, gates, retries, silence, workflow_runs
from server.actions.workflows import hold
from server.core import agent_wire as wire
from server.core.chain_messages import Chain
from server.core.model import SYSTEM
from server.core.retry import RetryRule
from server.core.workflows import Edge, Outcome
from server.storage import runs as run_rows
from server.storage import step_chains as chain_rows
from server.web.api.workflow_runs import view
from tests.unit.chain_floor import ChainFloor
from tests.unit.floor import step


@pytest.fixture
def floor() -> ChainFloor:
    return ChainFloor()


def three(floor: ChainFloor, **more: object) -> None:
    """Steps a, b, c on alpha, d on beta, each after the one before; the first one runs."""
    floor.workflow(step("a", **more), step("b", "a", **more), step("c", "b", **more), step("d", "c", agent="beta"))
    floor.start()
    floor.pump()
    assert floor.began() == ["a1"]


def chain(floor: ChainFloor, name: str = "alpha") -> Chain | None:
    """What the agent holds."""
    return next((kept.chain for kept in floor.worlds[name].disk.chains.values()), None)


def links(floor: ChainFloor) -> list[str]:
    """The steps that alpha may begin by itself."""
    held = chain(floor)
    return [one.name for one in held.steps if one.specification is not None] if held is not None else []


def test_the_chain_holds_what_stays_on_the_agent(floor: ChainFloor) -> None:
    """Not what runs elsewhere, on a group, for each, as a job or as a workflow; nor what comes after that."""
    floor.job("named")
    floor.workflow(step("x"), name="inner")
    floor.workflow(
        step("a"),
        step("ok", "a"),
        step("also", "a", "ok"),
        step("caught", after=[Edge(step="ok", on=Outcome.FAILED)]),
        step("far", "a", agent="beta"),
        step("group", "a", agent="", group="web"),
        step("each", "a", for_each=["1", "2"]),
        step("job", "a", command="", job="named"),
        step("sub", "a", command="", workflow="inner"),
        step("behind", "ok", "far"),
        step("later", "each"),
    )
    floor.start()
    floor.pump()
    assert links(floor) == ["ok", "also", "caught"]


def test_a_connected_agent_goes_on_by_itself_and_each_step_is_once(floor: ChainFloor) -> None:
    """The rows are as if the master had begun them: attempt 1, of the workflow's run, asked for by it."""
    three(floor)
    for name in "abc":
        floor.finish("alpha", name)
    floor.finish("beta", "d")
    assert floor.began("alpha") == ["a1", "b1", "c1"]
    assert floor.began("beta") == ["d1"]
    assert floor.run().state == "succeeded"
    assert floor.ledger.count("runs", "workflow_run = 1 AND requested_by = 'workflow 1' AND attempt = 1") == 4
    assert floor.ledger.count("runs") == 4
    assert floor.ledger.count("step_chains") == 0


def test_without_a_master_the_steps_go_on_and_the_other_agent_waits(floor: ChainFloor) -> None:
    """JS7-1, JS7-4: a, b and c run while nobody is connected; d begins once the agent has come back."""
    three(floor)
    floor.cut("alpha")
    for name in "abc":
        floor.finish("alpha", name)
    assert floor.began() == ["a1", "b1", "c1"]
    assert floor.states() == ["open"]
    shown = view(floor.ledger.connection, 1)
    assert shown.items[0].run_state == "unknown"
    assert list(shown.waits) == ["b", "c", "d"]
    assert shown.waits["b"].startswith("may have begun by itself on alpha")
    assert shown.waits["d"] == "waiting for master: alpha is silent, and has not told how c ended"
    floor.cut("beta")
    floor.connect("alpha")
    assert view(floor.ledger.connection, 1).waits == {}
    assert floor.states() == ["succeeded"] * 3 + ["open"]
    assert view(floor.ledger.connection, 1).items[-1].reason.startswith("no agent: beta is silent")
    floor.connect("beta")
    floor.finish("beta", "d")
    assert floor.run().state == "succeeded"
    assert floor.began() == ["a1", "b1", "c1", "d1"]


@pytest.mark.parametrize("done", range(3))
def test_another_master_finds_them_as_they_are(floor: ChainFloor, done: int) -> None:
    """A failover after any number of them: nothing is begun again, and the chain is given again."""
    three(floor)
    floor.next_office()
    for name in "abc"[:done]:
        floor.finish("alpha", name)
    floor.connect("alpha")
    floor.connect("beta")
    assert links(floor) == ["b", "c"][done:]
    floor.cut("alpha")
    for name in "abc"[done:]:
        floor.finish("alpha", name)
    floor.connect("alpha")
    floor.finish("beta", "d")
    assert floor.began() == ["a1", "b1", "c1", "d1"]
    assert floor.run().state == "succeeded"


def test_outputs_are_the_same_whoever_begins_the_step(floor: ChainFloor) -> None:
    """What b is given is byte for byte what the master would have told it."""
    found = []
    for stays in (True, False):
        floor = ChainFloor()
        own = {"OWN": "b", "SHARED": "step"}
        floor.workflow(
            step("z", agent="beta"),
            step("a", "z"),
            step("b", "a", "z", environment=own),
            variables={"PLACE": "here", "KIND": "full"},
        )
        floor.start(KIND="short", MORE="1")
        floor.pump()
        floor.finish("beta", "z", SIZE="1", FROM="z", SHARED="z")
        if not stays:
            floor.connect("alpha")
            floor.ledger.do(gates.lock("alpha", SYSTEM, floor.now_us))
            floor.worlds["alpha"].hear(wire.SetGates(wire.GateSet(9, ("queue_locked",))))
        floor.finish("alpha", "a", SIZE="2", OWN="a", MORE="2")
        if not stays:
            assert floor.began("alpha") == ["a1"]
            floor.worlds["alpha"].hear(wire.SetGates(wire.GateSet(10)))
            floor.ledger.do(gates.unlock("alpha", SYSTEM, floor.now_us))
            floor.pump()
        assert floor.began("alpha") == ["a1", "b1"]
        [run] = [one for one in floor.worlds["alpha"].disk.runs.values() if one.key in floor.running("alpha")]
        found.append(run.specification)
    assert found[0] == found[1]
    environment = found[0].environment
    assert (environment["SIZE"], environment["FROM"], environment["SHARED"]) == ("2", "z", "step")
    assert (environment["OWN"], environment["KIND"], environment["MORE"]) == ("b", "short", "2")


def test_outputs_of_a_step_that_the_agent_began_reach_the_next_agent(floor: ChainFloor) -> None:
    """They are kept with the item, although its run was heard of by the end of the one before."""
    three(floor)
    floor.cut("alpha")
    floor.finish("alpha", "a")
    floor.finish("alpha", "b", SIZE="7")
    floor.finish("alpha", "c")
    floor.connect("alpha")
    [run] = [one for one in floor.worlds["beta"].disk.runs.values() if one.key in floor.running("beta")]
    assert run.specification.environment["SIZE"] == "7"


def test_a_cancel_while_the_agent_is_away(floor: ChainFloor) -> None:
    """It is delivered on return: what began is told and stopped, nothing more begins."""
    three(floor)
    floor.cut("alpha")
    floor.ledger.do(workflow_runs.cancel(1, SYSTEM, floor.now_us))
    assert floor.run().state == "cancelling"
    floor.finish("alpha", "a")
    assert floor.began() == ["a1", "b1"]
    floor.connect("alpha")
    assert floor.run().state == "cancelling"
    assert floor.states() == ["succeeded", "open"]
    assert floor.worlds["alpha"].stops == [next(iter(floor.running("alpha")))]
    assert not floor.worlds["alpha"].disk.chains
    floor.finish("alpha", "b")
    assert floor.run().state == "cancelled"
    assert floor.began() == ["a1", "b1"]


def test_a_cancel_that_crosses_an_end(floor: ChainFloor) -> None:
    """Cancelled while a's end, which began b, is under way: b is its workflow's, and is stopped."""
    three(floor)
    world = floor.worlds["alpha"]
    [key] = floor.running("alpha")
    world.do(world.session.ended(key, world.end(0), world.now))
    floor.ledger.do(workflow_runs.cancel(1, SYSTEM, floor.now_us))
    floor.pump()
    assert floor.began() == ["a1", "b1"]
    assert floor.run().state == "cancelling"
    floor.finish("alpha", "b")
    assert floor.began() == ["a1", "b1"]
    assert floor.run().state == "cancelled"


def test_a_suspension_while_the_agent_is_away(floor: ChainFloor) -> None:
    """What began goes to its next checkpoint or its end; nothing more begins until somebody resumes it."""
    three(floor)
    floor.cut("alpha")
    floor.ledger.do(workflow_runs.suspend(1, SYSTEM, floor.now_us))
    floor.finish("alpha", "a")
    floor.ledger.do(workflow_runs.resume(1, SYSTEM, floor.now_us, "", "b", "beta"))
    floor.ledger.do(workflow_runs.suspend(1, SYSTEM, floor.now_us))
    floor.connect("alpha")
    assert floor.run().state == "suspending"
    floor.finish("alpha", "b")
    assert floor.run().state == "suspended"
    assert floor.began() == ["a1", "b1"], "b was moved by a person after it had begun here"
    floor.ledger.do(workflow_runs.resume(1, SYSTEM, floor.now_us))
    floor.pump()
    floor.finish("alpha", "c")
    assert floor.began() == ["a1", "b1", "c1", "d1"]


def test_a_step_that_was_moved_while_the_agent_was_away_runs_where_it_began_or_where_it_was_moved(
    floor: ChainFloor,
) -> None:
    """Not begun here: it runs at its new place. The chain that still named it is dropped first."""
    three(floor)
    floor.cut("alpha")
    floor.ledger.do(workflow_runs.suspend(1, SYSTEM, floor.now_us))
    floor.ledger.do(workflow_runs.resume(1, SYSTEM, floor.now_us, "", "b", "beta"))
    floor.connect("alpha")
    floor.finish("alpha", "a")
    assert floor.began("alpha") == ["a1"]
    assert floor.began("beta") == ["b1"]


def test_gates_are_the_masters(floor: ChainFloor) -> None:
    """Locked while a runs: b is not begun by the agent, waits at the master with the reason, and goes on."""
    three(floor)
    floor.ledger.do(gates.lock("alpha", SYSTEM, floor.now_us))
    floor.worlds["alpha"].hear(wire.SetGates(wire.GateSet(9, ("queue_locked",))))
    floor.finish("alpha", "a")
    [line] = run_rows.page(floor.ledger.connection, state="waiting")
    assert (line.key.split("-")[1], line.reason) == ("1", "queue locked")
    floor.worlds["alpha"].hear(wire.SetGates(wire.GateSet(10)))
    floor.ledger.do(gates.unlock("alpha", SYSTEM, floor.now_us))
    floor.pump()
    assert floor.began("alpha") == ["a1", "b1"]
    assert links(floor) == ["c"], "its dispatch carries the rest of the chain"


def test_a_held_workflow_that_runs_goes_on(floor: ChainFloor) -> None:
    """Held, it begins no further runs of itself; steps of this one go on, by whomever they are begun."""
    three(floor)
    floor.ledger.do(hold("flow", SYSTEM, floor.now_us))
    floor.finish("alpha", "a")
    assert floor.began() == ["a1", "b1"]


def test_a_failure_that_is_repeated_is_the_masters(floor: ChainFloor) -> None:
    """The agent begins nothing behind it; the attempt after it has the chain again."""
    three(floor, retry=RetryRule(attempts_max=2, delay_s=0))
    floor.finish("alpha", "a", 3)
    floor.ledger.do(retries.begin_due(floor.now_us))
    floor.pump()
    assert floor.began() == ["a1", "a2"]
    floor.cut("alpha")
    floor.finish("alpha", "a")
    assert floor.began() == ["a1", "a2", "b1"]
    floor.connect("alpha")
    assert floor.states() == ["succeeded", "open"]


def test_an_interrupted_step_is_decided_by_the_master_and_runs_with_a_new_chain(floor: ChainFloor) -> None:
    """Restartable: again by itself; the steps behind it get the keys of their first attempts, since none began."""
    three(floor, restartable=True)
    floor.finish("alpha", "a", None, "interrupted")
    assert floor.began() == ["a1", "a2"]
    floor.cut("alpha")
    floor.finish("alpha", "a")
    floor.connect("alpha")
    assert floor.began() == ["a1", "a2", "b1"]


@pytest.mark.parametrize("restartable", [True, False])
def test_a_machine_that_is_declared_dead_may_have_run_its_chain(floor: ChainFloor, restartable: bool) -> None:
    """b and c may have begun there: they are unknown, and run elsewhere only if they may, as their next attempts."""
    three(floor, restartable=restartable)
    floor.cut("alpha")
    floor.finish("alpha", "a")
    floor.ledger.do(silence.declare_dead("alpha", SYSTEM, floor.now_us))
    floor.follow()
    assert floor.states() == (["lost", "again", "again"] if restartable else ["lost"] * 3)
    assert floor.ledger.count("runs", "state = 'unknown'") == 3
    assert floor.run().state == "deciding"
    for name in "abc":
        floor.ledger.do(workflow_runs.restart(1, SYSTEM, floor.now_us, "", name, "beta"))
        floor.pump()
        floor.finish("beta", name)
    floor.finish("beta", "d")
    assert floor.run().state == "succeeded"
    assert floor.began("beta") == ["a2", "b2", "c2", "d1"]
    assert floor.began("alpha") == ["a1", "b1"]


def test_a_dead_machine_that_returns_tells_what_it_ran(floor: ChainFloor) -> None:
    """Accepted again, its reports answer the unknown runs; the workflow goes by the later attempts."""
    three(floor)
    floor.cut("alpha")
    floor.finish("alpha", "a")
    floor.ledger.do(silence.declare_dead("alpha", SYSTEM, floor.now_us))
    floor.follow()
    for name in "abc":
        floor.ledger.do(workflow_runs.restart(1, SYSTEM, floor.now_us, "", name, "beta"))
    floor.pump()
    floor.finish("beta", "a")
    floor.ledger.do(agents.accept_restored("alpha", SYSTEM, floor.now_us))
    floor.connect("alpha")
    connection = floor.ledger.connection
    told = {key: state for key, state in connection.execute("SELECT key, state FROM runs ORDER BY number")}
    by_step = {f"{key.split('-')[1]}{key.rpartition('.')[2]}": state for key, state in told.items()}
    assert (by_step["0a1"], by_step["0a2"], by_step["1a2"]) == ("succeeded", "succeeded", "running")
    assert by_step["1a1"] in ("running", "interrupted", "succeeded", "unknown")
    assert not floor.worlds["alpha"].disk.chains


def test_a_workflow_past_its_deadline_begins_nothing(floor: ChainFloor) -> None:
    """The agent knows when the workflow's time is over, and leaves it to the master, who ends it."""
    floor.workflow(step("a"), step("b", "a"), timeout_s=60)
    floor.start()
    floor.pump()
    floor.cut("alpha")
    floor.worlds["alpha"].wall_us += 61_000_000
    floor.worlds["alpha"].boot_us += 61_000_000
    floor.finish("alpha", "a")
    assert floor.began() == ["a1"]


def test_a_report_of_a_step_whose_rows_a_loss_took_is_the_steps(floor: ChainFloor) -> None:
    """The dispatch of a, the chain and all that followed are lost with a master; the run of the workflow is not."""
    floor.workflow(step("a"), step("b", "a"), step("c", "b"))
    floor.start()
    floor.follow()
    held = sqlite3.connect(":memory:")
    floor.ledger.connection.backup(held)
    floor.pump()
    floor.finish("alpha", "a", SIZE="1")
    floor.finish("alpha", "b")
    floor.cut("alpha")
    world = floor.worlds["alpha"]
    for report in [m for m in world.told(wire.Report) if isinstance(m, wire.Report)]:
        world.disk.reports[report.id] = report  # a master that writes alone acknowledged them: the spool kept them
    world.start()
    held.backup(floor.ledger.connection)
    held.close()
    debts.incur(floor.ledger.connection, floor.now_us)
    floor.office += 1
    floor.connect("alpha")
    assert floor.states() == ["succeeded", "succeeded", "open"]
    floor.finish("alpha", "c")
    assert floor.began() == ["a1", "b1", "c1"]
    assert floor.run().state == "succeeded"


def test_what_was_told_is_forgotten_when_the_workflow_has_ended(floor: ChainFloor) -> None:
    """Rows of chains do not outlive the workflow's run."""
    three(floor)
    assert len(chain_rows.of_run(floor.ledger.connection, 1)) == 1
    floor.finish("alpha", "a", 3)
    assert floor.run().state == "failed"
    assert floor.ledger.count("step_chains") == 0
