"""One bad row stops nothing: it is put aside, listed with what to type, and the rest goes on."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from server.actions import asides, group_instants, happenings, job_monitors, jobs, prerequisite_runs, quarantine
from server.actions import missed as missed_actions
from server.actions import runs as run_actions
from server.core import planning
from server.core.asides import ASIDE_US, WORDS
from server.core.job_monitors import JobMonitors
from server.core.limits import Limits
from server.core.model import DAY_US, MINUTE_US, SYSTEM, Job
from server.errors import Conflict, NotFound
from server.office.scheduler import Scheduler
from server.storage import jobs as job_rows
from server.storage import missed as missed_rows
from server.storage import orders as order_rows
from server.storage import runs as run_rows
from server.storage import system_messages
from tests.unit.ledger import START_US
from tests.unit.stage import FIRST_US, Stage

BAD = "bad"
WHY = "nobody thought of this"


class Broken:
    """A function that fails for one job, or for one subject, until it is mended."""

    def __init__(self, patch: pytest.MonkeyPatch, module: Any, name: str, is_bad: Any) -> None:
        self._sound = getattr(module, name)
        self._is_bad = is_bad
        self.is_mended = False
        patch.setattr(module, name, self)

    def __call__(self, *given: Any, **more: Any) -> Any:
        if not self.is_mended and self._is_bad(*given):
            raise LookupError(WHY)
        return self._sound(*given, **more)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def of(stage: Stage, name: str) -> Job:
    found = job_rows.by_name(stage.ledger.connection, name)
    assert found is not None
    return found


def listed(stage: Stage) -> list[asides.AsideLine]:
    return asides.page(stage.ledger.connection)


def alarms(stage: Stage) -> list[str]:
    return [one.text for one in system_messages.page(stage.ledger.connection) if one.severity == "alarm"]


def states(stage: Stage, name: str) -> list[str]:
    return [line.state for line in run_rows.page(stage.ledger.connection, of(stage, name).id)]


async def test_a_job_that_cannot_be_planned_stops_no_other(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is listed, its page says so, the other job has its order; tried again once it is mended, it has its own."""
    broken = Broken(monkeypatch, planning, "plan", lambda job, *rest: job.name == BAD)
    stage.ledger.add_job(BAD)
    stage.ledger.add_job("good")
    await stage.turn()
    connection = stage.ledger.connection
    assert order_rows.of_job(connection, of(stage, BAD).id) == []
    assert len(order_rows.of_job(connection, of(stage, "good").id)) == 1
    (line,) = listed(stage)
    assert (line.work, line.job, line.error) == ("plan", BAD, "LookupError: nobody thought of this")
    assert f"understudy scheduler aside list, then aside retry {line.id}" in alarms(stage)[0]
    assert [one.id for one in asides.of_job(connection, of(stage, BAD).id)] == [line.id]
    with pytest.raises(Conflict, match=f"Change the job.*aside retry {line.id}"):
        stage.ledger.do(asides.dismiss(line.id, SYSTEM, START_US))
    broken.is_mended = True
    stage.ledger.do(asides.retry(line.id, SYSTEM, START_US))
    await stage.turn()
    assert len(order_rows.of_job(connection, of(stage, BAD).id)) == 1
    assert listed(stage) == []


