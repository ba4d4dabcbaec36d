"""Jobs that wait for job monitors (SKY-15): tripped and clear, cycles over them, and what stays switched on."""

from __future__ import annotations

import pytest

from server.actions import explanations, jobs
from server.actions import prerequisites as prerequisite_actions
from server.core.job_monitors import JobMonitors
from server.core.model import SECOND_US, SYSTEM
from server.errors import Conflict, Invalid
from server.storage import jobs as job_rows
from tests.unit.prerequisite_stage import PrerequisiteStage

OVERRUN = JobMonitors(overrun_s=60)


async def took(stage: PrerequisiteStage, seconds: int) -> int:
    """A run of `a` that took so long, told at its end."""
    begun_us = stage.clock.now_us
    number = stage.begin("a", "running", started_at_us=begun_us)
    await stage.turn(seconds * SECOND_US)
    stage.reach(number, "succeeded")
    await stage.turn()
    return number


async def test_a_job_waits_for_a_job_monitor() -> None:
    """SKY-15: tripped when it trips, while the run goes on; clear when a run ended of which it found nothing."""
    stage = PrerequisiteStage()
    stage.change("a", job_monitors=OVERRUN)
    stage.change("b", prerequisites="monitor:a/overrun")
    stage.change("c", prerequisites="monitor:a/overrun clear")
    await took(stage, 59)
    assert (stage.states("b"), stage.states("c")) == ([], ["starting"])
    number = stage.begin("a", "running", started_at_us=stage.clock.now_us)
    await stage.turn()
    await stage.turn(60 * SECOND_US)
    assert stage.states("b") == ["starting"]
    (row,) = stage.conditions("b")
    assert prerequisite_actions.subject_words(stage.ledger.connection, row) == f"run {number}"
    stage.reach(number, "succeeded")
    await stage.turn()
    assert (stage.states("b"), stage.states("c")) == (["starting"], ["starting"])
    job = job_rows.by_name(stage.ledger.connection, "b")
    assert job is not None
    said = [line.text for line in explanations.of_job(stage.ledger.connection, job, stage.clock.now_us).lines]
    assert any(text.startswith("Missing: monitor:a/overrun tripped. Last: tripped") for text in said)


async def test_what_a_monitor_finds_overwrites_what_it_found_before() -> None:
    """Clear, then tripped by the next run: the condition is open again, like that of a job that runs again."""
    stage = PrerequisiteStage()
    stage.change("a", job_monitors=OVERRUN)
    stage.change("c", prerequisites="monitor:a/overrun clear and b")
    await took(stage, 59)
    assert stage.met("c") == {1}
    await took(stage, 61)
    assert stage.met("c") == set()
    await stage.happen("b completed")
    assert stage.states("c") == []
    await took(stage, 1)
    assert stage.states("c") == ["starting"]


def test_a_cycle_over_a_monitor_is_refused_by_name_and_a_monitor_in_use_stays_on() -> None:
    """The way names the monitor that it leads over; who waits is named when it would be switched off, or deleted."""
    stage = PrerequisiteStage()
    stage.change("a", job_monitors=OVERRUN)
    stage.change("b", prerequisites="monitor:a/overrun clear", job_monitors=OVERRUN)
    with pytest.raises(Invalid, match="a → monitor:a/overrun → b → a"):
        stage.change("a", prerequisites="b", job_monitors=OVERRUN)
    with pytest.raises(Invalid, match="b → monitor:b/overrun → b"):
        stage.change("b", prerequisites="monitor:b/overrun", job_monitors=OVERRUN)
    with pytest.raises(Conflict, match=r"b waits for monitor:a/overrun, which would be off.*job update b"):
        stage.change("a")
    with pytest.raises(Conflict, match="b waits for a"):
        stage.ledger.do(jobs.delete("a", SYSTEM, stage.clock.now_us))
    with pytest.raises(Invalid, match="a has no monitor late-start: it has monitor:a/overrun"):
        stage.change("c", prerequisites="monitor:a/late-start")
    stage.change("b", job_monitors=OVERRUN)
    stage.change("a")
