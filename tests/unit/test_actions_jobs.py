"""actions.jobs, runs and missed: what is submitted, what waits and why, what is repeated."""

from __future__ import annotations

import pytest

from server.actions import gates, imports, jobs, missed, runs
from server.actions.imports import Place
from server.core.model import HOUR_US, MINUTE_US, Principal, Run
from server.errors import Conflict, Forbidden, Invalid, NotFound
from server.storage import jobs as job_rows
from server.storage import missed as missed_rows
from server.storage import runs as run_rows
from server.storage import schedules, specifications
from tests.unit.ledger import START_US, Ledger

BOB = Principal("bob", "operator", "192.0.2.1")
DUE_US = START_US - START_US % MINUTE_US


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    made.add_agent("north")
    return made


def run(ledger: Ledger, job: str = "backup", request: str = "r1", now_us: int = START_US) -> Run:
    return ledger.do(runs.run_now(job, request, BOB, now_us))


def state(ledger: Ledger, number: int) -> tuple[str, str]:
    found = run_rows.get(ledger.connection, number)
    assert found is not None
    return found.state, found.reason


def test_asking_twice_is_one_run(ledger: Ledger) -> None:
    """The same request id gives the same run: no run twice by a repeated request."""
    ledger.add_job()
    assert run(ledger).number == run(ledger).number
    assert run(ledger).key == "j1.rr1.a1"
    assert run(ledger, request="r2").number != run(ledger).number


def test_a_submission_waits_with_its_reason_and_goes_in_order(ledger: Ledger) -> None:
    """SKY-2: under a lock submissions wait with the reason; after the unlock they start in order of submission."""
    ledger.add_job()
    ledger.do(gates.lock_all(BOB, START_US))
    numbers = [run(ledger, request=f"r{k}").number for k in range(3)]
    assert {state(ledger, number) for number in numbers} == {("waiting", "queue locked")}
    assert ledger.do(runs.submit_waiting(START_US)) == (0, None)
    ledger.do(gates.unlock_all(BOB, START_US))
    assert ledger.do(runs.submit_waiting(START_US, limit=2)) == (2, numbers[1])
    assert [state(ledger, number)[0] for number in numbers] == ["starting", "starting", "waiting"]
    assert ledger.do(runs.submit_waiting(START_US, after=numbers[1], limit=2)) == (1, None)


def test_a_waiting_run_says_the_reason_of_now(ledger: Ledger) -> None:
    """When one gate goes and another stands, the run says the one that stands."""
    ledger.add_job()
    ledger.do(gates.lock_all(BOB, START_US))
    ledger.do(gates.stop_scheduler(BOB, START_US))
    number = run(ledger).number
    assert state(ledger, number) == ("waiting", "scheduler stopped")
    ledger.do(gates.start_scheduler(BOB, START_US))
    ledger.do(runs.submit_waiting(START_US))
    assert state(ledger, number) == ("waiting", "queue locked")


def test_runs_held_at_their_agent_are_left_to_it(ledger: Ledger) -> None:
    """An occurrence that waits at its agent begins there: the master does not send it a second time."""
    job = ledger.add_job()
    number = run_rows.insert(
        ledger.connection, "j1.s1.x", job.id, job.agent_id, "true", "waiting", START_US, dispatched_epoch=3
    )
    assert ledger.do(runs.submit_waiting(START_US)) == (0, None)
    asked = ledger.do(runs.cancel(number, BOB, START_US))
    assert (asked.state, asked.cancel_requested_by) == ("waiting", "bob")


def test_an_absent_agent_is_a_reason(ledger: Ledger) -> None:
    """Unsent runs of an agent that is not connected say so, and are looked at again when it is back."""
    job = ledger.add_job()
    number = run(ledger).number
    run_rows.set_state(ledger.connection, number, "waiting", START_US, "no agent")
    assert ledger.do(runs.submit_waiting(START_US)) == (0, None)
    ledger.do(gates.lock_all(BOB, START_US))
    assert ledger.do(runs.agent_is_back(job.agent_id, START_US)) == 1
    assert state(ledger, number) == ("waiting", "queue locked")