async def test_a_job_that_is_changed_is_planned_again_and_listed_no_more(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People change what it could not do: the change is the way out, and nothing stays behind."""
    Broken(monkeypatch, planning, "plan", lambda job, *rest: job.name == BAD)
    stage.ledger.add_job(BAD)
    await stage.turn()
    spec = jobs.JobSpec(name="mended", command="true", agent="north", schedules=[jobs.When("0 5 * * *")])
    stage.ledger.do(jobs.update(BAD, spec, SYSTEM, START_US))
    await stage.turn()
    assert listed(stage) == []
    assert len(order_rows.of_job(stage.ledger.connection, of(stage, "mended").id)) == 1


async def test_a_write_of_a_plan_that_fails_is_undone_as_a_whole(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the bad job's plan stays: no order that nobody would look after."""
    Broken(monkeypatch, job_monitors, "expect", lambda connection, job, *rest: job.name == BAD)
    stage.ledger.add_job(BAD)
    await stage.turn()
    assert stage.ledger.count("orders") == 0
    assert [line.work for line in listed(stage)] == ["plan"]


async def test_due_instants_of_one_order_that_fail_stop_no_other(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The master's own orders: the good one's instant has its run; the bad one's has it after a retry, none is lost."""
    one = Limits(runs_at_once=1)
    for name in (BAD, "good"):
        stage.ledger.add_job(name, limits=one)
    await stage.turn()
    broken = Broken(monkeypatch, prerequisite_runs, "submit_due", lambda connection, job, *rest: job.name == BAD)
    await stage.turn(FIRST_US - START_US)
    assert (states(stage, BAD), states(stage, "good")) == ([], ["waiting"])
    (line,) = listed(stage)
    assert line.work == "due"
    order = order_rows.of_job(stage.ledger.connection, of(stage, BAD).id)[0]
    assert order.next_instant_us == ASIDE_US
    broken.is_mended = True
    stage.ledger.do(asides.retry(line.id, SYSTEM, stage.clock.now_us))
    await stage.turn()
    assert states(stage, BAD) == ["waiting"]
    assert listed(stage) == []


async def test_a_renewal_that_fails_stops_no_other(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The good order is renewed, the bad one is listed and renewed after a retry."""
    for name in (BAD, "good"):
        stage.ledger.add_job(name)
    await stage.turn()
    bad = order_rows.of_job(stage.ledger.connection, of(stage, BAD).id)[0]
    broken = Broken(monkeypatch, planning, "revise", lambda order, *rest: order.id == bad.id)
    await stage.turn(5 * 7 * DAY_US // 8)
    versions = {
        name: order_rows.of_job(stage.ledger.connection, of(stage, name).id)[0].version for name in (BAD, "good")
    }
    assert versions == {BAD: 1, "good": 2}
    (line,) = listed(stage)
    assert (line.work, line.subject) == ("renewal", str(bad.id))
    broken.is_mended = True
    stage.ledger.do(asides.retry(line.id, SYSTEM, stage.clock.now_us))
    await stage.turn()
    assert order_rows.of_job(stage.ledger.connection, of(stage, BAD).id)[0].version == 2


async def test_a_run_that_cannot_be_let_go_waits_and_can_be_cancelled(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time has come and a defect stops it: it says so, the other goes; dismissed, it is cancelled."""
    for name in (BAD, "good"):
        stage.ledger.add_job(name, cron="")
        run = stage.ledger.do(run_actions.run_now(name, "x", SYSTEM, START_US))
        values = {"state": "waiting", "begin_after_us": START_US}
        run_rows.update(stage.ledger.connection, run.number, **values)
    bad = of(stage, BAD).id
    Broken(monkeypatch, run_actions, "let_go", lambda connection, run, *rest: run.job_id == bad)
    await stage.turn()
    assert states(stage, "good") == ["starting"]
    (run,) = run_rows.page(stage.ledger.connection, bad)
    assert (run.state, run.begin_after_us, "put aside" in run.reason) == ("waiting", ASIDE_US, True)
    (line,) = listed(stage)
    stage.ledger.do(asides.dismiss(line.id, SYSTEM, START_US, "not needed"))
    assert states(stage, BAD) == ["cancelled"]
    assert stage.ledger.count("audit", "action = 'asides.dismiss' AND reason = 'not needed'") == 1


async def test_a_monitor_that_cannot_look_stops_no_other(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The good job's late start is found although the bad one's look fails; dismissed, that look is over."""
    late = JobMonitors(late_start_s=60)
    for name in (BAD, "good"):
        stage.ledger.add_job(name, job_monitors=late)
    await stage.turn()
    bad = of(stage, BAD).id
    Broken(monkeypatch, job_monitors, "_judge_instant", lambda connection, monitor, *rest: monitor.job_id == bad)
    await stage.turn(10 * MINUTE_US)
    await stage.turn(MINUTE_US)
    assert stage.ledger.count("job_monitor_trips", f"job_id = {of(stage, 'good').id}") >= 1
    found = [line for line in listed(stage) if line.work == "monitor"]
    assert found
    stage.ledger.do(asides.dismiss(found[0].id, SYSTEM, START_US))
    assert stage.ledger.count("job_monitor_watches", f"monitor_id || ' ' || run_key = '{found[0].subject}'") == 0


async def test_a_policy_that_cannot_decide_stops_no_other(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the bad job missed stays open and is listed; the good one's runs."""
    for name in (BAD, "good"):
        stage.ledger.add_job(name)
    await stage.turn()
    bad = of(stage, BAD)
    Broken(monkeypatch, missed_actions, "_run_row", lambda connection, row, *rest: row.job_id == bad.id)
    for job in (bad, of(stage, "good")):
        order = order_rows.of_job(stage.ledger.connection, job.id)[0]
        missed_rows.record(stage.ledger.connection, job.id, order.schedule_id, START_US, "test", START_US)
    await stage.turn()
    assert (states(stage, BAD), states(stage, "good")) == ([], ["starting"])
    assert [line.work for line in listed(stage)] == ["misfire"]
    assert missed_rows.count_open(stage.ledger.connection, bad.id) == 1


async def test_a_defect_of_a_whole_kind_of_work_stops_this_kind_alone(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row can be blamed: planning goes on, the kind is listed, tried again in a while, and listed no more then."""
    stage.ledger.add_job("own", limits=Limits(runs_at_once=1))
    await stage.turn()
    broken = Broken(monkeypatch, group_instants, "Stops", lambda *rest: True)
    stage.ledger.add_job("other")
    await stage.turn(5 * MINUTE_US)
    assert len(order_rows.of_job(stage.ledger.connection, of(stage, "other").id)) == 1
    assert [(line.work, line.subject) for line in listed(stage)] == [("step", "due instants of its own")]
    broken.is_mended = True
    await stage.turn(MINUTE_US)
    assert listed(stage) == []
    assert states(stage, "own") == ["waiting"], "what it missed meanwhile is made up for, once"


async def test_the_same_defect_at_the_next_master_ends_nothing_either(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler that begins on these rows, as after a failover, works and says nothing twice."""
    Broken(monkeypatch, planning, "plan", lambda job, *rest: job.name == BAD)
    stage.ledger.add_job(BAD)
    await stage.turn()
    following = Scheduler(stage.store, stage.clock)
    await following.turn()
    assert len(alarms(stage)) == 1
    assert [line.work for line in listed(stage)] == ["plan"]


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk is full"), sqlite3.DatabaseError("malformed")])
def test_a_broken_disk_is_nobodys_fault(stage: Stage, error: Exception) -> None:
    """Nothing is put aside for it: the change fails as a whole."""

    def do() -> None:
        raise error

    with pytest.raises(type(error)):
        stage.ledger.do(lambda t: quarantine.guarded(t.connection, "plan", 1, 1, START_US, do))
    assert listed(stage) == []


def test_what_could_not_be_followed_is_followed_again_or_dismissed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry that fails says why and keeps it; one that does not writes what should have followed."""
    stage.ledger.add_job("first", cron="")
    stage.ledger.add_job("then", cron="", prerequisites="first completed")
    fails = [True]

    def follow(connection: sqlite3.Connection, happening: happenings.Happening, now_us: int) -> None:
        if fails[0]:
            raise LookupError(WHY)
        prerequisite_runs.follow(connection, happening, now_us)

    monkeypatch.setattr(happenings, "FOLLOWERS", (follow,))
    run = stage.ledger.do(run_actions.run_now("first", "x", SYSTEM, START_US))
    run_rows.set_state(stage.ledger.connection, run.number, "succeeded", START_US)
    stage.ledger.do(happenings.follow(START_US))
    found = [line for line in listed(stage) if "is succeeded" in line.text]
    assert [(line.work, line.job) for line in found] == [("follow", "first")]
    with pytest.raises(Conflict, match="It fails again: LookupError"):
        stage.ledger.do(asides.retry(found[0].id, SYSTEM, START_US))
    assert found[0] in listed(stage)
    fails[0] = False
    stage.ledger.do(asides.retry(found[0].id, SYSTEM, START_US))
    assert len(states(stage, "then")) == 1
    for line in listed(stage):
        stage.ledger.do(asides.dismiss(line.id, SYSTEM, START_US, "seen"))
    assert listed(stage) == []
    with pytest.raises(NotFound, match="aside list"):
        stage.ledger.do(asides.retry(found[0].id, SYSTEM, START_US))


def test_every_kind_of_work_has_words() -> None:
    """Each names its subject or its job: none is a bare template."""
    assert all("{" in words or work == "follow" for work, words in WORDS.items())
