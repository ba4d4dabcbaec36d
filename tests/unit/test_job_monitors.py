"""Job monitors: late start, overrun, must complete by, underrun; each trips once for a run (SKY-15)."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest

from server.actions import exceptions, gates, jobs, reconciliation, reports, runs
from server.actions import job_monitors as job_actions
from server.core import agent_wire as wire
from server.core.happenings import Kind
from server.core.job_monitors import (
    JobMonitors,
    MonitorKind,
    label_of,
    read_named,
    slug,
    write_named,
    wrong_job_monitors,
)
from server.core.model import DAY_US, HOUR_US, MINUTE_US, SECOND_US, SYSTEM, Run
from server.core.monitor_watches import Trip, complete_by_us, judge_end, judge_expected
from server.core.run_keys import occurrence_key
from server.office.scheduler import Scheduler
from server.storage import happenings, job_monitors, missed, schedules
from server.storage import runs as run_rows
from tests.unit.ledger import START_US
from tests.unit.stage import FIRST_US
from tests.unit.test_retries import RULE, Failing, run_that

LATE = JobMonitors(late_start_s=600)


def started(at_us: int | None, state: str = "running", **more: object) -> Run:
    return run_that(state, started_at_us=at_us, scheduled_for_us=0, requested_by="schedule", **more)


@pytest.mark.parametrize(
    ("kind", "attempts", "is_late"),
    [
        ("late start", [], True),
        ("late start", [started(None, "waiting")], True),
        ("late start", [started(9)], False),
        ("late start", [started(11)], True),
        ("late start", [started(None, "skipped")], False),
        ("late start", [started(9, "failed"), started(None, "waiting")], False),
        ("must complete by", [], True),
        ("must complete by", [started(9)], True),
        ("must complete by", [started(9, "succeeded", ended_at_us=10)], False),
        ("must complete by", [started(9, "succeeded", ended_at_us=11)], True),
        ("must complete by", [started(9, "failed", ended_at_us=9), started(None, "waiting")], True),
        ("must complete by", [msgspec.structs.replace(started(9), requested_by="ada")], False),
    ],
)
def test_what_is_expected_as_a_table(kind: str, attempts: list[Run], is_late: bool) -> None:
    """By 10: begun, or complete; judged later it is held to what was by then; what people asked for has no deadline."""
    assert judge_expected(kind, attempts, 10) == is_late


@pytest.mark.parametrize(
    ("state", "took_s", "kind"),
    [
        ("succeeded", 4, MonitorKind.UNDERRUN),
        ("failed", 4, MonitorKind.UNDERRUN),
        ("killed", 4, None),
        ("succeeded", 5, None),
        ("succeeded", 60, None),
        ("killed", 61, MonitorKind.OVERRUN),
        ("interrupted", 61, MonitorKind.OVERRUN),
    ],
)
def test_what_an_end_trips_as_a_table(state: str, took_s: int, kind: MonitorKind | None) -> None:
    """Shorter than 5 s by itself, or longer than 60 s however it ended."""
    run = started(START_US, state, ended_at_us=START_US + took_s * SECOND_US)
    assert judge_end(JobMonitors(underrun_s=5, overrun_s=60), run) == ([kind] if kind else [])


@pytest.mark.parametrize(
    ("clock", "due", "expected"),
    [
        ("06:30", "2026-03-28T05:00", "2026-03-28T06:30"),
        ("06:30", "2026-03-28T06:30", "2026-03-29T06:30"),
        ("02:30", "2026-03-28T22:00", "2026-03-29T03:30"),
        ("02:30", "2026-10-24T22:00", "2026-10-25T02:30"),
        ("00:00", "2026-12-31T23:00", "2027-01-01T00:00"),
    ],
)
def test_complete_by_is_wall_time_in_its_zone(clock: str, due: str, expected: str) -> None:
    """The first one later than the due time; in the gap of a spring night as much later as clocks go forward."""
    zone = ZoneInfo("Europe/Berlin")
    due_us = int(datetime.fromisoformat(due).replace(tzinfo=zone).timestamp()) * SECOND_US
    found = datetime.fromtimestamp(complete_by_us(clock, "Europe/Berlin", due_us) // SECOND_US, zone)
    assert found.strftime("%Y-%m-%dT%H:%M") == expected


def test_wrong_settings_name_their_fields() -> None:
    """Bounds, a time that is none, a zone that is none, and an underrun above the overrun."""
    wrong = wrong_job_monitors(
        JobMonitors(late_start_s=-1, overrun_s=5, underrun_s=5, complete_by="25:00", zone="Moon")
    )
    assert {name.partition(".")[2] for name in wrong} == {"late_start_s", "underrun_s", "complete_by", "zone"}
    assert wrong_job_monitors(JobMonitors(late_start_s=60, complete_by="06:30", zone="Asia/Kathmandu")) == {}
    more = [read_named(text) for text in ("slow overrun 0", "slow overrun 9", "A underrun 1", "x complete-by 25:00")]
    said = wrong_job_monitors(JobMonitors(more=more))["job_monitors.more"]
    assert [word in said for word in ("from 1 to", "slow is there twice", "small letters", "06:30")] == [True] * 4


@pytest.mark.parametrize("text", ["slow overrun 7200", "early complete-by 05:00 Europe/Berlin", "a late-start 60"])
def test_a_further_monitor_reads_as_it_is_written(text: str) -> None:
    """And its label is written in one word and read back."""
    one = read_named(text)
    assert write_named(one) == text
    (label,) = JobMonitors(more=[one]).kinds
    assert label_of(slug(label)) == label


@pytest.mark.parametrize("text", ["slow", "slow sometimes 5", "slow overrun", "slow overrun x", "slow overrun 1 UTC"])
def test_what_is_no_monitor_says_what_would_do(text: str) -> None:
    """In one sentence that names what was written."""
    with pytest.raises(ValueError, match=text.split()[-1]):
        read_named(text)


class Watched(Failing):
    """A stage with one job every five minutes, or on request, and job monitors."""

    def __init__(self, monitors: JobMonitors, cron: str = "", **more: object) -> None:
        super().__init__(RULE, job_monitors=monitors, **more)
        if cron:
            spec = jobs.JobSpec(name="flaky", command="x", agent="north", schedules=[jobs.When(cron)], retry=RULE)
            spec = msgspec.structs.replace(spec, job_monitors=monitors)
            self.ledger.do(jobs.update("flaky", spec, SYSTEM, START_US))
        self.schedules = [one.id for one in schedules.of_job(self.ledger.connection, self.job.id)]

    def begin_at(self, at_us: int, requested_by: str = "schedule") -> Run:
        """The agent reports that it began the occurrence in time."""
        key = occurrence_key(self.job.id, self.schedules[0], at_us)
        values = {"schedule_id": self.schedules[0], "scheduled_for_us": at_us, "started_at_us": at_us}
        connection = self.ledger.connection
        run_rows.insert(
            connection, key, self.job.id, self.job.agent_id, "x", "running", at_us, requested_by=requested_by, **values
        )
        found = run_rows.by_key(connection, key)
        assert found is not None
        return found

    def trips(self) -> list[Trip]:
        return list(reversed(job_monitors.trips(self.ledger.connection, self.job.id)))

    async def until(self, at_us: int) -> None:
        await self.stage.turn(at_us - self.stage.clock.now_us)


async def test_a_run_of_which_nobody_heard_is_late_once() -> None:
    """Every instant is expected; the first began in time, the second nobody reported: one trip, told to the outbox."""
    site = Watched(LATE, "*/5 * * * *")
    deadline_us = await site.stage.turn()
    assert deadline_us == FIRST_US
    monitor = job_monitors.of_kind(site.ledger.connection, site.job.id, "late start")
    assert monitor is not None
    happenings.watch(site.ledger.connection, Kind.MONITOR, monitor.id, "somebody")
    await site.until(FIRST_US)
    site.begin_at(FIRST_US)
    await site.until(FIRST_US + 5 * MINUTE_US)
    await site.until(FIRST_US + 14 * MINUTE_US)
    assert site.trips() == []
    site.ledger.connection.execute("DELETE FROM happenings")
    await site.until(FIRST_US + 15 * MINUTE_US)
    (trip,) = site.trips()
    assert (trip.run, trip.kind) == (None, "late start")
    assert trip.run_key == occurrence_key(site.job.id, site.schedules[0], FIRST_US + 5 * MINUTE_US)
    assert trip.text == "a run of flaky has not begun 10 min after its due time: nobody reported a start"
    assert site.ledger.count("system_messages", "severity = 'warning'") == 1
    await site.until(FIRST_US + 19 * MINUTE_US)
    assert len(site.trips()) == 1


async def test_a_silent_agent_is_named_and_a_locked_queue_too() -> None:
    """Why it has not begun: its agent is silent, or the reason with which the run waits."""
    silent = Watched(LATE, "*/5 * * * *")
    await silent.stage.turn()
    silent.ledger.do(reconciliation.fall_silent(silent.job.agent_id, START_US, START_US))
    await silent.until(FIRST_US)
    await silent.until(FIRST_US + 10 * MINUTE_US)
    assert silent.trips()[0].text.endswith("north is silent and may have begun it")
    locked = Watched(LATE, "*/5 * * * *")
    await locked.stage.turn()
    await locked.until(FIRST_US)
    key = occurrence_key(locked.job.id, locked.schedules[0], FIRST_US)
    specification = wire.Specification(job_id=locked.job.id, job_name="flaky", command="x")
    locked.ledger.do(gates.lock_all(SYSTEM, FIRST_US))
    held = wire.Report(1, key, FIRST_US, wire.Held(specification, FIRST_US, 1, "queue locked"))
    locked.ledger.do(reports.record(locked.job.agent_id, [held], 1, FIRST_US))
    await locked.until(FIRST_US + 10 * MINUTE_US)
    assert locked.trips()[0].text.endswith("queue locked")
    assert locked.trips()[0].run is not None


async def test_what_is_in_the_ledger_or_skipped_is_not_late() -> None:
    """A held job expects nothing; a stopped scheduler's instant is listed as missed; a skipped one somebody skipped."""
    site = Watched(LATE, "*/5 * * * *")
    await site.stage.turn()
    skip = exceptions.ExceptionSpec(instant_us=FIRST_US, skip=True)
    site.ledger.do(exceptions.put("flaky", skip, SYSTEM, START_US))
    await site.until(FIRST_US)
    second_us = FIRST_US + 5 * MINUTE_US
    missed.record(site.ledger.connection, site.job.id, site.schedules[0], second_us, "scheduler stopped", second_us)
    await site.until(FIRST_US + 16 * MINUTE_US)
    assert site.trips() == []
    site.ledger.do(jobs.hold("flaky", SYSTEM, site.stage.clock.now_us))
    await site.until(FIRST_US + 2 * HOUR_US)
    assert {trip.run_key for trip in site.trips()} <= {
        occurrence_key(site.job.id, site.schedules[0], FIRST_US + n * 5 * MINUTE_US) for n in (2, 3)
    }
    assert site.ledger.count("job_monitor_watches") == 0


