"""Retries: the next attempt of what failed, once, at its time, behind every gate (SKY-14, SKY-15)."""

from __future__ import annotations

import itertools

import pytest

from server.actions import gates, happenings, jobs, reports, retries, runs
from server.core import agent_wire as wire
from server.core.model import SECOND_US, SYSTEM, Job, Run
from server.core.retry import Retry, RetryRule, decide
from server.core.run_states import ENDED, RunState
from server.errors import Conflict
from server.storage import missed
from server.storage import runs as run_rows
from tests.unit.group_site import Site
from tests.unit.ledger import START_US
from tests.unit.stage import Stage

RULE = RetryRule(attempts_max=3, delay_s=60, factor=2.0)


class Failing:
    """A stage with one job; its runs end as the test says, reported by its agent."""

    def __init__(self, rule: RetryRule = RULE, **more: object) -> None:
        self.stage = Stage()
        self.ledger = self.stage.ledger
        self.job: Job = self.ledger.add_job("flaky", cron="", retry=rule, **more)
        self._numbers = itertools.count(1)

    def request(self) -> Run:
        return self.ledger.do(runs.run_now("flaky", "x", SYSTEM, self.stage.clock.now_us))

    def end(self, run: Run, code: int | None = 1, cause: str = "", signal: int | None = None) -> None:
        at_us = self.stage.clock.now_us
        run_rows.update(self.ledger.connection, run.number, dispatched_epoch=1)
        begun = wire.Begun(wire.Specification(job_id=self.job.id, job_name="flaky", command="x"), None, run.attempt)
        for body in (begun, wire.Ended(code, signal, at_us, at_us, 0, False, cause)):
            self.ledger.do(
                reports.record(run.agent_id, [wire.Report(next(self._numbers), run.key, at_us, body)], 1, at_us)
            )

    def attempts(self) -> list[tuple[int, str]]:
        found = run_rows.page(self.ledger.connection, job_id=self.job.id)
        return [(line.attempt, line.state) for line in reversed(found)]

    def newest(self) -> Run:
        found = run_rows.get(self.ledger.connection, run_rows.page(self.ledger.connection, limit=1)[0].number)
        assert found is not None
        return found


def run_that(state: str, **more: object) -> Run:
    """A run's row in `state`, attempt 1, exit code 1, as far as the decision looks at it."""
    values: dict[str, object] = dict.fromkeys(Run.__struct_fields__)
    known = {"state": state, "attempt": 1, "exit_code": 1, "cancel_requested_at_us": None, "given_up_at_us": None}
    return Run(**{**values, **known, **more})  # type: ignore[arg-type]  # only what is looked at has its type


def test_what_is_repeated_as_a_table() -> None:
    """Failures and timeouts are; nothing that may have done its work, was asked to end, or did not begin."""
    repeated = {state for state in RunState if decide(run_that(state), RULE) is not None}
    assert repeated == {"failed", "killed"}
    assert decide(run_that("failed"), RULE) == Retry(2, 60 * SECOND_US)
    assert decide(run_that("failed", attempt=2), RULE) == Retry(3, 120 * SECOND_US)
    assert decide(run_that("failed", attempt=3), RULE) is None
    assert decide(run_that("failed"), RetryRule()) is None
    for asked in ({"cancel_requested_at_us": 1}, {"given_up_at_us": 1}):
        assert decide(run_that("killed", **asked), RULE) is None
        assert decide(run_that("failed", **asked), RULE) is None
    only = RetryRule(attempts_max=3, exit_codes=[75])
    assert [decide(run_that("failed", exit_code=code), only) is not None for code in (75, 1, None)] == [
        True,
        False,
        False,
    ]


async def test_a_failing_job_is_tried_until_its_last_attempt() -> None:
    """Three attempts, 60 and 120 s apart by the scheduler's own deadline; the last failure is final."""
    site = Failing()
    run, ended_us = site.request(), site.stage.clock.now_us
    site.end(run)
    deadline_us = await site.stage.turn()
    second = site.newest()
    assert (second.state, second.reason) == ("waiting", "retry at 2026-09-21 14:14:20 UTC")
    assert deadline_us == second.begin_after_us == ended_us + 60 * SECOND_US
    await site.stage.turn(59 * SECOND_US)
    assert site.newest().state == "waiting"
    await site.stage.turn(SECOND_US)
    assert (site.newest().state, site.newest().begin_after_us) == ("starting", None)
    site.end(site.newest())
    await site.stage.turn()
    await site.stage.turn(120 * SECOND_US)
    site.end(site.newest(), 7)
    await site.stage.turn(3600 * SECOND_US)
    assert site.attempts() == [(1, "failed"), (2, "failed"), (3, "failed")]
    assert retries.is_final(site.ledger.connection, site.newest())
    assert not retries.is_final(site.ledger.connection, second)


