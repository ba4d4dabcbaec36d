"""Special instances (SKY-17): which day is one, what its run is, and that others may wait for it (SKY-14)."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from server.actions import calendars, jobs, missed, reconciliation, runs, variables
from server.actions.variables import VariableSpec
from server.core.calendar_days import read
from server.core.calendar_rules import CalendarSpec
from server.core.local_time import BadSchedule
from server.core.model import SYSTEM
from server.core.retry import RetryRule
from server.core.special_instances import SpecialInstance, name_at, read_text, write_text, wrong_special_instances
from server.core.timing import Timing
from server.errors import Conflict, Invalid, NotFound
from server.storage import exceptions
from server.storage import missed as missed_rows
from server.storage import runs as run_rows
from tests.unit.ledger import START_US
from tests.unit.prerequisite_stage import PrerequisiteStage
from tests.unit.stage import FIRST_US
from tests.unit.test_retries import Failing

MONTH_END = SpecialInstance(name="month-end", days=["2026-09-21"], command="close", environment={"MODE": "full"})
TEXT = """\
[month-end]
on last working day
on 2026-12-24 # Christmas Eve
on calendar closing
run set -e
run   ./close --month
set MODE=a=b
[audit]
on 1st,last Friday of Mar, Sep"""


def test_a_text_says_the_same_again() -> None:
    """What is written of what was read reads again to the same, lines of a command included."""
    found = read_text(TEXT)
    assert write_text(found) == TEXT
    assert found[0].command == "set -e\n  ./close --month"
    assert [one.calendar for one in found] == ["closing", ""]
    assert wrong_special_instances(found) == {}
    assert read_text(" \n") == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("on Monday", "line 1: begin with a name"),
        ("[a]\nat noon", "line 2: write on DAYS"),
        ("[a]\nset x", "line 2: write on DAYS"),
        ("[a]\non calendar x\non calendar y", "line 3: name one calendar"),
    ],
)
def test_a_line_that_says_nothing_is_named(text: str, says: str) -> None:
    """With its number and what would do."""
    with pytest.raises(BadSchedule, match=says):
        read_text(text)


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (SpecialInstance(name="a b"), "a name begins"),
        (SpecialInstance(name="a", days=["someday"]), "a: 'someday' is no"),
        (SpecialInstance(name="a", days=["#"]), "names no day"),
        (SpecialInstance(name="a", environment={"": "x"}), "names of variables"),
    ],
)
def test_what_is_wrong_is_said(one: SpecialInstance, says: str) -> None:
    """Beside the field of the form; so is a name that is there twice."""
    assert says in wrong_special_instances([one])["special_instances"]
    assert "once" in wrong_special_instances([MONTH_END, MONTH_END])["special_instances"]


def at_us(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("days", "zone", "at", "is_it"),
    [
        ("2026-12-31", "UTC", "2026-12-31T23:59:59", True),
        ("2026-12-31", "UTC", "2027-01-01T00:00:00", False),
        ("2026-12-31", "Asia/Tokyo", "2026-12-31T15:00:00", False),
        ("2026-12-31", "Asia/Tokyo", "2026-12-30T15:00:00", True),
        ("last working day", "UTC", "2026-10-30T06:00:00", True),
        ("last working day", "UTC", "2026-10-31T06:00:00", False),
        ("last day", "UTC", "2026-10-31T06:00:00", True),
        ("2nd Tuesday of Oct", "UTC", "2026-10-13T06:00:00", True),
        ("2nd Tuesday of Oct", "UTC", "2026-09-08T06:00:00", False),
        ("12-24", "UTC", "2028-12-24T06:00:00", True),
    ],
)
def test_the_local_day_of_the_instant_decides(days: str, zone: str, at: str, is_it: bool) -> None:
    """In the schedule's zone; the first one that says so wins."""
    instances = [SpecialInstance(name="it", days=[days]), SpecialInstance(name="other", days=[days])]
    assert name_at(instances, Timing("@daily", zone), at_us(at), lambda _: None) == ("it" if is_it else "")


def test_a_calendars_days_and_its_working_days() -> None:
    """An instance by calendar is on the days that it marks; a working day is one of the schedule's own calendar."""
    free = read(["Saturday", "Sunday", "2026-10-30"], [], "free")
    by_calendar, by_rule = (
        SpecialInstance(name="c", calendar="free"),
        SpecialInstance(name="w", days=["last working day"]),
    )
    timing = Timing("@daily", days=free)
    found = [
        name_at([by_calendar, by_rule], timing, at_us(f"2026-10-{day}T06:00:00"), {"free": free}.get)
        for day in (28, 29, 30)
    ]
    assert found == ["", "w", "c"]


async def test_a_due_run_on_such_a_day_is_the_instance() -> None:
    """The master submits it with name and command, and tells the agent the environment; the next day's is ordinary."""
    stage = PrerequisiteStage()
    stage.ledger.add_job("t", special_instances=[MONTH_END], environment={"MODE": "small", "X": "1"})
    await stage.turn()
    assert stage.order(1).by_master
    await stage.turn(FIRST_US - stage.clock.now_us)
    (run,) = stage.runs()
    assert (run.instance, run.command, run.state) == ("month-end", "close", "starting")
    (given,) = stage.ledger.do(reconciliation.dispatch(run.agent_id, 1, stage.clock.now_us))
    told = given.dispatch.specification
    assert told.command == "close"
    assert told.environment == {"MODE": "full", "X": "1", "UNDERSTUDY_INSTANCE": "month-end"}
    await stage.turn(86_400_000_000)
    newest = stage.runs()[-1]
    assert (newest.instance, newest.command) == ("", "true")


