"""Calendars: their rules and sources, who uses them, and that a change of days is a change of what is due."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime

import pytest

from server.actions import calendars, jobs
from server.actions.calendar_sources import file_lines
from server.core.calendar_days import read, wrong_rules
from server.core.calendar_rules import CalendarSpec
from server.core.model import DAY_US, SECOND_US, SYSTEM, Principal
from server.core.schedule import expand
from server.core.when import read_line
from server.errors import Conflict, Forbidden, Invalid, NotFound
from server.office.scheduler import Scheduler
from server.storage import calendars as rows
from server.storage import jobs as job_rows
from server.storage import orders, schedules
from server.web.pages.calendars import picture
from tests.unit.ledger import START_US, HandClock, Ledger, LocalStore

BOB = Principal("bob", "operator")
WEEKENDS = CalendarSpec(name="weekends", days=["Saturday", "Sunday"])
ICS = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//works council//EN
BEGIN:VEVENT
UID:1
DTSTART;VALUE=DATE:20261224
DTEND;VALUE=DATE:20261227
SUMMARY:Plant holiday
END:VEVENT
BEGIN:VEVENT
UID:2
DTSTART;TZID=Europe/Berlin:20261002T220000
DTEND;TZID=Europe/Berlin:20261003T020000
RRULE:FREQ=YEARLY;COUNT=3
SUMMARY:Stocktaking # by night
END:VEVENT
END:VCALENDAR
"""


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    made.add_agent()
    return made


def due(ledger: Ledger, job_id: int) -> list[str]:
    """The instants of the job's order, as days."""
    (order,) = [order for order in orders.of_job(ledger.connection, job_id) if order.state == "active"]
    return [
        datetime.fromtimestamp(t // SECOND_US, UTC).strftime("%a %d") for t in expand(order.instants) if t > START_US
    ]


async def turn(ledger: Ledger, now_us: int = START_US) -> None:
    await Scheduler(LocalStore(ledger), HandClock(now_us)).turn()


def test_rules_mark_days() -> None:
    """Each form of line marks its days, `without` takes some away, and names are kept."""
    lines = ["2026-05-01 # Labour Day", "2026-12-30 - 2027-01-02", "12-24", "Sat", "last Friday of Nov, Dec"]
    days = read(lines, ["2026-12-26"], "key")
    marked = ["2026-05-01", "2026-12-30", "2027-01-02", "2031-12-24", "2026-09-26", "2026-11-27", "2026-12-25"]
    unmarked = ["2028-05-01", "2026-12-26", "2026-11-20", "2026-10-30", "2026-12-27"]
    assert all(date.fromisoformat(text).toordinal() in days for text in marked)
    assert not any(date.fromisoformat(text).toordinal() in days for text in unmarked)
    assert days.name(date(2026, 5, 1).toordinal()) == "Labour Day"
    assert [month.name for month in picture(days, 2026)][::11] == ["January", "December"]
    assert {d.number for week in picture(days, 2026)[4].weeks for d in week if d.is_marked} == {1, 2, 9, 16, 23, 30}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("2026-02-30", "is no date"),
        ("13-01", "is no day of a year"),
        ("Someday", "is no weekday"),
        ("last working day", "cannot be a rule"),
        ("2026-05-03 - 2026-05-01", "must end after it begins"),
    ],
)
def test_a_wrong_rule_is_named_by_its_line(line: str, said: str) -> None:
    """The second line is wrong, and that is said."""
    assert said in wrong_rules(["Sunday", line])
    assert wrong_rules(["Sunday", line]).startswith("line 2: ")


def test_holidays_are_no_rules(ledger: Ledger) -> None:
    """The list counts what people wrote, also what is never marked, and beside it the days that holidays add."""
    spec = CalendarSpec(name="DE-BY", country="DE", subdivision="BY", days=["Saturday"], without=["2026-09-26"])
    ledger.do(calendars.create(spec, BOB, START_US))
    (line,) = rows.lines(ledger.connection)
    assert line.rules == 2
    assert line.lines > 10


