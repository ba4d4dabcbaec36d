"""A day without a master over a change of the clocks: the shipped agent starts what an independent oracle lists."""

from __future__ import annotations

import ast
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from server.core import agent_wire as wire
from server.core.model import DAY_US, MINUTE_US, SECOND_US, Job, Order, Schedule
from server.core.planning import Give, plan
from server.core.run_keys import parse_key
from server.office.deliverer import order_message
from tests.oracles import cron_oracle
from tests.unit.agent_world import A, World, specification

CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 28, 12)),
    ("Europe/Berlin", datetime(2026, 10, 24, 12)),
    ("America/New_York", datetime(2026, 3, 7, 18)),
    ("America/New_York", datetime(2026, 10, 31, 18)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 6)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 6)),
    ("Africa/Cairo", datetime(2026, 4, 23, 12)),
    ("America/Santiago", datetime(2026, 9, 5, 18)),
]
"""Zone, and a UTC time some hours before its clocks move: forward by an hour or by half of one, and back."""

CRONS = (
    "* * * * *",
    "*/15 * * * *",
    "30 2 * * *",
    "5,45 0-3 * * *",
    "0 */2 * * *",
    "30 1 * * 0",
    "59 23 * * *",
    "15 * * * *",
    "0,30 1-3 * * 0,1",
)
LEAVE_US = 10 * MINUTE_US
"""How long the master is still there after it has given the orders."""


def job_of(number: int) -> Job:
    """A job as the planner wants it."""
    return Job(
        id=number, name=f"job-{number}", command="true", agent_id="agent", environment={}, working_directory="",
        run_as="", timeout_s=0, output_bytes_max=1 << 20, misfire_policy="ask", misfire_grace_s=3600,
        may_run_twice=False, skip_if_running=False, held=False, description="", standard_input="", version=1,
        planned_version=0, created_at_us=0, updated_at_us=0,
    )  # fmt: skip


def planned_order(number: int, cron: str, zone: str, now_us: int) -> wire.FromNode:
    """The order of a new schedule as the shipped planner makes it, in the message that brings it to the agent."""
    schedule = Schedule(id=number, job_id=number, cron=cron, zone=zone, created_at_us=now_us)
    (step,) = plan(job_of(number), [schedule], [], now_us, 7 * DAY_US)
    assert isinstance(step, Give)
    order = Order(
        id=number, schedule_id=number, job_id=number, agent_id="agent", version=1, state="active",
        valid_from_us=now_us, valid_until_us=step.content.valid_until_us, instants=step.content.spans,
        specification=specification(), acknowledged_version=0, accounted_until_us=now_us,
        renew_at_us=step.content.renew_at_us, next_instant_us=step.content.next_instant_us,
    )  # fmt: skip
    return wire.decode_from_node(wire.encode(order_message(order)))


def live(world: World, until_us: int) -> dict[int, list[int]]:
    """Wake when the session asks to, as the client does; returns the instants that began, by schedule, in order."""
    began: dict[int, list[int]] = {}
    while world.wall_us < until_us:
        deadline_us = world.session.next_deadline_us(world.now) or until_us
        step_us = min(deadline_us, until_us) - world.wall_us
        world.wall_us += step_us
        world.boot_us += step_us
        before = len(world.processes)
        world.do(world.session.tick(world.now))
        for key in list(world.processes)[before:]:
            named = parse_key(key)
            assert named.schedule_id is not None
            assert named.scheduled_for_us == world.wall_us, "begun at its very instant"
            began.setdefault(named.schedule_id, []).append(world.wall_us)
            world.do(world.session.ended(key, world.end(0), world.now))
    return began


@pytest.mark.parametrize(("zone", "start"), CHANGES, ids=[f"{zone}-{at:%m-%d}" for zone, at in CHANGES])
def test_a_day_alone_is_the_oracles_day(zone: str, start: datetime) -> None:
    """24 h without a master over a change of the clocks: what began, and when, is the oracle's list, each once."""
    start_us = int(start.replace(tzinfo=UTC).timestamp()) * SECOND_US
    world = World(wall_us=start_us)
    world.connect()
    for number, cron in enumerate(CRONS, 1):
        world.hear(planned_order(number, cron, zone, start_us))
    began = live(world, start_us + LEAVE_US)
    world.do(world.session.link_closed(A))
    for number, instants in live(world, start_us + LEAVE_US + DAY_US).items():
        began.setdefault(number, []).extend(instants)
    until = start + timedelta(microseconds=LEAVE_US + DAY_US)
    for number, cron in enumerate(CRONS, 1):
        expected = [at for at in cron_oracle.oracle(cron, zone, start, 2) if at <= until]
        found = [datetime.fromtimestamp(at / SECOND_US, UTC).replace(tzinfo=None) for at in began.get(number, [])]
        assert found == expected, cron
    assert set(world.processes.values()) == {1}
    ended = [report for report in world.disk.reports.values() if isinstance(report.body, wire.Ended)]
    assert len(ended) == len(world.processes), "every result waits in the spool for a master"


def test_each_day_has_its_change() -> None:
    """The 24 hours hold a change of the clocks in each zone: at their ends local time is not equally far from UTC."""
    for zone, start in CHANGES:
        offsets = {
            (at.replace(tzinfo=UTC).astimezone(cron_oracle.ZoneInfo(zone)).utcoffset())
            for at in (start + timedelta(minutes=10), start + timedelta(days=1, minutes=10))
        }
        assert len(offsets) == 2, zone


def test_the_oracle_is_independent() -> None:
    """It imports neither the product nor a cron library."""
    tree = ast.parse(Path(cron_oracle.__file__).read_text())
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert names == {"__future__", "calendar", "collections.abc", "dataclasses", "datetime", "zoneinfo"}
