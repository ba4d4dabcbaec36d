"""What *skip if running* counts as running, and which request ids are the program's own."""

from __future__ import annotations

import pytest

from server.actions import reconciliation, runs, silence
from server.core.model import MINUTE_US, SYSTEM
from server.errors import Invalid
from server.storage import agents as agent_rows
from server.storage import runs as run_rows
from tests.unit.ledger import START_US, Ledger

LATER_US = START_US + 60 * MINUTE_US


def silent_run(give_up_after_s: int = 0) -> tuple[Ledger, int]:
    """A run that its silent agent may have, of a job that is skipped while one is open."""
    ledger = Ledger()
    agent = ledger.add_agent()
    agent_rows.update(ledger.connection, agent.id, version="1.0")
    more = {"may_run_twice": True, "give_up_after_s": give_up_after_s} if give_up_after_s else {}
    ledger.add_job(cron="", skip_if_running=True, **more)
    run = ledger.do(runs.run_now("backup", "first", SYSTEM, START_US))
    ledger.do(reconciliation.dispatch(agent.id, 1, START_US))
    ledger.do(reconciliation.fall_silent(agent.id, START_US, START_US))
    return ledger, run.number


def following(ledger: Ledger) -> str:
    """The state of the job's next run."""
    return ledger.do(runs.run_now("backup", "second", SYSTEM, LATER_US)).state


def test_an_unknown_run_is_running_as_far_as_anybody_knows() -> None:
    """Its agent may have it: the next one is skipped."""
    ledger, _ = silent_run()
    assert following(ledger) == "skipped"


def test_a_run_that_was_given_up_holds_nothing_up() -> None:
    """The job may run twice, and its keeper has killed the run by then: the next one waits for its agent."""
    ledger, number = silent_run(give_up_after_s=60)
    run = run_rows.get(ledger.connection, number)
    assert run is not None
    ledger.do(silence.give_up(run.agent_id, 600.0, LATER_US))
    assert following(ledger) == "waiting"


def test_a_run_of_a_dead_machine_holds_nothing_up() -> None:
    """It is unknown for ever: the job, given to another agent, is not skipped for it."""
    ledger, _ = silent_run()
    ledger.do(silence.declare_dead("north", SYSTEM, LATER_US))
    south = ledger.add_agent("south")
    ledger.connection.execute("UPDATE jobs SET agent_id = ?", (south.id,))
    assert following(ledger) == "starting"


@pytest.mark.parametrize("request_id", ["w5-0-0", "p-0123abc", "history-7"])
def test_request_ids_of_the_program_are_refused(request_id: str) -> None:
    """Taken by a person, a step or what prerequisites begin would be that person's run."""
    ledger = Ledger()
    ledger.add_agent()
    ledger.add_job(cron="")
    with pytest.raises(Invalid, match="Put another word before it"):
        ledger.do(runs.run_now("backup", request_id, SYSTEM, START_US))


@pytest.mark.parametrize("request_id", ["w5", "w5-0", "p", "people-1", "night-w5-0-0"])
def test_others_are_anybodys(request_id: str) -> None:
    """Only what the program makes itself is refused."""
    ledger = Ledger()
    ledger.add_agent()
    ledger.add_job(cron="")
    assert ledger.do(runs.run_now("backup", request_id, SYSTEM, START_US)).state == "starting"
