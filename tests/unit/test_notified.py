"""What is told to which notification lists: trips, final failures, alarms; never twice (SKY-15, SKY-17)."""

from __future__ import annotations

import pytest

from server.actions import exports, jobs, notifications, runs
from server.core.job_monitors import JobMonitors
from server.core.model import SECOND_US, SYSTEM
from server.core.notifications import ListSpec, Webhook
from server.core.retry import RetryRule
from server.errors import Conflict, Invalid
from server.storage import notifications as rows
from server.storage import runs as run_rows
from server.storage import system_messages
from tests.unit.ledger import START_US
from tests.unit.test_notifications import SEAL, Site
from tests.unit.test_retries import Failing


async def test_a_trip_and_a_final_failure_are_told_once_to_the_lists_of_the_job() -> None:
    """Two attempts: the first failure is not told, the second is; an overrun of it is told to the other list."""
    site = Failing(RetryRule(attempts_max=2, delay_s=60))
    for name in ("ops", "night"):
        spec = ListSpec(emails=[f"{name}@example.net"])
        site.ledger.do(notifications.put_list(name, spec, SEAL.seal, SYSTEM, START_US))
    monitors = JobMonitors(overrun_s=30, notify=["night"], notify_failed=["ops"])
    rule = RetryRule(attempts_max=2, delay_s=60)
    spec = jobs.JobSpec(name="flaky", command="x", agent="north", retry=rule, job_monitors=monitors)
    site.ledger.do(jobs.update("flaky", spec, SYSTEM, START_US))
    site.end(site.request())
    await site.stage.turn()
    assert rows.log(site.ledger.connection) == []
    await site.stage.turn(60 * SECOND_US)
    run = site.newest()
    started_us = site.stage.clock.now_us
    run_rows.set_state(site.ledger.connection, run.number, "running", started_us, started_at_us=started_us)
    await site.stage.turn(31 * SECOND_US)
    run_rows.set_state(
        site.ledger.connection, run.number, "failed", site.stage.clock.now_us, "its output holds ERROR", exit_code=1
    )
    await site.stage.turn()
    told = [(one.list, one.what, one.text) for one in reversed(rows.log(site.ledger.connection))]
    assert told == [
        ("night", "job monitor", "run 2 of flaky takes longer than 30 s"),
        (
            "ops",
            "run failed",
            "Run 2 of flaky is failed: exit code 1, its output holds ERROR, attempt 2. It is not tried again.",
        ),
    ]
    with pytest.raises(Conflict, match="named by flaky"):
        site.ledger.do(notifications.delete_list("ops", SYSTEM, START_US))


async def test_what_somebody_ended_is_not_told() -> None:
    """Cancelled on request: nobody is told that it failed."""
    site = Failing(RetryRule())
    site.ledger.do(notifications.put_list("ops", ListSpec(emails=["a@b.net"]), SEAL.seal, SYSTEM, START_US))
    monitors = JobMonitors(notify_failed=["ops"])
    spec = jobs.JobSpec(name="flaky", command="x", agent="north", job_monitors=monitors)
    site.ledger.do(jobs.update("flaky", spec, SYSTEM, START_US))
    run = site.request()
    run_rows.update(site.ledger.connection, run.number, dispatched_epoch=1)
    site.ledger.do(runs.kill(run.number, SYSTEM, START_US))
    site.end(run, None, "killed", 9)
    await site.stage.turn()
    assert rows.log(site.ledger.connection) == []


def test_an_alarm_goes_to_the_lists_that_want_alarms_once() -> None:
    """An open alarm that is said again is the same message, and is not told again; a warning is told to nobody."""
    site = Site()
    site.put("ops", emails=["a@b.net"], alarms=True)
    site.put("quiet", emails=["c@d.net"])
    for _ in range(2):
        system_messages.insert(site.ledger.connection, "alarm", "alpha works alone", START_US)
    system_messages.insert(site.ledger.connection, "warning", "late", START_US)
    assert [(one.list, one.what, one.text) for one in site.log()] == [("ops", "alarm", "alpha works alone")]


def test_a_job_names_only_lists_that_exist() -> None:
    """Refused beside the field, with the command to type."""
    site = Failing(RetryRule())
    spec = jobs.JobSpec(name="flaky", command="x", agent="north", job_monitors=JobMonitors(notify=["nobody"]))
    with pytest.raises(Invalid, match="understudy notification set nobody") as refused:
        site.ledger.do(jobs.update("flaky", spec, SYSTEM, START_US))
    assert set(refused.value.fields) == {"job_monitors.notify"}


def test_lists_are_in_the_export_without_their_secrets() -> None:
    """Read into an empty cluster the job finds its list; a webhook is refused there until the file has its secret."""
    site = Failing(RetryRule())
    hidden = Webhook(url="https://x.net/h", secret="a very secret word")
    for name, spec in (("ops", ListSpec(emails=["a@b.net"], alarms=True)), ("hook", ListSpec(webhooks=[hidden]))):
        site.ledger.do(notifications.put_list(name, spec, SEAL.seal, SYSTEM, START_US))
    told = jobs.JobSpec(name="flaky", command="x", agent="north", job_monitors=JobMonitors(notify=["ops"]))
    site.ledger.do(jobs.update("flaky", told, SYSTEM, START_US))
    text = exports.export(site.ledger.connection)
    assert "very secret" not in text
    of = exports.Importer(SYSTEM, START_US, SEAL.seal, lambda name: name)
    assert {one.outcome for one in site.ledger.do(exports.import_all(exports.read(text), of))} == {"same"}
    empty = Site()
    empty.ledger.add_agent("north")
    report = {one.name: one for one in empty.ledger.do(exports.import_all(exports.read(text), of))}
    assert {name: one.outcome for name, one in report.items()} == {"ops": "made", "flaky": "made", "hook": "refused"}
    assert "needs a secret" in report["hook"].reason
