"""A real office, a real agent process and real jobs under a drain, and what a signal does to them (SMA-4)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.actions import drains, maintenance, runs
from server.actions.jobs import When
from server.core.maintenance import CRYOSPARC, Wish
from server.core.model import Run
from server.storage import agents as agent_rows
from server.storage import drains as rows
from server.storage import missed as missed_rows
from server.storage import requests
from server.storage import runs as run_rows
from server.storage.drains import DrainRow
from tests.process.agent_master import AGENT, AgentProcess
from tests.process.fleet_office import BOSS, NODE, OfficeUnderTest, now_us, office
from tests.process.programs import until_there


@contextlib.asynccontextmanager
async def pair(tmp_path: Path, **environment: str) -> AsyncIterator[tuple[OfficeUnderTest, AgentProcess]]:
    """An office and its one agent, admitted."""
    async with office(tmp_path / "node") as desk:
        await desk.enrol(AGENT, "alpha")
        agent = AgentProcess(tmp_path / "agent", {NODE: f"127.0.0.1:{desk.port}"})
        try:
            await agent.start(**environment)
            await desk.until(lambda c: agent_rows.get(c, AGENT).ticket_confirmed > 0)
            yield desk, agent
        finally:
            await agent.end()
            if keeper := agent.keeper_pid():
                os.kill(keeper, signal.SIGKILL)


async def start(desk: OfficeUnderTest, job: str) -> Run:
    """Run a job and wait until its process runs."""
    run = await desk.write(runs.run_now(job, "one", BOSS, now_us()))
    found: Run = await desk.until(lambda c: (r := run_rows.by_key(c, run.key)).state == "running" and r)
    return found


async def over(desk: OfficeUnderTest) -> DrainRow:
    """The latest drain, once it is over."""
    found: DrainRow = await desk.until(lambda c: (r := rows.latest(c, AGENT)) and r[0].ended_at_us and r[0])
    return found


def outcomes(row: DrainRow) -> dict[str, str]:
    return {one.key: one.outcome for one in row.outcomes}


def waits_for(path: Path, code: int = 0) -> str:
    """A command that runs until a file is there."""
    return f"{until_there(path)}; exit {code}"


async def test_a_short_run_finishes_a_long_one_is_cut_and_a_new_one_waits(tmp_path: Path) -> None:
    """One drain, three outcomes: each run's row, the list and the reason of what waits agree; undrain starts it."""
    async with pair(tmp_path) as (desk, _):
        await desk.job("short", waits_for(tmp_path / "go", 3), "alpha")
        await desk.job("long", "exec sleep 300", "alpha")
        await desk.job("new", "true", "alpha")
        short, long = await start(desk, "short"), await start(desk, "long")
        await desk.write(drains.drain("alpha", 2, BOSS, now_us(), "new disk"))
        await desk.until(lambda c: rows.latest(c, AGENT)[0].state == "draining")
        new = await desk.write(runs.run_now("new", "one", BOSS, now_us()))
        assert (new.state, new.reason) == ("waiting", "agent draining")
        (tmp_path / "go").touch()
        row = await over(desk)
        assert outcomes(row) == {short.key: "finished", long.key: "cut"}
        finished, cut = await desk.run(short.key), await desk.run(long.key)
        assert (finished.state, finished.exit_code) == ("failed", 3)
        assert (cut.state, cut.signal, cut.reason) == ("interrupted", signal.SIGTERM, drains.CAUSES["drained"])
        assert (await desk.run(new.key)).state == "waiting"
        await desk.write(drains.undrain("alpha", BOSS, now_us()))
        await desk.until(lambda c: run_rows.by_key(c, new.key).state == "succeeded")


async def test_maintenance_lets_wait_or_suppresses_and_the_ledger_has_it(tmp_path: Path) -> None:
    """BEY-9: an instant due while it drains waits with the reason and runs at the end; suspended it is missed."""
    async with pair(tmp_path) as (desk, _):
        wish = Wish(phase="draining", policy=CRYOSPARC)
        waiting = await desk.write(maintenance.start(wish, "agent:alpha", BOSS, now_us()))
        await desk.until(lambda c: agent_rows.get(c, AGENT).gates_acknowledged == waiting.gates.revision)
        await desk.job("often", "true", "alpha", schedules=[When("* * * * * *")])
        (held, *_) = await desk.until(lambda c: run_rows.page(c, None, "waiting"))
        assert held.reason == "maintenance"
        wish = Wish(phase="suspended", policy=CRYOSPARC)
        await desk.write(maintenance.start(wish, "agent:alpha", BOSS, now_us()))
        (row, *_) = await desk.until(lambda c: missed_rows.page(c, None, 10, True))
        assert (row.cause, row.resolution) == ("maintenance", "")
        assert not await desk.read(lambda c: run_rows.page(c, None, "succeeded"))
        await desk.write(maintenance.end("agent:alpha", BOSS, now_us()))
        await desk.until(lambda c: run_rows.by_key(c, held.key).state == "succeeded")
        await desk.until(lambda c: missed_rows.get(c, row.id).resolution)


