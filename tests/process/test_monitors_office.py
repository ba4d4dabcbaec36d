"""Monitors from the rows of a real office to real files at a real agent and back, over changes of office (SKY-16)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

from server.actions import gates, monitors
from server.core.monitors import Settings
from server.storage import agents as agent_rows
from server.storage import events, runs, settings
from server.storage import monitors as monitor_rows
from tests.process.agent_master import AGENT, NODE, AgentProcess
from tests.process.fleet_office import BOSS, OfficeUnderTest, now_us, office

OTHER = "f" * 32


class Watched:
    """An office, its agent `alpha` with a monitor over `folder`, and `beta`, which never connects.

    `here` runs on alpha and writes to `proof`; `there` is bound to beta.
    """

    def __init__(self, desk: OfficeUnderTest, agent: AgentProcess, directory: Path) -> None:
        self.desk = desk
        self.agent = agent
        self.folder = directory / "in"
        self.proof = directory / "proof"

    async def open(self) -> None:
        self.folder.mkdir()
        await self.desk.job("here", f'echo "$UNDERSTUDY_RUN_ID $UNDERSTUDY_EVENT_PATH" >> {self.proof}', "alpha")
        await self.desk.job("there", "true", "beta")
        watch = Settings(path=f"{self.folder}/*", on=["created"], existing=True, interval_s=1)
        spec = monitors.MonitorSpec(name="arrivals", agent="alpha", kind="file", settings=watch, jobs=["here", "there"])
        await self.desk.write(monitors.create(spec, BOSS, now_us()))
        await self.desk.until(lambda c: not monitor_rows.unacknowledged(c, AGENT))

    def put(self, name: str) -> None:
        (self.folder / name).write_text(name)

    async def ran(self, count: int) -> list[str]:
        """The witness: lines of the job's own file, once there are so many; the bound only ends a failed test."""
        async with asyncio.timeout(20):
            while not self.proof.exists() or len(self.proof.read_text().splitlines()) < count:
                await asyncio.sleep(0.05)
        return self.proof.read_text().splitlines()

    async def told(self, count: int) -> list[events.EventLine]:
        """All events, oldest first, once there are so many and each has both runs."""

        def query(connection: sqlite3.Connection) -> list[events.EventLine]:
            found = events.page(connection)
            return found if len(found) == count and all(len(event.runs) == 2 for event in found) else []

        return list(reversed(await self.desk.until(query)))

    def line(self, number: int, name: str) -> str:
        return f"j1.e1-{number}.a1 {self.folder}/{name}"


@contextlib.asynccontextmanager
async def watched(directory: Path) -> AsyncIterator[Watched]:
    """All of it, running; ended by pid."""
    async with office(directory / "node") as desk:
        await desk.enrol(AGENT, "alpha")
        await desk.enrol(OTHER, "beta")
        agent = AgentProcess(directory / "agent", {NODE: f"127.0.0.1:{desk.port}"})
        try:
            await agent.start()
            await desk.until(lambda c: agent_rows.get(c, AGENT).ticket_confirmed > 0)
            made = Watched(desk, agent, directory)
            await made.open()
            yield made
        finally:
            await agent.end()
            if keeper := agent.keeper_pid():
                os.kill(keeper, signal.SIGKILL)


async def test_events_while_nobody_is_in_office_run_here_and_wait_for_a_master_elsewhere(tmp_path: Path) -> None:
    """The agent begins its own jobs on time; the next office has each event once and submits what is for others."""
    async with watched(tmp_path) as world:
        world.put("one")
        await world.told(1)
        await world.desk.leave()
        world.put("two")
        assert await world.ran(2) == [world.line(1, "one"), world.line(2, "two")]
        await world.agent.end()
        world.put("three")
        await world.agent.start()
        assert (await world.ran(3))[2] == world.line(3, "three")
        await world.desk.take(2)
        told = await world.told(3)
        assert [event.variables["PATH"] for event in told] == [f"{world.folder}/{n}" for n in ("one", "two", "three")]
        assert {(job, state) for event in told for _, job, state, _ in event.runs if job == "there"} <= {
            ("there", "starting"),
            ("there", "waiting"),
        }
        assert len(await world.ran(3)) == 3


async def test_what_an_office_lost_is_told_again_by_the_agent_and_nothing_runs_twice(tmp_path: Path) -> None:
    """A promotion that lost the event: the report comes again, the run is found by its key, numbers go on."""
    async with watched(tmp_path) as world:
        world.desk.in_sync = False
        await world.desk.leave()
        shutil.copytree(tmp_path / "node", tmp_path / "before")
        await world.desk.take(2)
        world.put("one")
        await world.told(1)
        await world.desk.leave()
        shutil.rmtree(tmp_path / "node")
        shutil.move(tmp_path / "before", tmp_path / "node")
        world.desk.in_sync = True
        await world.desk.take(3)
        told = await world.told(1)
        assert {key.key for key in await world.desk.read(lambda c: runs.of_event(c, told[0].id))} == {
            "j1.e1-1.a1",
            "j2.e1-1.a1",
        }
        world.put("two")
        assert [event.token for event in await world.told(2)] == ["1", "2"]
        assert await world.ran(2) == [world.line(1, "one"), world.line(2, "two")]


async def test_a_lock_holds_the_run_of_an_event_and_a_stop_puts_it_on_record(tmp_path: Path) -> None:
    """SKY-2, BEY-9: waiting with the reason until the unlock; missed with the cause under a stopped scheduler."""
    async with watched(tmp_path) as world:
        await world.desk.write(gates.lock_all(BOSS, now_us()))
        world.put("locked")
        await world.desk.until(lambda c: (run := runs.by_key(c, "j1.e1-1.a1")) and run.reason == "queue locked")
        assert not world.proof.exists()
        await world.desk.write(gates.unlock_all(BOSS, now_us()))
        assert await world.ran(1) == [world.line(1, "locked")]
        await world.desk.write(gates.stop_scheduler(BOSS, now_us()))
        revision = await world.desk.read(settings.gate_revision)
        await world.desk.until(lambda c: agent_rows.get(c, AGENT).gates_acknowledged >= revision)
        world.put("stopped")
        run = await world.desk.until(lambda c: runs.by_key(c, "j1.e1-2.a1"))
        assert (run.state, run.reason) == ("missed", "scheduler stopped")
        assert len(await world.ran(1)) == 1