def test_a_held_job_waits_for_its_release(ledger: Ledger) -> None:
    """Run now on a held job waits with the reason; twice held is once held."""
    ledger.add_job()
    assert ledger.do(jobs.hold("backup", BOB, START_US))
    assert not ledger.do(jobs.hold("backup", BOB, START_US))
    number = run(ledger).number
    assert state(ledger, number) == ("waiting", "job held")
    ledger.do(jobs.release("backup", BOB, START_US))
    ledger.do(runs.submit_waiting(START_US))
    assert state(ledger, number) == ("starting", "")


def test_skip_if_running(ledger: Ledger) -> None:
    """While a run of the job is open another one is skipped, and stays in the list with the reason."""
    ledger.add_job(skip_if_running=True)
    run(ledger)
    second = run(ledger, request="r2")
    assert (second.state, second.reason) == ("skipped", "another run of the job is open")
    assert second.ended_at_us == START_US


def test_cancel_here_or_by_the_agent(ledger: Ledger) -> None:
    """What was not sent ends at once; what was sent gets a request that the fleet delivers; kill raises a cancel."""
    job = ledger.add_job()
    here = run(ledger).number
    assert ledger.do(runs.cancel(here, BOB, START_US)).state == "cancelled"
    sent = run(ledger, request="r2").number
    run_rows.update(ledger.connection, sent, dispatched_epoch=1, state="running")
    asked = ledger.do(runs.cancel(sent, BOB, START_US))
    assert (asked.state, asked.cancel_kill) == ("running", False)
    assert ledger.do(runs.kill(sent, BOB, START_US)).cancel_kill
    assert [r.number for r in run_rows.to_cancel(ledger.connection, job.agent_id)] == [sent]


def test_rerun_is_the_next_attempt(ledger: Ledger) -> None:
    """An ended run is repeated under the next attempt's key; an open one is not."""
    ledger.add_job()
    first = run(ledger)
    with pytest.raises(Conflict, match="is starting"):
        ledger.do(runs.rerun(first.number, BOB, START_US))
    run_rows.set_state(ledger.connection, first.number, "failed", START_US)
    second = ledger.do(runs.rerun(first.number, BOB, START_US))
    assert (second.key, second.attempt) == ("j1.rr1.a2", 2)
    run_rows.set_state(ledger.connection, second.number, "failed", START_US)
    third = ledger.do(runs.rerun(first.number, BOB, START_US))
    assert third.key == "j1.rr1.a3"


def test_an_unknown_run_is_repeated_only_by_somebody_who_knows(ledger: Ledger) -> None:
    """A silent agent may have it: the refusal says what to type; one that was given up is repeated."""
    ledger.add_job()
    first = run(ledger)
    run_rows.set_state(ledger.connection, first.number, "unknown", START_US)
    with pytest.raises(Conflict, match="understudy agent declare-dead north"):
        ledger.do(runs.rerun(first.number, BOB, START_US))
    run_rows.update(ledger.connection, first.number, given_up_at_us=START_US)
    assert ledger.do(runs.rerun(first.number, BOB, START_US)).attempt == 2


def test_a_job_names_what_is_wrong(ledger: Ledger) -> None:
    """Every wrong field is named at once; the schedule's error names its field."""
    spec = jobs.JobSpec(name="a b", command=" ", agent="north", schedules=[jobs.When("0 25 * * *")], timeout_s=-1)
    with pytest.raises(Invalid) as caught:
        jobs.create(spec, BOB, START_US)
    assert set(caught.value.fields) == {"name", "command", "schedules[0].cron", "timeout_s"}
    assert "hour" in caught.value.fields["schedules[0].cron"]


