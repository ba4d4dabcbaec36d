"""Prerequisites (SKY-14): what each status does to each condition, and what a job that waits does, as tables."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from server.actions import jobs, missed, runs
from server.core.model import MINUTE_US, SECOND_US, SYSTEM
from server.core.prerequisite_text import BadPrerequisites, Source, parse, write
from server.core.retry import RetryRule
from server.errors import Conflict, Invalid
from server.storage import happenings, prerequisites
from server.storage import jobs as job_rows
from server.storage import missed as missed_rows
from server.storage import runs as run_rows
from tests.unit.prerequisite_stage import PrerequisiteStage
from tests.unit.stage import FIRST_US

EVERY_US = 5 * MINUTE_US
A_THEN_B = ("a completed", "b completed")

CASES = [
    ("SKY-14 completed", "a", ["a completed"], 1),
    ("SKY-14 completed is not failed", "a", ["a failed"], 0),
    ("SKY-14 failed", "a failed", ["a failed"], 1),
    ("SKY-14 failed is not completed", "a failed", ["a completed"], 0),
    ("SKY-14 interrupted is a failure", "a failed", ["a interrupted"], 1),
    ("SKY-14 cancelled", "a cancelled", ["a cancelled"], 1),
    ("SKY-14 cancelled is not failed", "a failed", ["a cancelled"], 0),
    ("SKY-14 skipped", "a skipped", ["a skipped"], 1),
    ("SKY-14 a run that was missed did not run", "a skipped", ["a missed"], 1),
    ("SKY-14 any end: completed", "a ended", ["a completed"], 1),
    ("SKY-14 any end: failed", "a ended", ["a failed"], 1),
    ("SKY-14 any end: cancelled", "a ended", ["a cancelled"], 1),
    ("SKY-14 any end: skipped", "a ended", ["a skipped"], 1),
    ("SKY-14 running is no end", "a ended", ["a running"], 0),
    ("SKY-14 running", "a running", ["a running"], 1),
    ("SKY-14 a suspended run runs still", "a running", ["a suspended"], 1),
    ("SKY-14 submitted", "a submitted", ["a submitted"], 1),
    ("SKY-14 waiting is submitted", "a submitted", ["a waiting"], 1),
    ("SKY-14 a status set", "a failed|cancelled", ["a completed", "a cancelled"], 1),
    ("SKY-14 unknown meets nothing", "a ended|running|submitted", ["a unknown"], 0),
    ("SKY-14 unknown overwrites nothing", "a and b", ["a completed", "a unknown", "b completed"], 1),
    ("SKY-14 event", "event:door", ["door"], 1),
    ("SKY-14 event and job", "event:door and a", ["door", "a failed", "a completed"], 1),
    ("SKY-14 AND: one is not enough", "a and b", ["a completed"], 0),
    ("SKY-14 AND: both", "a and b", ["a completed", "b completed"], 1),
    ("SKY-14 AND: the other order", "a and b", ["b completed", "a completed"], 1),
    ("SKY-14 OR: either", "a or b", ["b completed"], 1),
    ("SKY-14 OR: each lets one go", "a or b", ["a completed", "b completed"], 2),
    ("SKY-14 nested: the bracket", "a and (b or c)", ["c completed", "a completed"], 1),
    ("SKY-14 nested: without the first", "a and (b or c)", ["c completed", "b completed"], 0),
    ("SKY-14 AND binds closer", "a or b and c", ["c completed", "a completed"], 1),
    ("SKY-14 overwritten by running", "a and b", ["a completed", "a running", "b completed"], 0),
    ("SKY-14 overwritten by failed", "a and b", ["a completed", "a failed", "b completed"], 0),
    ("SKY-14 overwritten and met again", "a and b", ["a completed", "a failed", "a completed", "b completed"], 1),
    ("SKY-14 dont-overwrite", "a dont-overwrite and b", ["a completed", "a failed", "b completed"], 1),
    ("SKY-14 cleared when released", "a and b", [*A_THEN_B, "b completed"], 1),
    ("SKY-14 met anew", "a and b", [*A_THEN_B, "b completed", "a completed"], 2),
    ("SKY-14 cleared with dont-overwrite too", "a dont-overwrite and b", [*A_THEN_B, "b completed"], 1),
    ("SKY-14 of what is not met OR keeps nothing", "a and b or c", ["a completed", "c completed", "b completed"], 1),
    ("SKY-14 the same source twice", "a completed and a failed dont-overwrite", ["a failed", "a completed"], 1),
]


@pytest.mark.parametrize(("text", "happens", "released"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
async def test_what_lets_a_job_go(text: str, happens: list[str], released: int) -> None:
    """The shipped follower in the shipped scheduler: so many runs of the job, each submitted as any other."""
    stage = PrerequisiteStage(text)
    for what in happens:
        await stage.happen(what)
    assert stage.states() == ["starting"] * released
    assert {run.requested_by for run in stage.runs()} <= {"prerequisites"}


async def test_a_killed_run_was_cancelled_if_somebody_asked_and_has_failed_at_its_time_limit() -> None:
    """The state is the same; who asked is in the row."""
    stage = PrerequisiteStage("a cancelled", "a failed")
    asked = stage.begin("a")
    run_rows.update(stage.ledger.connection, asked, cancel_requested_by="ann", cancel_requested_at_us=1)
    stage.reach(asked, "killed")
    await stage.turn()
    assert (len(stage.runs("t")), len(stage.runs("t1"))) == (1, 0)
    stage.reach(stage.begin("a"), "killed")
    await stage.turn()
    assert (len(stage.runs("t")), len(stage.runs("t1"))) == (1, 1)


async def test_a_failure_that_is_tried_again_says_nothing() -> None:
    """Only the last attempt is final: two fail, the third one succeeds, or fails for good."""
    stage = PrerequisiteStage("a failed", "a completed")
    stage.change("a", retry=RetryRule(attempts_max=2, delay_s=0))
    first = stage.begin("a")
    stage.reach(first, "failed")
    await stage.turn()
    assert stage.states("t") == []
    (_, second) = stage.runs("a")
    run_rows.set_state(stage.ledger.connection, second.number, "failed", stage.clock.now_us)
    await stage.turn()
    assert (len(stage.runs("t")), len(stage.runs("t1"))) == (1, 0)


async def test_one_run_meets_a_condition_once_however_often_it_changes_to_and_fro() -> None:
    """Suspended and resumed, unknown and found again, it is running once."""
    stage = PrerequisiteStage("a running")
    number = stage.begin("a")
    await stage.turn()
    for state in ("suspending", "suspended", "resuming", "running", "unknown", "running"):
        stage.reach(number, state)
        await stage.turn()
    assert stage.states() == ["starting"]


async def test_the_release_is_submitted_as_any_other_and_waits_for_gates() -> None:
    """A held job waits with that reason; a job of a dead machine leaves a run that was missed, and no defect."""
    stage = PrerequisiteStage("a", "b")
    stage.ledger.do(jobs.hold("t", SYSTEM, stage.clock.now_us))
    await stage.happen("a completed")
    assert [(run.state, run.reason) for run in stage.runs()] == [("waiting", "job held")]
    stage.ledger.connection.execute("UPDATE agents SET dead_at_us = 1")
    await stage.happen("b completed")
    (run,) = stage.runs("t1")
    assert (run.state, run.reason) == ("missed", "prerequisites met; its machine was declared dead or replaced")


async def test_run_now_waits_for_nothing_and_clears_nothing() -> None:
    """A person decides; what was met stays for the next."""
    stage = PrerequisiteStage("a and b")
    await stage.happen("a completed")
    stage.ledger.do(runs.run_now("t", "now", SYSTEM, stage.clock.now_us))
    await stage.happen("b completed")
    assert stage.states() == ["starting", "starting"]


def scheduled(text: str, **more: Any) -> PrerequisiteStage:
    """A stage whose job `t` is due every five minutes and waits for `text`."""
    stage = PrerequisiteStage()
    stage.ledger.add_job("t", prerequisites=text, **more)
    return stage


async def test_a_due_run_waits_says_what_is_missing_and_goes_when_it_is_there() -> None:
    """SKY-14: its reason is made shorter as conditions are met; no other run comes of it."""
    stage = scheduled("a and (b or c)")
    await stage.turn()
    await stage.turn(FIRST_US - stage.clock.now_us)
    (run,) = stage.runs()
    assert (run.state, run.reason) == ("waiting", "prerequisites: a completed and (b completed or c completed)")
    await stage.happen("c completed")
    assert [run.reason for run in stage.runs()] == ["prerequisites: a completed"]
    await stage.happen("a completed")
    assert stage.states() == ["starting"]
    assert stage.met() == set()


async def test_what_is_met_before_the_time_lets_the_run_go_at_its_time_and_once() -> None:
    """The next one needs it again."""
    stage = scheduled("a")
    await stage.happen("a completed")
    assert stage.runs() == []
    await stage.turn(FIRST_US - stage.clock.now_us)
    assert stage.states() == ["starting"]
    await stage.turn(EVERY_US)
    assert stage.states() == ["starting", "waiting"]


@pytest.mark.parametrize(("text", "kept"), [("a and b", set()), ("a dont-clear and b", {1})])
async def test_at_the_next_time_the_older_run_is_missed_and_what_was_met_is_cleared(text: str, kept: set[int]) -> None:
    """SKY-14 don't clear: its condition stays met. SKY-12: the occurrence is listed once, and no policy runs it."""
    stage = scheduled(text, misfire_policy="once")
    await stage.turn()
    await stage.turn(FIRST_US - stage.clock.now_us)
    await stage.happen("a completed")
    await stage.turn(EVERY_US)
    assert stage.states() == ["missed", "waiting"]
    assert stage.missed() == [(0, "prerequisites unmet", "")]
    assert stage.met() == kept
    await stage.happen("b completed")
    assert stage.states() == ["missed", "starting" if kept else "waiting"]