async def test_after_a_time_without_a_master_each_instant_is_judged_once() -> None:
    """An hour later 11 instants are judged, after agents had time to tell; what they report until then is not late."""
    site = Watched(LATE, "*/5 * * * *")
    await site.stage.turn()
    site.stage.clock.now_us = FIRST_US + HOUR_US
    site.stage.scheduler = Scheduler(site.stage.store, site.stage.clock)
    await site.stage.turn()
    assert site.trips() == []
    site.begin_at(FIRST_US)
    await site.stage.turn(20 * SECOND_US)
    late = [trip.run_key for trip in site.trips()]
    assert late == [occurrence_key(site.job.id, site.schedules[0], FIRST_US + n * 5 * MINUTE_US) for n in range(1, 11)]


async def test_overrun_trips_while_it_runs_and_once() -> None:
    """At its bound, not before; its end later does not trip it again, and leaves nothing to look at."""
    site = Watched(JobMonitors(overrun_s=60))
    run = site.request()
    run_rows.set_state(site.ledger.connection, run.number, "running", START_US, started_at_us=START_US)
    deadline_us = await site.stage.turn()
    assert deadline_us == START_US + 60 * SECOND_US
    await site.until(START_US + 59 * SECOND_US)
    assert site.trips() == []
    await site.until(START_US + 60 * SECOND_US)
    assert [(trip.run, trip.kind) for trip in site.trips()] == [(run.number, "overrun")]
    run_rows.set_state(site.ledger.connection, run.number, "succeeded", START_US + 90 * SECOND_US)
    await site.until(START_US + HOUR_US)
    assert len(site.trips()) == 1
    assert site.ledger.count("job_monitor_watches") == 0