def test_a_job_needs_an_agent_that_is_there(ledger: Ledger) -> None:
    """A job for an unknown agent is refused and leaves nothing behind; so is one by a user."""
    spec = jobs.JobSpec(name="backup", command="true", agent="west")
    with pytest.raises(NotFound, match="west"):
        ledger.do(jobs.create(spec, BOB, START_US))
    assert ledger.count("jobs") == 0
    with pytest.raises(Forbidden):
        jobs.create(spec, Principal("ann", "user"), START_US)


def test_a_changed_schedule_is_another_schedule(ledger: Ledger) -> None:
    """A run's key names its schedule for ever: the same cron keeps its row, another cron is a new one."""
    job = ledger.add_job(cron="0 1 * * *")
    spec = jobs.JobSpec(
        name="backup", command="false", agent="north", schedules=[jobs.When("0 1 * * *"), jobs.When("0 2 * * *")]
    )
    updated = ledger.do(jobs.update("backup", spec, BOB, START_US, version=job.version))
    assert [(s.id, s.cron) for s in schedules.of_job(ledger.connection, job.id)] == [
        (1, "0 1 * * *"),
        (2, "0 2 * * *"),
    ]
    assert updated.version == job.version + 1
    with pytest.raises(Conflict, match="somebody else"):
        ledger.do(jobs.update("backup", spec, BOB, START_US, version=job.version))


def test_a_deleted_job_frees_its_name(ledger: Ledger) -> None:
    """A job of the same name may be made again; the runs of the old one stay its own."""
    old = ledger.add_job()
    run(ledger)
    ledger.do(jobs.delete("backup", BOB, START_US))
    new = ledger.add_job()
    assert new.id != old.id
    assert [line.job_id for line in run_rows.page(ledger.connection)] == [old.id]


def test_waiting_runs_of_a_deleted_job_are_cancelled(ledger: Ledger) -> None:
    """What waits for a gate does not start a job that is gone by then, and says so."""
    ledger.add_job()
    ledger.do(gates.lock_all(BOB, START_US))
    number = run(ledger).number
    ledger.do(jobs.delete("backup", BOB, START_US))
    ledger.do(gates.unlock_all(BOB, START_US))
    assert ledger.do(runs.submit_waiting(START_US)) == (0, None)
    assert state(ledger, number) == ("cancelled", "job deleted")


def test_a_crontab_is_imported_once(ledger: Ledger) -> None:
    """SKY-21: each line is reported; importing again makes nothing new."""
    text = "SHELL=/bin/sh\n*/5 * * * * root /opt/poll\n@reboot root /opt/start\n0 99 * * * root /opt/no\n"

    def outcomes() -> list[str]:
        report = ledger.do(imports.import_file(text, "system", Place(agent="north"), "Europe/Berlin", BOB, START_US))
        return [line.outcome for line in report]

    assert outcomes() == ["environment", "job", "refused", "refused"]
    assert outcomes() == ["environment", "exists", "refused", "refused"]
    (job,) = job_rows.page(ledger.connection)
    assert (job.run_as, job.command, job.environment) == ("root", "/opt/poll", {"SHELL": "/bin/sh"})
    (schedule,) = schedules.of_job(ledger.connection, job.id)
    assert (schedule.cron, schedule.zone) == ("*/5 * * * *", "Europe/Berlin")


def miss(ledger: Ledger, *minutes: int, cause: str = "scheduler stopped") -> list[int]:
    job = job_rows.by_name(ledger.connection, "backup")
    assert job is not None
    for minute in minutes:
        missed_rows.record(ledger.connection, job.id, 1, DUE_US - minute * MINUTE_US, cause, START_US)
    return [row.id for row in missed_rows.open_rows(ledger.connection)]


def test_an_occurrence_is_missed_once_and_not_when_it_ran(ledger: Ledger) -> None:
    """BEY-9: a second report changes nothing, and what has a run is not missed."""
    job = ledger.add_job()
    assert len(miss(ledger, 5)) == 1
    assert len(miss(ledger, 5)) == 1
    at_us = DUE_US - 10 * MINUTE_US
    run_rows.insert(
        ledger.connection,
        "k",
        job.id,
        job.agent_id,
        "true",
        "running",
        START_US,
        schedule_id=1,
        scheduled_for_us=at_us,
    )
    assert len(miss(ledger, 10)) == 1