async def test_a_run_missed_for_its_prerequisites_can_be_run_now_or_is_skipped_by_the_policy() -> None:
    """SKY-12: run now is the next attempt of the run that waited; `skip` closes the row."""
    stage = scheduled("a", misfire_policy="all")
    await stage.turn()
    await stage.turn(FIRST_US - stage.clock.now_us)
    await stage.turn(EVERY_US)
    (row,) = missed_rows.page(stage.ledger.connection)
    again = stage.ledger.do(missed.run(row.id, SYSTEM, stage.clock.now_us))
    assert (again.attempt, again.state, again.scheduled_for_us) == (2, "starting", FIRST_US)
    assert [resolution for _, _, resolution in stage.missed()] == ["run"]
    stage.change("t", prerequisites="a", misfire_policy="skip", schedules=[jobs.When("*/5 * * * *")])
    await stage.turn(EVERY_US)
    assert [resolution for _, _, resolution in stage.missed()] == ["run", "policy"]


async def test_what_a_stop_suppressed_waits_for_prerequisites_when_the_policy_makes_up_for_it() -> None:
    """A policy does not do without them."""
    stage = scheduled("a", misfire_policy="once")
    await stage.turn()
    stage.clock.now_us = FIRST_US + 3 * MINUTE_US
    await stage.turn()
    assert stage.missed() == [(0, "no master was in office", "run")]
    assert [(run.state, run.reason) for run in stage.runs()] == [("waiting", "prerequisites: a completed")]
    await stage.happen("a completed")
    assert stage.states() == ["starting"]


