"""Planned maintenance windows: rule, what the scheduler does with them, banner, warning, API and page (BEY-10)."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from server.actions import maintenance, runs
from server.actions import maintenance_windows as actions
from server.core.maintenance import CRYOSPARC, Phase, Wish
from server.core.maintenance_windows import Window, WindowSpec, begin_us, fits, following, percentile_us, span
from server.core.model import DAY_US, HOUR_US, MINUTE_US, SYSTEM, Job, Principal
from server.errors import Forbidden, Invalid, NotFound
from server.storage import gates, maintenance_windows
from server.storage import maintenance as sessions
from tests.unit.ledger import START_US, Ledger
from tests.unit.stage import Stage
from tests.unit.web_desk import open_desk

AT_US = START_US + 2 * HOUR_US
ONCE = WindowSpec(title="storage", start_us=AT_US, duration_s=3600, lead_s=1800)


def window(ledger: Ledger, number: int = 1) -> Window:
    return actions.find(ledger.connection, number)


def kinds(ledger: Ledger) -> list[str]:
    return [gate.kind for gate in gates.every(ledger.connection)]


async def test_a_window_is_switched_on_and_off_by_itself() -> None:
    """The scheduler sleeps until it begins, begins the maintenance once, and that ends by itself at its end."""
    stage = Stage()
    stage.ledger.do(actions.add(ONCE, SYSTEM, START_US))
    assert await stage.turn() <= AT_US
    assert kinds(stage.ledger) == []
    await stage.turn(AT_US - stage.clock.now_us)
    assert (kinds(stage.ledger), window(stage.ledger).state, window(stage.ledger).said) == (
        ["maintenance"],
        "open",
        "begun",
    )
    session = sessions.open_of(stage.ledger.connection, "")
    assert session is not None
    assert (session.end_at_us, session.reason) == (AT_US + HOUR_US, "planned window 1: storage")
    await stage.turn(HOUR_US)
    assert (kinds(stage.ledger), window(stage.ledger).state) == ([], "over")
    await stage.turn(DAY_US)
    assert stage.ledger.count("maintenance_sessions") == 1


async def test_another_master_does_not_begin_it_again() -> None:
    """What was done is in the row: a scheduler that starts in the middle finds it open; an end by hand stays one."""
    stage = Stage()
    stage.ledger.do(actions.add(ONCE, SYSTEM, START_US))
    await stage.turn(AT_US - stage.clock.now_us)
    stage.ledger.do(maintenance.end("", SYSTEM, stage.clock.now_us))
    again = Stage()
    again.ledger, again.store, again.scheduler = stage.ledger, stage.store, stage.scheduler
    again.clock = stage.clock
    await again.turn(10 * MINUTE_US)
    assert kinds(stage.ledger) == []
    assert stage.ledger.count("maintenance_sessions") == 1


async def test_a_maintenance_of_somebody_else_is_left_as_it_is() -> None:
    """A window that finds one on says so, and does not end it."""
    stage = Stage()
    stage.ledger.do(actions.add(ONCE, SYSTEM, START_US))
    wish = Wish(phase=Phase.DRAINING, policy=CRYOSPARC, reason="by hand")
    stage.ledger.do(maintenance.start(wish, "", SYSTEM, START_US))
    await stage.turn(AT_US - stage.clock.now_us)
    await stage.turn(2 * HOUR_US)
    assert kinds(stage.ledger) == ["maintenance"]
    assert window(stage.ledger).said == "a maintenance was on already and was left as it is"


async def test_a_window_without_a_master_in_its_time_did_not_begin() -> None:
    """Behind its end it is not begun; late within it, it is, until the same end. What comes again goes on."""
    stage = Stage()
    stage.ledger.do(actions.add(ONCE, SYSTEM, START_US))
    every = msgspec.structs.replace(ONCE, start_us=None, expression="0 * * * *", duration_s=600)
    stage.ledger.do(actions.add(every, SYSTEM, START_US))
    await stage.turn(AT_US + HOUR_US - stage.clock.now_us)
    assert kinds(stage.ledger) == []
    assert (window(stage.ledger).state, window(stage.ledger).said[:17]) == ("over", "nobody was master")
    again = window(stage.ledger, 2)
    assert (again.state, again.start_us > stage.clock.now_us) == ("planned", True)
    await stage.turn(again.start_us + 5 * MINUTE_US - stage.clock.now_us)
    session = sessions.open_of(stage.ledger.connection, "")
    assert session is not None
    assert session.end_at_us == again.end_us
    await stage.turn(5 * MINUTE_US)
    assert (kinds(stage.ledger), window(stage.ledger, 2).start_us) == ([], again.start_us + HOUR_US)


def test_occurrences_do_not_overlap() -> None:
    """The next one begins when the present one is over at the earliest, and not in the past."""
    stage = Stage()
    spec = WindowSpec(expression="0 * * * *", duration_s=2 * 3600)
    first = stage.ledger.do(actions.add(spec, SYSTEM, START_US))
    after = following(first, first.end_us)
    assert after == (first.end_us, first.end_us + 2 * HOUR_US)
    late = following(first, first.end_us + 10 * HOUR_US + 1)
    assert late is not None
    assert late[0] == first.end_us + 11 * HOUR_US


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"title": "a\nb"}, "title"),
        ({"duration_s": 59}, "duration_s"),
        ({"lead_s": -1}, "lead_s"),
        ({"start_us": None}, "start_us"),
        ({"expression": "0 4 * * *"}, "start_us"),
        ({"start_us": START_US - 2 * HOUR_US}, "start_us"),
        ({"start_us": None, "expression": "99 * * * *"}, "expression"),
        ({"start_us": None, "expression": "0 4 * * *", "zone": "Mars"}, "expression"),
        ({"scope": "planet"}, "scope"),
    ],
)
def test_what_is_wrong_is_named_by_field(changes: dict[str, object], field: str) -> None:
    """Nothing is planned that could not begin, and the field says why."""
    ledger = Ledger()
    with pytest.raises(Invalid) as error:
        ledger.do(actions.add(msgspec.structs.replace(ONCE, **changes), SYSTEM, START_US))
    assert list(error.value.fields) == [field]
    assert maintenance_windows.page(ledger.connection) == []


def test_who_may_plan_and_of_what() -> None:
    """maintenance.change is asked for, the agent must exist, each is audited; what is removed does not begin."""
    ledger = Ledger()
    with pytest.raises(Forbidden):
        actions.add(ONCE, Principal("olga", "operator"), START_US)
    with pytest.raises(NotFound):
        ledger.do(actions.add(msgspec.structs.replace(ONCE, scope="agent:none"), SYSTEM, START_US))
    ledger.do(actions.add(ONCE, SYSTEM, START_US, "because"))
    ledger.do(actions.remove(1, SYSTEM, START_US))
    assert not actions.has_work(ledger.connection, AT_US)
    found = ledger.connection.execute("SELECT action, object, reason FROM audit WHERE action LIKE '%plan'").fetchall()
    assert found == [("maintenance.plan", "window 1", "because"), ("maintenance.unplan", "window 1", "")]


def test_whether_a_run_fits_follows_from_its_history() -> None:
    """The 95th percentile decides; a run before the window that ends in time fits, and so does one behind it."""
    assert percentile_us([]) is None
    assert percentile_us([5]) == 5
    assert percentile_us(list(range(1, 101))) == 95
    made = Ledger().do(actions.add(ONCE, SYSTEM, START_US))
    assert fits(made, 10 * MINUTE_US, AT_US - 10 * MINUTE_US)
    assert not fits(made, 10 * MINUTE_US + 1, AT_US - 10 * MINUTE_US)
    assert not fits(made, 1, AT_US)
    assert fits(made, 10 * DAY_US, AT_US + HOUR_US)
    assert span(made).endswith(" UTC")


def test_when_a_run_may_begin_that_reaches_into_no_window() -> None:
    """At once, or at the end of the last of the windows into which it would reach one after the other."""
    first = window(_planned())
    second = msgspec.structs.replace(first, start_us=first.end_us + HOUR_US, end_us=first.end_us + 2 * HOUR_US)
    both, early_us = [second, first], first.start_us - HOUR_US
    assert begin_us(both, HOUR_US, early_us) == early_us
    assert begin_us(both, HOUR_US, early_us + 1) == first.end_us
    assert begin_us(both, HOUR_US + 1, early_us) == second.end_us
    assert begin_us([], HOUR_US, early_us) == early_us


def _planned() -> Ledger:
    made = Ledger()
    made.do(actions.add(ONCE, SYSTEM, START_US))
    return made


async def test_a_run_that_waits_for_a_windows_end_begins_then() -> None:
    """By itself, as any waiting run, once the maintenance of the window is over; asked for twice it is one run."""
    stage = Stage()
    ledger = stage.ledger
    job = ledger.add_job("slow", cron="")
    ledger.do(actions.add(ONCE, SYSTEM, START_US))
    _succeeded(ledger, job, 3 * HOUR_US)
    made = [ledger.do(runs.run_now("slow", "r", SYSTEM, START_US, after_window=True)) for _ in range(2)]
    assert {(run.number, run.state, run.begin_after_us) for run in made} == {(2, "waiting", AT_US + HOUR_US)}
    await stage.turn(AT_US + HOUR_US - START_US - 1)
    assert ledger.count("runs", "state = 'waiting' AND reason = 'after planned maintenance'") == 1
    await stage.turn(MINUTE_US)
    await stage.turn(MINUTE_US)
    assert ledger.count("runs", "number = 2 AND state = 'starting'") == 1


def _succeeded(ledger: Ledger, job: Job, took_us: int, key: str = "k") -> None:
    ledger.connection.execute(
        "INSERT INTO runs (command, key, job_id, agent_id, attempt, state, state_since_us, submitted_at_us,"
        " started_at_us, ended_at_us) VALUES ('true', ?, ?, ?, 1, 'succeeded', 1, 1, 1, ?)",
        (key, job.id, job.agent_id, 1 + took_us),
    )


def test_page_banner_and_warning(tmp_path: Path) -> None:
    """Planned by page or API; a banner says so from its lead time on, the job's page that a run does not fit."""
    ledger = Ledger()
    ledger.add_agent("north")
    job = ledger.add_job("slow", "0 4 * * *")
    for number in range(3):
        _succeeded(ledger, job, 90 * MINUTE_US, f"k{number}")
    typed = {"title": "storage", "start": "2026-09-21T15:00", "minutes": "60", "lead": "30"}
    with open_desk(ledger, tmp_path) as desk:
        status, page = desk.page("/maintenance/windows", typed | {"minutes": "x"})
        assert (status, "is not a whole number of minutes" in page, 'value="storage"' in page) == (422, True, True)
        assert desk.page("/maintenance/windows", typed) == (303, "/maintenance/windows?done=window-planned")
        assert "Maintenance from 2026-09-21 15:00 to 16:00 UTC" not in desk.page("/runs")[1]
        more = {"start_us": AT_US, "duration_s": 600, "lead_s": 3 * 3600, "title": "disks"}
        assert desk.client.post("/api/v1/maintenance/windows", more)["id"] == 2
        assert "Maintenance from 2026-09-21 16:13 to 16:23 UTC: disks" in desk.page("/runs")[1]
        said = desk.page(f"/jobs/{job.id}")[1]
        assert "A run that begins now does not fit before the maintenance from 2026-09-21 15:00 to 16:00 UTC" in said
        assert "95 of 100 took up to 1 h 30 min" in said
        assert "from 2026-09-21 16:13" not in said.split("does not fit", 1)[1].split("</")[0]
        assert "Run after the maintenance" in said
        code, text = desk.run("run", "now", "slow")
        assert (code, "Warning: A run that begins now does not fit" in text, "is starting" in text) == (0, True, True)
        code, text = desk.run("run", "now", "slow", "--after-window")
        assert (code, "Warning" in text, "is waiting (after planned maintenance)" in text) == (0, False, True)
        assert desk.client.post("/api/v1/jobs/slow/run", {"after_window": True})["warnings"] == []
        assert "It would not have fitted before a planned maintenance" in desk.run("explain", "5")[1]
        assert desk.page(f"/jobs/{job.id}/run", {"once": "x", "after_window": "1"}) == (303, "/runs/7")
        assert desk.page("/maintenance/windows/1/remove", {"reason": "no"})[0] == 303
        assert [w["id"] for w in desk.client.get("/api/v1/maintenance/windows")] == [2]
