"""The forecast as people read it: counted by place, listed in order, with what was skipped and moved."""

from __future__ import annotations

from functools import partial

from server.actions import exceptions, jobs, outlooks
from server.actions.exceptions import ExceptionSpec
from server.core.model import DAY_US, HOUR_US, SYSTEM
from server.core.outlook import Outlook
from server.storage import forecasts
from server.web.pages.forecast import rows_of
from tests.unit.ledger import Ledger

MIDNIGHT_US = 1_790_035_200_000_000
"""2026-09-22 00:00 UTC."""


def made(ledger: Ledger, days: int = 1, limit: int = 100, job_id: int = 0) -> Outlook:
    after_us, until_us = MIDNIGHT_US - 1, MIDNIGHT_US - 1 + days * DAY_US
    found = forecasts.read(ledger.connection, after_us, until_us)
    return outlooks.make(found, after_us, until_us, HOUR_US, limit, job_id)


def site() -> Ledger:
    """Two agents: one job each hour, one at 03:00 and 15:00, one held."""
    ledger = Ledger()
    for name in ("north", "south"):
        ledger.add_agent(name)
    add = partial(ledger.add_job, now_us=MIDNIGHT_US - HOUR_US)
    add(name="hourly", cron="0 * * * *")
    add(name="twice", cron="0 3,15 * * *", agent="south")
    add(name="held", cron="* * * * *")
    ledger.do(jobs.hold("held", SYSTEM, MIDNIGHT_US - HOUR_US))
    return ledger


def test_a_day_is_counted_by_place_and_hour() -> None:
    """One each hour at north, two at south, nothing of a held job; the list is in order of time."""
    found = made(site())
    assert found.total == 26
    assert [(place.place, place.total) for place in found.places] == [("north", 24), ("south", 2)]
    assert [hour for hour, count in enumerate(found.places[1].counts) if count] == [3, 15]
    assert found.places[0].counts == [1] * 24
    assert [line.due_us for line in found.lines] == sorted(line.due_us for line in found.lines)
    assert len(found.lines) == 26


def test_the_first_lines_are_a_part_of_all() -> None:
    """A limit cuts the list and not the counts; one job alone has its own."""
    ledger = site()
    assert [line.job for line in made(ledger, limit=5).lines] == ["hourly", "hourly", "hourly", "hourly", "twice"]
    assert made(ledger, limit=5).total == 26
    twice = ledger.connection.execute("SELECT id FROM jobs WHERE name = 'twice'").fetchone()[0]
    assert made(ledger, days=7, job_id=twice).total == 14


def test_skipped_and_moved_occurrences_are_where_they_will_be() -> None:
    """A skipped one is not in it; a moved one is counted and listed where it begins, with its own time."""
    ledger = site()
    three, fifteen = MIDNIGHT_US + 3 * HOUR_US, MIDNIGHT_US + 15 * HOUR_US
    ledger.do(exceptions.put("twice", ExceptionSpec(instant_us=three, skip=True), SYSTEM, MIDNIGHT_US - HOUR_US))
    moved = ExceptionSpec(instant_us=fifteen, move_to_us=fifteen + 2 * HOUR_US)
    ledger.do(exceptions.put("twice", moved, SYSTEM, MIDNIGHT_US - HOUR_US))
    found = made(ledger)
    assert [hour for hour, count in enumerate(found.places[1].counts) if count] == [17]
    (line,) = [line for line in found.lines if line.job == "twice"]
    assert (line.due_us, line.moved_from_us) == (fifteen + 2 * HOUR_US, fifteen)
    assert found.total == 25


def test_the_picture_is_shaded_beside_the_busiest() -> None:
    """Levels 1 to 4 by quarters of the highest count of all places, 0 for nothing."""
    ledger = site()
    ledger.add_job(name="often", cron="*/15 3 * * *", now_us=MIDNIGHT_US - HOUR_US)
    rows = rows_of(made(ledger))
    assert rows[0].cells[3].count == 5
    assert (rows[0].cells[3].level, rows[0].cells[4].level, rows[1].cells[0].level) == (4, 1, 0)