async def test_skip_if_running_looks_at_what_is_open_when_the_run_goes() -> None:
    """SKY-14: a run that waits for prerequisites is let go while another one is open: it is skipped."""
    stage = scheduled("a", skip_if_running=True)
    await stage.turn()
    await stage.turn(FIRST_US - stage.clock.now_us)
    stage.begin("t")
    await stage.happen("a completed")
    assert stage.states() == ["skipped", "running"]


async def test_waiting_runs_go_when_the_prerequisites_are_taken_away_and_are_cancelled_with_their_job() -> None:
    """Nothing waits for ever."""
    stage = scheduled("a")
    stage.ledger.add_job("u", prerequisites="a")
    await stage.turn()
    await stage.turn(FIRST_US - stage.clock.now_us)
    stage.change("t", schedules=[jobs.When("*/5 * * * *")])
    stage.ledger.do(jobs.delete("u", SYSTEM, stage.clock.now_us))
    await stage.turn(SECOND_US)
    await stage.turn(SECOND_US)
    assert (stage.states("t"), run_rows.awaiting(stage.ledger.connection, stage.job_id("t"))) == (["starting"], [])
    assert [run.reason for run in [run_rows.get(stage.ledger.connection, 2)] if run] == ["job deleted"]


async def test_a_change_keeps_what_is_known_of_a_condition_that_stays() -> None:
    """What is met of `a` stays met when `b` comes beside it; and taking the missing one away lets the job go."""
    stage = PrerequisiteStage("a and b")
    await stage.happen("a completed")
    stage.change("t", prerequisites="c and a")
    assert stage.met() == {2}
    stage.change("t", prerequisites="a")
    await stage.turn()
    assert stage.states() == ["starting"]


def test_a_cycle_is_refused_by_name() -> None:
    """Over any number of jobs, in the order in which they would run."""
    stage = PrerequisiteStage()
    stage.change("b", prerequisites="a")
    stage.change("c", prerequisites="b or event:door")
    with pytest.raises(Invalid, match="a → b → c → a"):
        stage.change("a", prerequisites="c ended")
    with pytest.raises(Invalid, match="a → a"):
        stage.change("a", prerequisites="a")
    assert stage.conditions("a") == []