async def test_what_was_asked_of_an_agent_that_is_away_reaches_it_through_the_next_office(tmp_path: Path) -> None:
    """JS7-6: cancel and drain asked while its program is dead, then another office: both happen at its return."""
    async with pair(tmp_path) as (desk, agent):
        await desk.job("long", "sleep 300", "alpha")
        run = await start(desk, "long")
        await agent.end()
        await desk.write(runs.cancel(run.number, BOSS, now_us()))
        await desk.write(drains.drain("alpha", None, BOSS, now_us()))
        await desk.leave()
        await desk.take(2)
        asked = await desk.read(lambda c: [one.kind for one in requests.of_agent(c, agent_rows.get(c, AGENT))])
        assert asked == ["cancel", "drain"]
        await agent.start()
        ended = await desk.until(lambda c: (r := run_rows.by_key(c, run.key)).ended_at_us and r)
        assert (ended.state, ended.reason) == ("killed", "cancelled by boss")
        assert outcomes(await over(desk)) == {run.key: "finished"}
        assert not await desk.read(lambda c: requests.of_agent(c, agent_rows.get(c, AGENT)))


async def test_a_drain_goes_on_over_kill_9_of_the_agent(tmp_path: Path) -> None:
    """The agent dies in the middle: its next start has the same drain and tells its end once, with the exit code."""
    async with pair(tmp_path) as (desk, agent):
        await desk.job("short", waits_for(tmp_path / "go", 3), "alpha")
        run = await start(desk, "short")
        await desk.write(drains.drain("alpha", None, BOSS, now_us()))
        await desk.until(lambda c: rows.latest(c, AGENT)[0].state == "draining")
        await agent.end()
        (tmp_path / "go").touch()
        await agent.start()
        assert outcomes(await over(desk)) == {run.key: "finished"}
        assert (await desk.run(run.key)).exit_code == 3


async def test_sigterm_drains_when_it_is_set_so(tmp_path: Path) -> None:
    """The agent stays until its run has ended, exits 0, and the master has the list when it is gone."""
    async with pair(tmp_path) as (desk, agent):
        await desk.job("short", waits_for(tmp_path / "go"), "alpha")
        run = await start(desk, "short")
        await desk.write(drains.configure("alpha", None, "drain", BOSS, now_us()))
        await desk.until(lambda c: agent_rows.get(c, AGENT).gates_acknowledged > 0)
        leaving = asyncio.create_task(agent.end(signal.SIGTERM))
        await desk.until(lambda c: rows.stopping(c) == {AGENT})
        assert not leaving.done()
        (tmp_path / "go").touch()
        assert await leaving == 0
        row = (await desk.read(lambda c: rows.latest(c, AGENT)))[0]
        assert (row.origin, row.state, outcomes(row)) == ("stop", "drained", {run.key: "finished"})
        assert (await desk.run(run.key)).state == "succeeded"


async def test_a_second_signal_leaves_at_once_and_the_next_start_says_so(tmp_path: Path) -> None:
    """SIGTERM twice: the run goes on under its keeper, is adopted, and the list of that drain says running."""
    async with pair(tmp_path) as (desk, agent):
        await desk.job("short", waits_for(tmp_path / "go", 5), "alpha")
        run = await start(desk, "short")
        await desk.write(drains.configure("alpha", None, "drain", BOSS, now_us()))
        await desk.until(lambda c: agent_rows.get(c, AGENT).gates_acknowledged > 0)
        first = asyncio.create_task(agent.end(signal.SIGTERM))
        await desk.until(lambda c: rows.stopping(c) == {AGENT})
        assert await agent.end(signal.SIGTERM) == 0
        await first
        await agent.start()
        assert outcomes(await over(desk)) == {run.key: "running"}
        (tmp_path / "go").touch()
        await desk.until(lambda c: run_rows.by_key(c, run.key).exit_code == 5)


@pytest.mark.parametrize(("said", "drains_first"), [("stopping", True), ("running", False)])
async def test_sigterm_tells_a_shutdown_from_a_restart(tmp_path: Path, said: str, drains_first: bool) -> None:
    """With nothing set, what `systemctl is-system-running` prints decides: a shutdown drains, a restart keeps."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "systemctl").write_text(f'#!/bin/sh\n[ "$1" = is-system-running ] && echo {said}\n')
    (bin_ / "systemctl").chmod(0o755)
    async with pair(tmp_path, PATH=f"{bin_}:{os.environ['PATH']}") as (desk, agent):
        await desk.job("short", waits_for(tmp_path / "go"), "alpha")
        run = await start(desk, "short")
        leaving = asyncio.create_task(agent.end(signal.SIGTERM))
        if drains_first:
            await desk.until(lambda c: rows.stopping(c) == {AGENT})
            (tmp_path / "go").touch()
        assert await leaving == 0
        told = await desk.read(lambda c: [outcomes(row) for row in rows.latest(c, AGENT)])
        assert told == ([{run.key: "finished"}] if drains_first else [])
        (tmp_path / "go").touch()
        await agent.start()
        await desk.until(lambda c: run_rows.by_key(c, run.key).state == "succeeded")