async def test_an_exception_goes_before_the_instance_and_the_ledger_keeps_it() -> None:
    """The exception's command runs, under the instance's name; what was missed and is run later is it still."""
    stage = PrerequisiteStage()
    stage.ledger.add_job("t", special_instances=[MONTH_END], misfire_policy="ask")
    await stage.turn()
    schedule = stage.order(1).schedule_id
    spec = {
        "job_id": stage.job_id("t"),
        "schedule_id": schedule,
        "instant_us": FIRST_US,
        "command": "once",
        "skipped": 0,
    }
    exceptions.put(stage.ledger.connection, **spec, created_by="ann", created_at_us=0, reason="")
    stage.ledger.do(jobs.hold("t", SYSTEM, stage.clock.now_us))
    await stage.turn(FIRST_US - stage.clock.now_us)
    stage.ledger.do(jobs.release("t", SYSTEM, stage.clock.now_us))
    (row,) = missed_rows.page(stage.ledger.connection)
    made = stage.ledger.do(missed.run(row.id, SYSTEM, stage.clock.now_us))
    assert (made.instance, made.command) == ("month-end", "once")


def test_run_now_by_name_and_its_attempts_keep_it() -> None:
    """A retry and a repetition are the same instance, with its command; a name that the job has not is refused."""
    site = Failing(RetryRule(attempts_max=2, delay_s=60), special_instances=[MONTH_END])
    with pytest.raises(NotFound, match=r"no special instance other\. It has: month-end"):
        site.ledger.do(runs.run_now("flaky", "x", SYSTEM, START_US, "other"))
    run = site.ledger.do(runs.run_now("flaky", "x", SYSTEM, START_US, "month-end"))
    assert (run.instance, run.command) == ("month-end", "close")
    assert site.request().number == run.number
    run_rows.set_state(site.ledger.connection, run.number, "failed", START_US, ended_at_us=START_US)
    again = site.ledger.do(runs.rerun(run.number, SYSTEM, START_US))
    assert (again.instance, again.command, again.attempt) == ("month-end", "close", 2)


async def test_a_retry_is_the_instance_with_the_values_of_variables() -> None:
    """The next attempt that a rule makes has the instance's command, composed as that of the first one."""
    site = Failing(RetryRule(attempts_max=2, delay_s=60))
    depot = VariableSpec(name="depot", value="/srv")
    site.ledger.do(variables.put(depot, lambda *_: (b"", b""), SYSTEM, START_US))
    closing = SpecialInstance(name="month-end", command="close ${{ depot }}")
    spec = jobs.JobSpec(name="flaky", command="true", agent="north", retry=RetryRule(attempts_max=2, delay_s=60))
    site.ledger.do(jobs.update("flaky", msgspec.structs.replace(spec, special_instances=[closing]), SYSTEM, START_US))
    run = site.ledger.do(runs.run_now("flaky", "x", SYSTEM, START_US, "month-end"))
    assert run.command == "close /srv"
    site.end(run)
    await site.stage.turn()
    second = site.newest()
    assert (second.attempt, second.instance, second.command) == (2, "month-end", "close /srv")


async def test_during_is_met_by_that_instance_alone() -> None:
    """SKY-14: an ordinary run of the source says nothing to the condition."""
    stage = PrerequisiteStage()
    stage.change("a", special_instances=[MONTH_END])
    stage.ledger.add_job("t", cron="", prerequisites="a during:month-end")
    await stage.happen("a completed")
    assert stage.states() == []
    stage.begin("a", "succeeded", instance="month-end")
    await stage.turn()
    assert stage.states() == ["starting"]


def test_what_others_need_is_kept_and_what_is_not_there_is_refused() -> None:
    """A condition on an unknown instance; taking away one that is waited for; a calendar that one is on."""
    stage = PrerequisiteStage()
    with pytest.raises(Invalid, match=r"a has no special instance month-end .it has none."):
        stage.ledger.add_job("t", cron="", prerequisites="a during:month-end")
    with pytest.raises(Invalid, match="there is no calendar closing"):
        stage.change("a", special_instances=[SpecialInstance(name="x", calendar="closing")])
    stage.ledger.do(calendars.create(CalendarSpec(name="closing", kind="list", days=["12-24"]), SYSTEM, START_US))
    by_calendar = msgspec.structs.replace(MONTH_END, calendar="closing")
    stage.change("a", special_instances=[by_calendar])
    stage.ledger.add_job("t", cron="", prerequisites="a during:month-end")
    with pytest.raises(Conflict, match="t waits for the special instance month-end"):
        stage.change("a", special_instances=[])
    with pytest.raises(Conflict, match="Special instances of a are on days of closing"):
        stage.ledger.do(calendars.delete("closing", SYSTEM, START_US))
    renamed = CalendarSpec(name="shut", kind="list", days=["12-24"])
    with pytest.raises(Conflict, match="Special instances of a"):
        stage.ledger.do(calendars.update("closing", renamed, SYSTEM, START_US))