async def test_success_ends_it_and_a_person_may_repeat_it_still() -> None:
    """The second attempt succeeds: no third; a rerun by hand is the third one."""
    site = Failing()
    site.end(site.request())
    await site.stage.turn()
    first = site.newest()
    with pytest.raises(Conflict, match="waiting"):
        site.ledger.do(runs.rerun(first.number, SYSTEM, site.stage.clock.now_us))
    await site.stage.turn(60 * SECOND_US)
    site.end(site.newest(), 0)
    await site.stage.turn(60 * SECOND_US)
    assert site.attempts() == [(1, "failed"), (2, "succeeded")]
    again = site.ledger.do(runs.rerun(first.number, SYSTEM, site.stage.clock.now_us))
    assert (again.attempt, again.state) == (3, "starting")


async def test_a_failure_is_followed_once_however_often() -> None:
    """The same happening again, as a failover between commit and answer shows it, writes no second attempt."""
    site = Failing()
    site.end(site.request())
    site.ledger.connection.execute("CREATE TEMP TABLE kept AS SELECT * FROM happenings")
    await site.stage.turn()
    site.ledger.connection.execute("INSERT INTO happenings SELECT * FROM kept")
    site.ledger.do(happenings.follow(site.stage.clock.now_us))
    assert site.attempts() == [(1, "failed"), (2, "waiting")]


async def test_a_gate_and_a_hold_stop_a_retry_that_is_due() -> None:
    """Due under a locked queue it waits for that; unlocked it goes; a cancelled one never does."""
    site = Failing()
    site.end(site.request())
    await site.stage.turn()
    site.ledger.do(gates.lock_all(SYSTEM, site.stage.clock.now_us))
    await site.stage.turn(61 * SECOND_US)
    assert (site.newest().state, site.newest().reason) == ("waiting", "queue locked")
    site.ledger.do(gates.unlock_all(SYSTEM, site.stage.clock.now_us))
    await site.stage.turn()
    assert site.newest().state == "starting"
    site.end(site.newest())
    await site.stage.turn()
    site.ledger.do(runs.cancel(site.newest().number, SYSTEM, site.stage.clock.now_us))
    await site.stage.turn(3600 * SECOND_US)
    assert site.attempts()[-1] == (3, "cancelled")


async def test_no_change_of_gates_lets_it_go_before_its_time() -> None:
    """A lock and an unlock while it waits, and another submission: it still waits for its time."""
    site = Failing()
    site.end(site.request())
    await site.stage.turn()
    site.ledger.do(gates.lock_all(SYSTEM, site.stage.clock.now_us))
    await site.stage.turn()
    site.ledger.do(gates.unlock_all(SYSTEM, site.stage.clock.now_us))
    await site.stage.turn(30 * SECOND_US)
    assert site.newest().reason.startswith("retry at")


async def test_what_somebody_killed_is_not_repeated() -> None:
    """Killed on request, and killed at its timeout: only the second is tried again."""
    for asked, expected in ((True, [(1, "killed")]), (False, [(1, "killed"), (2, "waiting")])):
        site = Failing()
        run = site.request()
        if asked:
            run_rows.update(site.ledger.connection, run.number, dispatched_epoch=1)
            site.ledger.do(runs.kill(run.number, SYSTEM, START_US))
        site.end(run, None, "killed" if asked else "timeout", 9)
        await site.stage.turn()
        assert site.attempts() == expected


async def test_a_deleted_job_and_a_dropped_rule_repeat_nothing() -> None:
    """Deleted before its time: cancelled then. Without the rule the next failure is final."""
    site = Failing()
    site.end(site.request())
    await site.stage.turn()
    spec = jobs.JobSpec(name="flaky", command="true", agent="north")
    site.ledger.do(jobs.update("flaky", spec, SYSTEM, START_US))
    assert site.ledger.count("watches") == 0
    site.ledger.do(jobs.delete("flaky", SYSTEM, START_US))
    await site.stage.turn(61 * SECOND_US)
    assert (site.newest().state, site.newest().reason) == ("cancelled", "job deleted")


async def test_a_retry_of_a_group_waits_outside_its_pool() -> None:
    """No member is chosen before its time, and it holds up nothing; then one is."""
    site = Site()
    site.job(retry=RULE)
    run = site.submit("x")[0]
    site.place()
    site.send()
    name, _ = site.at(run)
    site.begin(name, run.key)
    site.report(name, run.key, wire.Ended(1, None, site.now_us, site.now_us, 0, False), 2)
    await site.stage.turn()
    site.place()
    newest = run_rows.page(site.ledger.connection, limit=1)[0]
    assert newest.state == "waiting"
    assert newest.reason.startswith("retry at")
    await site.stage.turn(60 * SECOND_US)
    site.place()
    assert run_rows.page(site.ledger.connection, limit=1)[0].state == "starting"
    assert [key for keys in site.send().values() for key in keys] == [newest.key]


async def test_skip_if_running_looks_at_the_runs_of_its_time() -> None:
    """Another run of the job is open when the retry is due: it is skipped, and said so."""
    site = Failing(skip_if_running=True)
    site.end(site.request())
    await site.stage.turn()
    connection = site.ledger.connection
    run_rows.insert(connection, "j1.ry.a1", site.job.id, site.job.agent_id, "true", "running", START_US)
    await site.stage.turn(60 * SECOND_US)
    assert (2, "skipped") in site.attempts()
    assert all(state in ENDED for attempt, state in site.attempts() if attempt == 2)
    assert missed.newest_id(connection) == 0