def test_holidays_are_written_into_the_row(ledger: Ledger) -> None:
    """Country and subdivision become dated lines for years to come; an unknown one says what to write."""
    ledger.do(calendars.create(CalendarSpec(name="DE-BY", country="DE", subdivision="BY"), BOB, START_US))
    found = rows.by_name(ledger.connection, "DE-BY")
    assert found is not None
    assert found.holidays_until == 2036
    assert date(2026, 6, 4).toordinal() in found.marks  # Corpus Christi, in Bavaria and not in Berlin
    assert date(2036, 12, 25).toordinal() in found.marks
    assert date(2026, 6, 5).toordinal() not in found.marks
    with pytest.raises(Invalid, match=r"no holidays for the country 'XX'\. Write its two letters"):
        calendars.create(CalendarSpec(name="x", country="XX"), BOB, START_US)
    with pytest.raises(Invalid, match=r"DE has no subdivision 'ZZ'\. Known: BB BE"):
        calendars.create(CalendarSpec(name="x", country="DE", subdivision="ZZ"), BOB, START_US)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without the libraries says which extra has them; a calendar by rules needs none."""
    for name in ("holidays", "icalendar"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(Invalid, match="extra `calendars`"):
        calendars.create(CalendarSpec(name="DE", country="DE"), BOB, START_US)
    with pytest.raises(Invalid, match="extra `calendars`"):
        calendars.import_file("weekends", ICS, BOB, START_US)
    calendars.create(WEEKENDS, BOB, START_US)


def test_what_is_wrong_is_said_by_field() -> None:
    """Every wrong field at once, and who may not is refused."""
    spec = CalendarSpec(name="a b", kind="moon", subdivision="BY", days=["Someday"])
    with pytest.raises(Invalid) as caught:
        calendars.create(spec, BOB, START_US)
    assert set(caught.value.fields) == {"name", "kind", "subdivision", "days"}
    with pytest.raises(Forbidden):
        calendars.create(WEEKENDS, Principal("eve", "auditor"), START_US)


async def test_a_change_of_days_plans_the_jobs_again(ledger: Ledger) -> None:
    """A job that is not on weekends has none in its order; a new free day leaves it, and only its job is planned."""
    ledger.do(calendars.create(WEEKENDS, BOB, START_US))
    job = ledger.add_job(cron="", schedules=[read_line("0 6 * * *; not on weekends", "UTC")])
    other = ledger.add_job(name="other")
    await turn(ledger)
    before = due(ledger, job.id)
    assert before == ["Tue 22", "Wed 23", "Thu 24", "Fri 25", "Mon 28"]
    spec = CalendarSpec(name="weekends", days=["Saturday", "Sunday", "2026-09-23"])
    assert ledger.do(calendars.update("weekends", spec, BOB, START_US)).planned == 1
    assert job_rows.to_plan(ledger.connection) == [job.id]
    await turn(ledger, START_US + SECOND_US)
    assert "Wed 23" not in due(ledger, job.id)
    assert {"Tue 22", "Thu 24"} <= set(due(ledger, job.id))
    assert job_rows.get(ledger.connection, other.id).version == 1  # type: ignore[union-attr]  # it was just made


def test_only_the_description_changes_no_plan(ledger: Ledger) -> None:
    """Words are no days: nothing is planned again; a change by somebody else meanwhile is a conflict."""
    ledger.do(calendars.create(WEEKENDS, BOB, START_US))
    ledger.add_job(cron="", schedules=[read_line("0 6 * * *; not on weekends", "UTC")])
    spec = CalendarSpec(name="weekends", description="no work", days=["Saturday", "Sunday"])
    assert ledger.do(calendars.update("weekends", spec, BOB, START_US, version=1)).planned == 0
    with pytest.raises(Conflict, match="changed by somebody else"):
        ledger.do(calendars.update("weekends", spec, BOB, START_US, version=1))


def test_a_calendar_in_use_is_not_deleted(ledger: Ledger) -> None:
    """The refusal names the jobs; without a use it goes, and an unknown one is not found by a schedule."""
    ledger.do(calendars.create(WEEKENDS, BOB, START_US))
    job = ledger.add_job(cron="", schedules=[read_line("0 6 * * *; not on weekends", "UTC")])
    with pytest.raises(Conflict, match="1 schedule uses the calendar weekends, of backup"):
        ledger.do(calendars.delete("weekends", BOB, START_US))
    ledger.do(jobs.delete(job.name, SYSTEM, START_US))
    ledger.do(calendars.delete("weekends", BOB, START_US))
    assert ledger.count("calendars") == 0
    assert ledger.count("audit", "action = 'calendars.delete'") == 1
    with pytest.raises(NotFound, match="no calendar weekends"):
        ledger.add_job(name="again", cron="", schedules=[read_line("0 6 * * *; not on weekends", "UTC")])


def test_an_ics_file_adds_its_days(ledger: Ledger) -> None:
    """Whole days, repeated events and names; days that are there are not added twice, and rubbish is refused."""
    ledger.do(calendars.create(WEEKENDS, BOB, START_US))
    done = ledger.do(calendars.import_file("weekends", ICS, BOB, START_US))
    assert done.added == 9
    assert ledger.do(calendars.import_file("weekends", ICS, BOB, START_US)).added == 0
    found = rows.by_name(ledger.connection, "weekends")
    assert found is not None
    assert found.days[2:4] == ["2026-10-02 # Stocktaking by night", "2026-10-03 # Stocktaking by night"]
    assert "2028-10-02 # Stocktaking by night" in found.days
    assert [line for line in found.days if "Plant" in line] == [f"2026-12-{d} # Plant holiday" for d in (24, 25, 26)]
    with pytest.raises(Invalid, match=r"is no \.ics file"):
        file_lines("hello", 2026)
    with pytest.raises(Invalid, match="more often than daily"):
        file_lines(ICS.replace("FREQ=YEARLY", "FREQ=SECONDLY"), 2026)
    with pytest.raises(Invalid, match="no event from"):
        file_lines(ICS, 1990)


async def test_what_a_blackout_window_leaves_out_is_in_the_ledger_once(ledger: Ledger) -> None:
    """Each instant in the window has one row, closed by the rule; with the policy `ask` it stays open for a person."""
    line = read_line("0 */6 * * *; except Tue 00:00 - Wed 00:00", "UTC")
    closed = ledger.add_job(cron="", schedules=[line])
    asked = ledger.add_job(name="asked", cron="", schedules=[line], misfire_policy="ask")
    await turn(ledger)
    assert "Tue 22" not in due(ledger, closed.id)
    for now_us in (START_US + DAY_US, START_US + DAY_US, START_US + 3 * DAY_US):
        await turn(ledger, now_us)
    found = ledger.connection.execute("SELECT job_id, cause, resolution FROM missed ORDER BY id").fetchall()
    by_rule, open_rows = (closed.id, "blackout window", "policy"), (asked.id, "blackout window", "")
    assert sorted(found) == [by_rule] * 4 + [open_rows] * 4
    (schedule,) = schedules.of_job(ledger.connection, closed.id)
    assert schedule.blackout_next_us is not None
    assert schedule.blackout_next_us > START_US + 3 * DAY_US


def test_schedules_come_back_as_they_were_said(ledger: Ledger) -> None:
    """Rows and words are the same, an unchanged schedule stays the same row, and a changed one is another."""
    ledger.do(calendars.create(WEEKENDS, BOB, START_US))
    lines = [
        "0 6 * * *; not on weekends; else next day",
        "2nd Tuesday at 06:00 Asia/Tokyo; twice in the overlap; jitter 90s",
    ]
    whens = [read_line(line, "UTC") for line in lines]
    job = ledger.add_job(cron="", schedules=whens)
    assert jobs.schedules_of(ledger.connection, job.id) == whens
    numbers = [row.id for row in schedules.of_job(ledger.connection, job.id)]
    spec = jobs.JobSpec(name="backup", command="true", agent="north", schedules=[whens[1], read_line("@daily", "UTC")])
    ledger.do(jobs.update("backup", spec, SYSTEM, START_US))
    assert [row.id for row in schedules.of_job(ledger.connection, job.id)] == [numbers[1], numbers[1] + 1]


def test_timings_are_of_what_is_in_force(ledger: Ledger) -> None:
    """For a forecast of everything: equal schedules share a timing, jitter has its own, a held job has none."""
    ledger.do(calendars.create(WEEKENDS, BOB, START_US))
    line = read_line("0 6 * * *; not on weekends", "UTC")
    first = ledger.add_job(cron="", schedules=[line, read_line("0 6 * * *; jitter 5m", "UTC")])
    second = ledger.add_job(name="second", cron="", schedules=[line])
    ledger.add_job(name="held", cron="", schedules=[line])
    ledger.do(jobs.hold("held", SYSTEM, START_US))
    found = dict(schedules.timings(ledger.connection))
    made = {job: schedules.of_job(ledger.connection, job) for job in (first.id, second.id)}
    assert found == {(job, row.id): row.timing for job, rows_ in made.items() for row in rows_}
    assert len(set(found.values())) == 2
