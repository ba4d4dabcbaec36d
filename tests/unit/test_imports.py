"""Files of other schedulers: what becomes of each line, and that importing twice makes nothing new (SKY-21)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.actions import imports
from server.actions.imports import Imported, Place
from server.core import anacrontab, cronicle, when
from server.core.foreign_jobs import ForeignJob
from server.core.model import SYSTEM
from server.errors import Invalid, NotFound
from server.storage import jobs, schedules
from tests.unit.ledger import START_US, Ledger

PLAIN: dict[str, Any] = {
    "id": "e1", "title": "Nightly Reindex", "plugin": "shellplug", "target": "maingrp", "enabled": 1, "catch_up": 1,
    "timezone": "America/New_York", "timing": {"hours": [21], "minutes": [20, 40]}, "timeout": 3600, "retries": 2,
    "retry_delay": 30, "max_children": 1, "notes": "see the runbook", "params": {"script": "#!/bin/sh\n\nreindex\n"},
}  # fmt: skip


def event(**more: Any) -> dict[str, Any]:
    return {**PLAIN, **more}


def one(**more: Any) -> ForeignJob:
    """The job that an event becomes."""
    (line,) = cronicle.parse(json.dumps([event(**more)]))
    assert line.job is not None, line.reason
    return line.job


def refused(**more: Any) -> str:
    """Why an event is refused."""
    (line,) = cronicle.parse(json.dumps([event(**more)]))
    assert line.kind == "refused"
    return line.reason


def test_an_event_becomes_a_job() -> None:
    """Its time, zone, retries, time limit, catch-up and text are those of the job."""
    job = one()
    assert job.schedules == ("20,40 21 * * *",)
    assert (job.zone, job.target, job.name, job.command) == (
        "America/New_York",
        "maingrp",
        "Nightly Reindex",
        "reindex",
    )
    assert (job.retry.attempts_max, job.retry.delay_s, job.retry.factor) == (3, 30, 1.0)
    assert (job.timeout_s, job.misfire_policy, job.skip_if_running, job.description) == (
        3600, "all", True, "see the runbook",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("timing", "expressions"),
    [
        (None, ()),
        (False, ()),
        ({"minutes": [0]}, ("0 * * * *",)),
        ({"hours": [4], "minutes": [5], "days": [1, 15]}, ("5 4 1,15 * *",)),
        ({"hours": [4], "minutes": [5], "weekdays": [0, 6]}, ("5 4 * * 0,6",)),
        ({"months": [3], "hours": [4], "minutes": [5]}, ("5 4 * 3 *",)),
        ({"days": list(range(8, 15)), "weekdays": [2], "hours": [6], "minutes": [0]}, ("2nd Tuesday at 06:00",)),
        (
            {"days": list(range(1, 8)), "weekdays": [1, 5], "months": [3, 9], "hours": [6, 18], "minutes": [30]},
            ("1st Monday of Mar, Sep at 06:30, 18:30", "1st Friday of Mar, Sep at 06:30, 18:30"),
        ),
    ],
)
def test_timings(timing: object, expressions: tuple[str, ...]) -> None:
    """Lists of numbers become cron; days and weekdays that must both match become the n-th weekday of the month."""
    found = one(timing=timing).schedules
    assert found == expressions
    assert not any(when.When(expression).wrong() for expression in found)


def test_scripts_of_other_programs_are_read_from_standard_input() -> None:
    """A script for the shell is the command; one for bash or python is given to that program."""
    job = one(params={"script": "#!/usr/bin/env python3\r\nprint(1)\n"})
    assert (job.command, job.standard_input) == (
        "/usr/bin/env python3 /dev/stdin", "#!/usr/bin/env python3\nprint(1)\n",
    )  # fmt: skip
    assert one(params={"script": "echo plain"}).command == "echo plain"


def test_a_request_becomes_curl() -> None:
    """Method, address, headers, body and what the answer must hold; nothing of it reaches a shell unquoted."""
    params = {"method": "post", "url": "https://a.test/x?y=1&z=$(id)", "headers": "A: b\n\nC: d", "data": "{}",
              "success_match": "done", "error_match": "oops", "follow": 1}  # fmt: skip
    job = one(plugin="urlplug", params=params)
    assert job.command == (
        "curl --fail --silent --show-error --request POST --location --header 'A: b' --header 'C: d'"
        " --data-binary @- 'https://a.test/x?y=1&z=$(id)'"
    )
    assert job.standard_input == "{}"
    assert (job.exit_rules.success_pattern, job.exit_rules.failure_pattern) == ("done", "oops")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"plugin": "pm7x"}, "is a program of that installation"),
        ({"timing": {"years": [2027], "minutes": [0]}}, "certain years"),
        ({"timing": {"days": [13], "weekdays": [5], "hours": [1], "minutes": [0]}}, "must both match"),
        ({"timing": {"hours": [24], "minutes": [0]}}, "numbers from 0 to 23"),
        ({"timing": {"hours": ["4"], "minutes": [0]}}, "numbers from 0 to 23"),
        ({"timing": "hourly"}, "no set of lists"),
        ({"params": {"script": " \n"}}, "its script is empty"),
        ({"params": []}, "its script is empty"),
        ({"multiplex": 1}, "policy `all`"),
        ({"timeout": -1}, "no whole number"),
        ({"plugin": "urlplug", "params": {}}, "has no address"),
    ],
)
def test_refusals_name_what_stands_in_the_way(more: dict[str, Any], reason: str) -> None:
    """What cannot be a job here is refused alone, and says what to write instead where there is something."""
    assert reason in refused(**more)


def test_what_is_not_taken_over_is_named() -> None:
    """Chains, hooks, mails and limits are in the report and not silently dropped."""
    text = json.dumps([event(chain="e2", web_hook="https://x", max_children=3, notify_fail="a@b.test")])
    (line,) = cronicle.parse(text)
    for word in ("chain", "web_hook", "notify_fail", "runs at once"):
        assert word in line.reason


def test_an_export_file_is_read_line_by_line() -> None:
    """Events are in the pages of one list; other records are passed over; a broken line is refused alone."""
    page = {"type": "list_page", "items": [event(), event(title="Second", enabled=0), "no event"]}
    text = "\n".join([
        "# Cronicle Data Export v1.0", "", 'global/users - {"type":"list"}',
        f"global/schedule/0 - {json.dumps(page)}", "global/schedule/-1 - {broken}", "what is this",
    ])  # fmt: skip
    found = [(line.number, line.kind, line.text) for line in cronicle.parse(text)]
    assert found[3:] == [
        (4, "job", "Nightly Reindex"), (4, "job", "Second"), (4, "refused", "no event"),
        (5, "refused", "global/schedule/-1"), (6, "refused", "what is this"),
    ]  # fmt: skip
    assert cronicle.parse('{"rows": 3}')[0].kind == "refused"
    assert cronicle.parse("[")[0].kind == "refused"


def outcomes(report: list[Imported]) -> list[str]:
    return [line.outcome for line in report]


def test_an_import_of_events_goes_where_their_targets_are() -> None:
    """A target has a place here or is refused with what to type; twice is the same; what was switched off is held."""
    ledger = Ledger()
    ledger.add_agent()
    text = json.dumps([event(), event(title="Second", enabled=0), event(title="Third", target="db9")])

    def run(place: Place) -> list[Imported]:
        return ledger.do(imports.import_file(text, "cronicle", place, "UTC", SYSTEM, START_US, "cronicle"))

    place = Place(targets={"maingrp": "north"})
    first = run(place)
    assert outcomes(first) == ["job", "job", "refused"]
    assert "--target db9=AGENT" in first[2].reason
    assert outcomes(run(place)) == ["exists", "exists", "refused"]
    assert outcomes(run(Place(agent="north"))) == ["exists", "exists", "job"]
    found = {job.name.rsplit("-", 1)[0]: job for job in jobs.page(ledger.connection)}
    assert sorted(found) == ["cronicle-Nightly-Reindex", "cronicle-Second", "cronicle-Third"]
    assert (found["cronicle-Second"].held, found["cronicle-Nightly-Reindex"].held) == (True, False)
    (schedule,) = schedules.of_job(ledger.connection, found["cronicle-Nightly-Reindex"].id)
    assert (schedule.cron, schedule.zone) == ("20,40 21 * * *", "America/New_York")
    with pytest.raises(NotFound):
        run(Place(targets={"maingrp": "nowhere"}))
    with pytest.raises(Invalid):
        ledger.do(imports.import_file(text, "jenkins", place, "UTC", SYSTEM, START_US))


def test_an_anacrontab_has_times_and_makes_up_for_them() -> None:
    """The start of its hours plus the delay; a random delay is jitter; bad lines are refused each with its reason."""
    text = (
        "START_HOURS_RANGE=3-22\nRANDOM_DELAY=45\n1 5 daily run-a\n7\t10\tweekly\trun-b -x 1\n@monthly 15 m run-c\n"
        "0 5 never x\n1 2000 late x\n1 5 nothing\n"
    )
    lines = anacrontab.parse(text)
    assert [line.kind for line in lines] == [*["environment"] * 2, *["job"] * 3, *["refused"] * 3]
    jobs_found = [line.job for line in lines if line.job is not None]
    assert [job.schedules[0] for job in jobs_found] == [
        "5 3 * * *", "every 7 days from 2000-01-01 03:10", "15 3 1 * *",
    ]  # fmt: skip
    assert {job.jitter_s for job in jobs_found} == {45 * 60}
    assert jobs_found[1].command == "run-b -x 1"
    assert jobs_found[0].environment == {}
