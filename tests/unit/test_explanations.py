"""Why a job runs when it does and why a run waits: every reason has words, every command that is named is there."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import click
import pytest

from scripts.understudy import understudy
from server.actions import explanations, gates, job_workflows, jobs, prerequisite_runs, runs
from server.actions.exceptions import ExceptionSpec, put
from server.core import explanations as say
from server.core import gates as gate_rules
from server.core.explanations import Explanation, Place
from server.core.limits import Limits
from server.core.model import SYSTEM, Gate
from server.core.run_states import RunState
from server.storage import jobs as job_rows
from server.storage import runs as run_rows
from tests.unit.group_site import Site
from tests.unit.ledger import START_US
from tests.unit.prerequisite_stage import PrerequisiteStage
from tests.unit.stage import Stage

ACTIONS = Path(runs.__file__).parent
WRITERS = ("runs", "pools", "retries", "reconciliation", "prerequisite_runs", "debts", "agents", "gates")
"""The actions that write why a run waits."""
NO_REASONS = {"UNMET", "NOT_CONNECTED", "NO_MEMBERS", "GONE"}
"""Words that they use and that no waiting run says: of ended runs and of members."""
EXAMPLES = {"prerequisites": "prerequisites: load completed", "limit: ": "limit: licence"}
PLACE = Place(run=7, job="backup", agent="north", group="web")


def constants() -> dict[str, str]:
    """The words of the core that these actions import."""
    found: dict[str, str] = {}
    for name in WRITERS:
        for node in ast.walk(ast.parse((ACTIONS / f"{name}.py").read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("server.core"):
                module = importlib.import_module(node.module or "")
                words = {one.name: getattr(module, one.name) for one in node.names if one.name.isupper()}
                found |= {name: word for name, word in words.items() if isinstance(word, str)}
    return found


def literals() -> set[str]:
    """What these actions write as they stand: the text of a step to `waiting`."""
    found = {
        job_workflows.HELD,
        "chosen again",
        "agent replaced",
        "agent disk full",
        "retry at 2026-09-21 13:33:20 UTC",
    }
    for name in WRITERS:
        for node in ast.walk(ast.parse((ACTIONS / f"{name}.py").read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if isinstance(node, ast.Call) and called in ("pools.release", "release", "_wait"):
                found |= {str(one.value) for one in node.args if isinstance(one, ast.Constant)}
    return found


def reasons() -> list[str]:
    """Every reason that a run may wait for."""
    named = [word for name, word in constants().items() if name not in NO_REASONS and word not in gate_rules.REASONS]
    made = ["no agent in group web", "no capacity in group web", "given back by north", "not deployed in group web"]
    return sorted({*named, *made, *literals(), *gate_rules.REASONS.values(), gate_rules.HELD})


@pytest.mark.parametrize("reason", reasons())
def test_every_reason_has_words(reason: str) -> None:
    """A reason that is new in the core and that an action writes needs a sentence here."""
    whole = EXAMPLES.get(reason, reason)
    assert say.knows(whole), f"{reason!r} has no line in server/core/explanations.py"
    told = say.of_waiting(whole, PLACE)
    assert told.text.endswith(".")
    assert "{" not in told.text
    check_command(told.command)


def test_reasons_are_found_in_the_source() -> None:
    """The walk sees those that there are, and a word that nobody explains is repeated and not known."""
    assert {"job held", "no agent", "a silent agent may have it", "limit: its turn is looked at"} <= set(reasons())
    assert not say.knows("moon in the wrong phase")
    assert "moon" in say.of_waiting("moon in the wrong phase", PLACE).text


def check_command(command: str) -> None:
    """The command that people are told to type is one."""
    if not command:
        return
    words = command.split()
    assert words.pop(0) == "understudy"
    here: click.Command = understudy
    with click.Context(here) as context:
        while isinstance(here, click.Group) and words:
            found = here.get_command(context, words[0])
            if found is None:
                break
            here = found
            words.pop(0)
        assert not isinstance(here, click.Group), f"{command!r} is no command"
        here.make_context("understudy", words)


def check(found: Explanation) -> str:
    """The whole explanation as text; each command in it is one."""
    for line in found.lines:
        assert line.text.endswith((".", "?")), line
        check_command(line.command)
    return "\n".join(f"{line.topic}: {line.text}" for line in found.lines)


def of_job(stage: Stage, name: str) -> str:
    job = job_rows.by_name(stage.ledger.connection, name)
    assert job is not None
    return check(explanations.of_job(stage.ledger.connection, job, stage.clock.now_us))


@pytest.mark.parametrize("kind", sorted(gate_rules.REASONS))
@pytest.mark.parametrize("agent", ["", "north"])
def test_every_gate_says_who_and_how_it_ends(kind: str, agent: str) -> None:
    """Of all agents and of one."""
    told = say.of_gate(Gate(kind=kind, agent_id=agent, set_by="ada", set_at_us=START_US, reason="move"), agent)
    assert "ada" in told.text
    assert "move" in told.text
    assert say.at(START_US) in told.text
    check_command(told.command.replace("AGENT", "north"))


@pytest.mark.parametrize("state", sorted(RunState))
@pytest.mark.parametrize("began", [True, False])
def test_every_state_has_a_sentence(state: str, began: bool) -> None:
    """Whether it began or not."""
    assert say.state_sentence(state, began).endswith(".")


def test_a_job_is_explained() -> None:
    """Its times in words with a skipped one, the hold and the lock by whom and why, and who starts it."""
    stage = Stage()
    stage.ledger.add_job()
    first_us: int = START_US // 300_000_000 * 300_000_000 + 300_000_000
    stage.ledger.do(put("backup", ExceptionSpec(instant_us=first_us, skip=True), SYSTEM, START_US, "fair"))
    stage.ledger.do(jobs.hold("backup", SYSTEM, START_US, "disk change"))
    stage.ledger.do(gates.lock("north", SYSTEM, START_US, "move"))
    said = of_job(stage, "backup")
    assert (
        f"Every 5 minutes in UTC. Next: {say.at(first_us)} (skipped by system: fair), {say.at(first_us + 300_000_000)},"
        in said
    )
    assert f"The job is held by system at {say.at(START_US)}: disk change." in said
    assert "The queue is locked: what falls due waits. Set for north by system" in said
    assert "one run makes up for all that are not older than 1 hour" in said
    assert "It has not run yet." in said


def test_a_waiting_run_says_what_lets_it_go() -> None:
    """A held job's run on request: who asked, the reason, and the gate that is in the way, with its command."""
    stage = Stage()
    stage.ledger.add_job(cron="")
    stage.ledger.do(gates.lock_all(SYSTEM, START_US, "move"))
    run = stage.ledger.do(runs.run_now("backup", "x", SYSTEM, START_US))
    found = explanations.of_run(stage.ledger.connection, run)
    said = check(found)
    assert "Asked for by system" in said
    assert "Reason: queue locked." in said
    assert "move" in said
    assert "understudy queue unlock --all" in [line.command for line in found.lines]


