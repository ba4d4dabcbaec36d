"""Retries, resumptions, workflows and prerequisites at the same run: one next attempt, one consequence of each."""

from __future__ import annotations

import hashlib

import pytest

from server.actions import checkpoints, reconciliation, retries, runs, workflow_runs
from server.actions import happenings as follow_up
from server.core import agent_wire as wire
from server.core.checkpoints import CheckpointRule
from server.core.model import SYSTEM, Run
from server.core.retry import RetryRule
from server.core.workflows import Edge, Outcome
from server.errors import Conflict
from server.storage import jobs as job_rows
from server.storage import runs as run_rows
from tests.unit.floor import Floor, step
from tests.unit.ledger import START_US
from tests.unit.test_checkpoints import Running
from tests.unit.test_retries import RULE, Failing


@pytest.fixture
def floor() -> Floor:
    return Floor()


def dispatch(floor: Floor) -> str:
    """Send what alpha is to begin, without a report of it; its key."""
    floor.follow()
    floor.ledger.do(runs.submit_waiting(floor.now_us))
    floor.place()
    [one] = floor.ledger.do(reconciliation.dispatch(floor.ids["alpha"], 1, floor.now_us))
    floor.given[one.dispatch.key] = one.dispatch
    return one.dispatch.key


def test_a_step_so_short_that_its_begin_and_end_are_followed_together_is_tried_again(floor: Floor) -> None:
    """At the begin the row has failed already: that is not yet the step's failure, its rule has not been asked."""
    floor.workflow(step("a", retry=RetryRule(attempts_max=2, delay_s=0)), step("b", "a"))
    floor.start()
    key = dispatch(floor)
    floor.tell("alpha", key, wire.Begun(floor.given[key].specification, None, 1))
    floor.end(key, "bad")
    assert (floor.states(), floor.run().state) == (["open"], "running")
    floor.ledger.do(retries.begin_due(floor.now_us))
    assert floor.work() == ["a", "b"]
    assert floor.run().state == "succeeded"


def test_a_cancelled_workflow_lets_nothing_go_on_that_was_interrupted_before(floor: Floor) -> None:
    """The end was on its way through the outbox: it is not sent again, not even to be cancelled."""
    floor.workflow(step("a"))
    floor.start()
    [key] = floor.sent()
    job_id = floor.ledger.connection.execute("SELECT job_id FROM runs").fetchone()[0]
    job_rows.update(floor.ledger.connection, job_id, checkpoints=CheckpointRule(restartable=True))
    ended = wire.Ended(None, None, floor.now_us, floor.now_us, 0, False, "interrupted")
    floor.tell("alpha", key, ended)
    floor.ledger.do(workflow_runs.cancel(1, SYSTEM, floor.now_us))
    floor.follow()
    assert floor.ledger.count("runs") == 1


async def test_interruptions_use_up_no_attempt_of_the_rule() -> None:
    """Three attempts may fail: two that were interrupted and went on by themselves are not counted."""
    site = Failing(RULE, checkpoints=CheckpointRule(restartable=True))
    site.request()
    for _ in range(2):
        site.end(site.newest(), None, "interrupted")
        await site.stage.turn()
    assert site.newest().attempt == 3
    site.end(site.newest())
    await site.stage.turn()
    assert site.attempts()[3:] == [(4, "waiting")]


def resuming() -> tuple[Running, Run, Run]:
    """A run that was suspended, and the attempt as which it is to go on, not begun."""
    site = Running()
    site.save(1)
    site.end("suspended")
    again = site.site.ledger.do(checkpoints.resume(site.run.number, SYSTEM, START_US))
    return site, site.row(), again


def test_a_cancel_of_a_run_that_is_about_to_go_on_ends_what_it_goes_on_as() -> None:
    """The row that somebody looks at is the suspended one: that nothing of it begins is what is meant."""
    site, former, again = resuming()
    assert former.state == "resuming"
    site.site.ledger.do(runs.cancel(former.number, SYSTEM, START_US))
    while site.site.ledger.do(follow_up.follow(START_US)):
        pass
    assert site.given() == {}
    assert (site.row(again).state, site.row().state) == ("cancelled", "cancelled")


async def test_an_unknown_attempt_skips_no_retry_of_a_later_one() -> None:
    """The first was given up with its machine and went on; that one failed: its retry is not *another run*."""
    site = Failing(RULE, skip_if_running=True)
    first = site.request()
    run_rows.update(site.ledger.connection, first.number, dispatched_epoch=1)
    run_rows.set_state(site.ledger.connection, first.number, "unknown", START_US, "silent", given_up_at_us=START_US)
    key = first.key.replace(".a1", ".a2")
    agent_id = first.agent_id
    run_rows.insert(site.ledger.connection, key, site.job.id, agent_id, "x", "starting", START_US, attempt=2)
    site.end(site.newest())
    await site.stage.turn()
    await site.stage.turn(120_000_000)
    assert site.attempts()[2:] == [(3, "starting")]


def test_a_step_whose_failure_counts_already_is_not_gone_on_with_beside_its_workflow(floor: Floor) -> None:
    """What the workflow does about the failure has begun: only the workflow lets the step run again."""
    floor.workflow(step("a"), step("c", after=[Edge(step="a", on=Outcome.FAILED)]))
    floor.start()
    [key] = floor.sent()
    floor.tell("alpha", key, wire.Checkpointed(1, b"1", hashlib.sha256(b"1").hexdigest()))
    floor.end(key, "bad")
    run = run_rows.by_key(floor.ledger.connection, key)
    assert run is not None
    assert floor.states() == ["failed", "open"]
    with pytest.raises(Conflict, match="understudy workflow resume 1"):
        floor.ledger.do(checkpoints.resume(run.number, SYSTEM, floor.now_us))