def test_a_job_that_others_wait_for_is_not_deleted() -> None:
    """They are named, with what to type."""
    stage = PrerequisiteStage("a")
    with pytest.raises(Conflict, match=r"t waits for a.*job update t"):
        stage.ledger.do(jobs.delete("a", SYSTEM, stage.clock.now_us))
    stage.ledger.do(jobs.delete("t", SYSTEM, stage.clock.now_us))
    stage.ledger.do(jobs.delete("a", SYSTEM, stage.clock.now_us))


def test_nothing_is_written_to_the_outbox_that_nobody_waits_for_any_more() -> None:
    """The watch goes with the last job that waits."""
    stage = PrerequisiteStage("a", "a")
    stage.change("t", prerequisites="")
    stage.begin("a", "succeeded")
    assert len(happenings.page(stage.ledger.connection, 10)) == 1
    stage.change("t1", prerequisites="")
    stage.begin("a", "succeeded")
    assert len(happenings.page(stage.ledger.connection, 10)) == 1


NAMES = {"a": 1, "b": 2, "load.x": 3, "or": 4, "door": 9}


def _find(source: Source) -> int:
    return NAMES[source.name]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("", ""),
        ("a", "a completed"),
        ("a completed|failed", "a completed|failed"),
        ("a failed|completed", "a completed|failed"),
        ("(a)", "a completed"),
        ("a AND b OR load.x", "a completed and b completed or load.x completed"),
        ("a and (b or load.x)", "a completed and (b completed or load.x completed)"),
        ("event:door and\n a ended dont-clear", "event:door and a ended dont-clear"),
        ("a dont-overwrite dont-clear", "a completed dont-overwrite dont-clear"),
        ("a dont-overwrite during:month-end", "a completed dont-overwrite during:month-end"),
        ("monitor:a tripped", "monitor:a"),
        ("monitor:a clear dont-overwrite", "monitor:a clear dont-overwrite"),
        ("job:or or a", "job:or completed or a completed"),
    ],
)
def test_what_is_written_reads_the_same(text: str, same: str) -> None:
    """The text that is shown means what was typed."""
    by_id = {number: name for name, number in NAMES.items()}
    found = parse(text, _find)
    assert write(found, lambda one: by_id[one.source_id]) == same
    assert parse(same, _find) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a and", "at the end: the name of a job is missing"),
        ("and a", "at 'and': the name of a job"),
        ("(a or b", "at the end: a ) is missing"),
        ("a )", "at ')': AND or OR is missing before it, or one ) is too many"),
        ("a (b)", "at '(': AND or OR is missing"),
        ("a done", "'done' after a: the statuses are completed, failed, cancelled, skipped, ended, running, submitted"),
        ("a completed failed", "several statuses are written completed|failed"),
        ("event:door completed", "the statuses are fired"),
        ("monitor:a fired", "the statuses are tripped, clear"),
        ("event:door during:month-end", "'during:month-end' after door: the statuses are fired"),
        ("file:x", "write NAME for a job, or one of job:NAME, workflow:NAME, event:NAME, monitor:NAME"),
        ("(" * 21 + "a" + ")" * 21, "nested at most 20 deep"),
        (" or ".join(["a"] * 101), "at most 100 conditions"),
    ],
)
def test_what_cannot_be_read_says_where_and_what_would_do(text: str, said: str) -> None:
    """Each mistake by its words."""
    with pytest.raises(BadPrerequisites) as caught:
        parse(text, _find)
    assert said in str(caught.value)


def test_a_name_that_there_is_not_is_refused_with_the_command_that_lists_them() -> None:
    """By field, for the form."""
    with pytest.raises(Invalid, match="there is no job nobody; `understudy job list`") as caught:
        PrerequisiteStage("nobody")
    assert "prerequisites" in caught.value.fields


def test_the_row_survives_a_round_trip_through_the_table() -> None:
    """A nested expression with both flags, as JSON."""
    stage = PrerequisiteStage("a dont-clear and (b failed|cancelled dont-overwrite or event:door)")
    job = job_rows.by_name(stage.ledger.connection, "t")
    assert job is not None
    assert [one.number for one in job.prerequisites.conditions()] == [1, 2, 3]
    assert msgspec.json.decode(msgspec.json.encode(job.prerequisites)) is not None
    assert [row.number for row in prerequisites.of_job(stage.ledger.connection, job.id)] == [1, 2, 3]