async def test_prerequisites_are_met_or_missing() -> None:
    """The one that is met says since when and by what; the other is named as missing. The master starts it."""
    stage = PrerequisiteStage("a completed and b completed")
    number = stage.begin("a")
    stage.reach(number, "succeeded")
    await stage.turn()
    said = of_job(stage, "t")
    assert f"Met: a completed, since {say.at(START_US)} by run {number}." in said
    assert "Missing: b completed." in said
    assert "The master starts it, because it waits for others." in said
    assert prerequisite_runs.REQUESTED_BY == "prerequisites"


def test_a_group_says_its_members_and_limits_their_holders() -> None:
    """The policy in words; a run that waits for its turn, and who holds the one place."""
    site = Site()
    site.job(limits=Limits(runs_at_once=1, priority=3))
    site.submit("one", "two")
    site.place()
    said = of_job(site.stage, "serve")
    assert "the member with the fewest runs of the group web: alpha; beta; gamma." in said
    assert "1 of 1 taken: serve #1 (1)." in said
    assert "Priority 3" in said
    second = run_rows.get(site.ledger.connection, 2)
    assert second is not None
    assert second.reason == "limit: runs of this job at once"
    text = check(explanations.of_run(site.ledger.connection, second))
    assert "1 of 1 held by serve #1" in text