def test_a_run_that_turns_up_closes_its_missed_row(ledger: Ledger) -> None:
    """An agent that had not heard of the stop reports its run later: the row is resolved by that run."""
    job = ledger.add_job()
    (row_id,) = miss(ledger, 5)
    at_us = DUE_US - 5 * MINUTE_US
    run_rows.insert(
        ledger.connection,
        "k",
        job.id,
        job.agent_id,
        "true",
        "running",
        START_US,
        schedule_id=1,
        scheduled_for_us=at_us,
    )
    row = missed_rows.get(ledger.connection, row_id)
    assert row is not None
    assert (row.resolution, row.resolved_by) == ("run", "agent")


def test_missed_runs_are_run_or_dismissed_one_by_one(ledger: Ledger) -> None:
    """SKY-12: run now makes the occurrence's own run; a resolved row is not resolved again."""
    ledger.add_job()
    first, second = miss(ledger, 5, 10)
    made = ledger.do(missed.run(first, BOB, START_US))
    assert (made.scheduled_for_us, made.requested_by, made.state) == (DUE_US - 5 * MINUTE_US, "bob", "starting")
    ledger.do(missed.dismiss(second, BOB, START_US, "not needed"))
    for row_id in (first, second):
        with pytest.raises(Conflict, match="resolved already"):
            ledger.do(missed.run(row_id, BOB, START_US))


def test_all_missed_runs_at_once_in_batches(ledger: Ledger) -> None:
    """SKY-12: all, the oldest row first, and the caller is told how many remain."""
    ledger.add_job()
    miss(ledger, 5, 10, 15)
    assert ledger.do(missed.run_all(BOB, START_US, limit=2)) == missed.Resolved(2, 1, 2)
    assert ledger.do(missed.dismiss_all(BOB, START_US)) == missed.Resolved(1, 0)
    assert ledger.count("runs") == 2


@pytest.mark.parametrize(
    ("policy", "ran", "left_open"),
    [("skip", [], 0), ("once", [5], 1), ("all", [5, 10], 1), ("ask", [], 3)],
)
def test_misfire_policies(ledger: Ledger, policy: str, ran: list[int], left_open: int) -> None:
    """BEY-8: skip none, once the latest, all within the grace, ask nobody; older than the grace waits for a person."""
    job = ledger.add_job(misfire_policy=policy, misfire_grace_s=1800)
    miss(ledger, 5, 10, 90)
    missed.apply_policy(ledger.connection, job, 1, START_US)
    lines = ledger.connection.execute("SELECT scheduled_for_us FROM runs ORDER BY scheduled_for_us DESC")
    assert [(DUE_US - row[0]) // MINUTE_US for row in lines] == ran
    assert missed_rows.count_open(ledger.connection) == left_open


def test_once_is_once_over_batches(ledger: Ledger) -> None:
    """Missed rows that arrive after a later occurrence has run are closed without another run."""
    job = ledger.add_job(misfire_policy="once")
    miss(ledger, 5)
    assert missed.apply_policy(ledger.connection, job, 1, START_US) == 1
    miss(ledger, 10)
    assert missed.apply_policy(ledger.connection, job, 1, START_US + HOUR_US // 2) == 0
    assert missed_rows.count_open(ledger.connection) == 0
    assert ledger.count("runs") == 1


def test_giving_up_needs_a_job_that_may_run_twice(ledger: Ledger) -> None:
    """Refused with the sentence why; taken with it, and it reaches what agents are told."""
    with pytest.raises(Invalid, match="needs may_run_twice: a run may have done its work"):
        ledger.add_job(give_up_after_s=60)
    job = ledger.add_job(give_up_after_s=60, may_run_twice=True)
    assert specifications.of_job(ledger.connection, job, job.agent_id).give_up_after_s == 60
