"""Lists as files: every list pages to its end by its key, times are readable, a spreadsheet computes nothing."""

from __future__ import annotations

import pytest

from server.actions.change import record as audit
from server.core.model import SYSTEM
from server.storage import missed, runs, system_messages
from server.web.listings import LISTINGS, cells, record
from tests.unit.ledger import START_US, Ledger


@pytest.fixture
def ledger() -> Ledger:
    """Twelve of most things."""
    made = Ledger()
    made.add_agent()
    for number in range(12):
        job = made.add_job(name=f"job-{number:02}")
        run = runs.insert(made.connection, f"j{job.id}.rx.a1", job.id, job.agent_id, "true", "running", START_US)
        runs.set_state(made.connection, run, "failed" if number % 3 else "succeeded", START_US + 1)
        schedule = made.connection.execute("SELECT id FROM schedules WHERE job_id = ?", (job.id,)).fetchone()[0]
        missed.record(made.connection, job.id, schedule, START_US, "scheduler stopped", START_US)
        system_messages.insert(made.connection, "info", f"message {number}", START_US)
        audit(made.connection, SYSTEM, START_US, "jobs.test", f"job-{number:02}", "", "")
    return made


@pytest.mark.parametrize("path", sorted(LISTINGS))
def test_every_list_pages_to_its_end(ledger: Ledger, path: str) -> None:
    """Pages of five put together are what one page of all is: nothing twice, nothing left out."""
    listing = LISTINGS[path]
    whole = list(listing.page(ledger.connection, {}, None, 1000))
    found, after = [], None
    while page := listing.page(ledger.connection, {}, after, 5):
        found += page
        after = getattr(page[-1], listing.key)
    assert found == whole
    if path in ("/jobs", "/runs", "/scheduler", "/messages", "/audit"):
        assert len(found) >= 12


def test_the_filters_of_the_page_hold(ledger: Ledger) -> None:
    """Runs by state and by job; a job or state that there is not gives nothing, or all."""
    page = LISTINGS["/runs"].page
    assert len(page(ledger.connection, {"state": "failed"}, None, 100)) == 8
    assert len(page(ledger.connection, {"job": "job-03"}, None, 100)) == 1
    assert len(page(ledger.connection, {"job": "nothing"}, None, 100)) == 0
    assert len(LISTINGS["/jobs"].page(ledger.connection, {"match": "-1"}, None, 100)) == 2


def test_times_are_readable(ledger: Ledger) -> None:
    """Microseconds become ISO 8601 in UTC, under the name without the unit; what has no time is empty."""
    row = record(LISTINGS["/runs"].page(ledger.connection, {}, None, 1)[0])
    assert row["submitted_at"] == "2026-09-21T14:13:20.000Z"
    assert row["started_at"] is None
    assert not [name for name in row if name.endswith("_us")]


def test_a_spreadsheet_computes_nothing() -> None:
    """A text that begins like a formula is quoted; numbers stay numbers, nothing is an empty cell."""
    found = {"a": "=HYPERLINK(1)", "b": "-1 day", "c": "plain", "d": -5, "e": None, "f": True, "g": {"k": "v"}}
    assert list(cells(found)) == ["'=HYPERLINK(1)", "'-1 day", "plain", "-5", "", "true", '{"k":"v"}']