async def test_several_of_a_kind_trip_each_by_itself() -> None:
    """At one minute and at two; each once, under its own label, and each has an id of its own."""
    site = Watched(JobMonitors(overrun_s=60, more=[read_named("slow overrun 120"), read_named("short underrun 5")]))
    run = site.request()
    run_rows.set_state(site.ledger.connection, run.number, "running", START_US, started_at_us=START_US)
    await site.stage.turn()
    await site.until(START_US + 60 * SECOND_US)
    assert [trip.kind for trip in site.trips()] == ["overrun"]
    await site.until(START_US + 120 * SECOND_US)
    assert [trip.kind for trip in site.trips()] == ["overrun", "overrun/slow"]
    assert site.trips()[1].text == f"run {run.number} of flaky takes longer than 2 min"
    assert len({trip.monitor_id for trip in site.trips()}) == 2
    run_rows.set_state(site.ledger.connection, run.number, "succeeded", START_US + 121 * SECOND_US)
    await site.until(START_US + HOUR_US)
    assert len(site.trips()) == 2
    assert site.ledger.count("job_monitor_watches") == 0


async def test_a_monitor_is_clear_of_a_run_of_which_it_found_nothing() -> None:
    """Told once, at the end, by each that somebody waits for; late start: of a scheduled run that began in time."""
    late = read_named("late late-start 600")
    site = Watched(JobMonitors(overrun_s=60, late_start_s=60, more=[late]), "*/5 * * * *")
    await site.stage.turn()
    connection = site.ledger.connection
    labels = {one.id: one.kind for one in job_monitors.of_job(connection, site.job.id)}
    for number in labels:
        happenings.watch(connection, Kind.MONITOR, number, "somebody")
    told: list[tuple[str, str]] = []

    async def end(run: Run, after_s: int) -> list[tuple[str, str]]:
        run_rows.set_state(connection, run.number, "succeeded", START_US + after_s * SECOND_US)
        for happening in happenings.page(connection, 10):
            job_actions.follow_run(connection, happening, site.stage.clock.now_us)
        told = [(labels[h.source_id], h.status) for h in happenings.page(connection, 50) if h.kind == Kind.MONITOR]
        connection.execute("DELETE FROM happenings")
        return told

    asked = site.request()
    run_rows.set_state(connection, asked.number, "running", START_US, started_at_us=START_US)
    told = await end(asked, 61)
    assert told == [("overrun", "overrun")]
    await site.until(FIRST_US)
    run = site.begin_at(FIRST_US)
    told = await end(run, (FIRST_US - START_US) // SECOND_US + 30)
    assert sorted(told) == [("late start", "clear"), ("late start/late", "clear"), ("overrun", "clear")]
    await site.until(FIRST_US + 5 * MINUTE_US)
    other = site.begin_at(FIRST_US + 5 * MINUTE_US)
    run_rows.update(connection, other.number, started_at_us=FIRST_US + 7 * MINUTE_US)
    told = await end(other, (FIRST_US - START_US) // SECOND_US + 7 * 60 + 30)
    assert sorted(told) == [("late start/late", "clear"), ("overrun", "clear")]


async def test_an_overrun_that_nobody_could_see_is_found_at_the_end() -> None:
    """Begun and ended while no master was there: reported together, it trips; one in time does not."""
    for seconds, count in ((61, 1), (59, 0)):
        site = Watched(JobMonitors(overrun_s=60))
        run = site.request()
        connection = site.ledger.connection
        run_rows.set_state(connection, run.number, "running", START_US, started_at_us=START_US)
        run_rows.set_state(connection, run.number, "succeeded", START_US + seconds * SECOND_US)
        await site.stage.turn(HOUR_US)
        assert len(site.trips()) == count
        assert site.ledger.count("job_monitor_watches") == 0


async def test_underrun_trips_at_the_end() -> None:
    """Two seconds instead of five."""
    site = Watched(JobMonitors(underrun_s=5))
    run = site.request()
    run_rows.set_state(site.ledger.connection, run.number, "running", START_US, started_at_us=START_US)
    run_rows.set_state(site.ledger.connection, run.number, "succeeded", START_US + 2 * SECOND_US)
    await site.stage.turn(2 * SECOND_US)
    assert [trip.text for trip in site.trips()] == [f"run {run.number} of flaky ended sooner than 5 s after its start"]


async def test_complete_by_is_for_runs_at_their_time() -> None:
    """A scheduled run that still runs then trips; a run on request at the same time has no deadline."""
    site = Watched(JobMonitors(complete_by="15:00"), "0 14 * * *")
    await site.stage.turn()
    due_us = START_US // DAY_US * DAY_US + 38 * HOUR_US
    await site.until(due_us)
    run = site.begin_at(due_us)
    other = site.request()
    run_rows.set_state(site.ledger.connection, other.number, "running", due_us, started_at_us=due_us)
    await site.until(due_us + HOUR_US - SECOND_US)
    assert site.trips() == []
    await site.until(due_us + HOUR_US)
    assert [(trip.run, trip.text) for trip in site.trips()] == [
        (run.number, f"run {run.number} of flaky was not complete by 15:00 UTC")
    ]


async def test_a_monitor_keeps_its_id_and_what_is_off_looks_at_nothing() -> None:
    """Off and on again it is the same row, so a prerequisite still means it; off, its watches are gone."""
    site = Watched(LATE, "*/5 * * * *")
    await site.stage.turn()
    connection = site.ledger.connection
    before = job_monitors.of_kind(connection, site.job.id, "late start")
    spec = jobs.JobSpec(name="flaky", command="x", agent="north", schedules=[jobs.When("*/5 * * * *")])
    site.ledger.do(jobs.update("flaky", spec, SYSTEM, START_US))
    assert (site.ledger.count("job_monitor_watches"), site.ledger.count("watches")) == (0, 0)
    assert job_monitors.of_job(connection, site.job.id) == []
    site.ledger.do(jobs.update("flaky", msgspec.structs.replace(spec, job_monitors=LATE), SYSTEM, START_US))
    assert job_monitors.of_kind(connection, site.job.id, "late start") == before


async def test_a_look_costs_what_is_due() -> None:
    """The deadline is one look-up in an index, whatever is watched; a turn with nothing due writes nothing."""
    site = Watched(JobMonitors(overrun_s=3600))
    connection = site.ledger.connection
    for number in range(50):
        run = site.ledger.do(runs.run_now("flaky", f"n{number}", SYSTEM, START_US))
        run_rows.set_state(connection, run.number, "running", START_US, started_at_us=START_US)
    await site.stage.turn()
    sequence = site.stage.store.sequence
    await site.stage.turn(MINUTE_US)
    assert site.stage.store.sequence == sequence
    assert site.ledger.count("job_monitor_watches") == 50
    for query in ("SELECT min(due_us) FROM job_monitor_watches", "SELECT 1 FROM job_monitor_watches WHERE due_us <= 1"):
        plan = connection.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
        assert "job_monitor_watches_by_due" in plan[0][3]
