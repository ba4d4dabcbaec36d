"""SKY-20: a new machine takes over name, jobs and history, and no order runs on both machines."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from aiohttp import web

from server.actions import agents, runs
from server.actions.jobs import When
from server.core import agent_wire as wire
from server.core.model import JoinToken
from server.storage import agents as agent_rows
from server.storage import jobs as job_rows
from server.storage import orders as order_rows
from server.storage import runs as run_rows
from tests.process.agent_master import AgentProcess
from tests.process.fleet_office import BOSS, NODE, OfficeUnderTest, now_us, office

OLD, NEW = "1" * 32, "2" * 32


class Door:
    """A listener for one agent; closed, that agent is cut off and goes on alone."""

    def __init__(self, desk: OfficeUnderTest, agent_id: str) -> None:
        self._desk, self._agent_id, self.port = desk, agent_id, 0

    async def open(self) -> None:
        app = web.Application()
        app.router.add_get(wire.PATH, self._accept)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        link = self._desk.links.get(self._agent_id)
        await self._runner.cleanup()
        if link is not None:
            await link.close()

    async def _accept(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=wire.FRAME_BYTES_MAX, compress=False)
        await socket.prepare(request)
        await self._desk.links.serve(socket, self._agent_id)
        return socket


class Couple:
    """Two machines for one name, and the job's own list of what began where."""

    def __init__(self, desk: OfficeUnderTest, directory: Path) -> None:
        self.desk, self.witness = desk, directory / "began"
        self.doors = {name: Door(desk, name) for name in (OLD, NEW)}
        self.machines: dict[str, AgentProcess] = {}
        self._directory = directory

    async def start(self, agent_id: str) -> None:
        """The machine's door and program; returns when it is admitted or told why not."""
        if agent_id not in self.machines:
            await self.doors[agent_id].open()
            peers = {NODE: f"127.0.0.1:{self.doors[agent_id].port}"}
            self.machines[agent_id] = AgentProcess(self._directory / agent_id[:4], peers, agent_id)
        await self.machines[agent_id].start(WHERE=agent_id[:1])
        await self.desk.until(lambda c: agent_rows.get(c, agent_id).ticket_confirmed > 0)

    async def make(self) -> None:
        """The old machine with a job of every second that notes machine and instant."""
        await self.desk.enrol(OLD, "alpha")
        await self.start(OLD)
        command = f'echo "$WHERE $UNDERSTUDY_SCHEDULED_FOR" >> {self.witness}'
        await self.desk.job("tick", command, "alpha", schedules=[When("* * * * * *")], misfire_policy="ask")
        await self.began(OLD, 2)

    def lines(self, agent_id: str) -> list[str]:
        """The instants that began on one machine."""
        text = self.witness.read_text() if self.witness.exists() else ""
        found = (line.split() for line in text.splitlines())
        return [line[1] for line in found if len(line) == 2 and line[0] == agent_id[:1]]

    async def began(self, agent_id: str, more: int) -> None:
        """Wait until so many more have begun there."""
        wanted = len(self.lines(agent_id)) + more
        await until(lambda: len(self.lines(agent_id)) >= wanted)

    async def replace(self, machine_is_dead: bool = False) -> None:
        """Replace `alpha`, and let the new machine join and connect."""
        token = JoinToken(
            id="t", secret_hash="h", name="", created_by="boss", created_at_us=1, expires_at_us=now_us() * 2
        )
        await self.desk.write(agents.replace("alpha", token, BOSS, now_us(), "disk", machine_is_dead))
        made = await self.desk.write(agents.enrol("t", "h", NEW, now_us()))
        assert (made.name, made.replaces) == ("alpha", OLD)
        await self.start(NEW)

    def check(self) -> None:
        """No instant began on both, and none twice on one."""
        began = self.lines(OLD) + self.lines(NEW)
        assert len(began) == len(set(began)), sorted(at for at in began if began.count(at) > 1)


async def until(condition: Callable[[], object], within_s: float = 30) -> None:
    """Wait for a condition over files; the bound only ends a test that has failed."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def couple(tmp_path: Path) -> AsyncIterator[Couple]:
    """An office with `alpha` at work; every process is ended by its id."""
    async with office(tmp_path / "node") as desk:
        made = Couple(desk, tmp_path)
        try:
            await made.make()
            yield made
        finally:
            for machine in made.machines.values():
                await machine.end()
                if keeper := machine.keeper_pid():
                    os.kill(keeper, signal.SIGKILL)
            for door in made.doors.values():
                if door.port:
                    await door.close()


async def test_the_old_machine_is_alive_and_cut_off(tmp_path: Path) -> None:
    """It goes on with its order, so the new one gets none of it; back, it is told, and the new one goes on."""
    async with couple(tmp_path) as pair:
        desk = pair.desk
        await pair.doors[OLD].close()
        await pair.began(OLD, 2)
        await pair.replace()
        again = await desk.write(runs.run_now("tick", "one", BOSS, now_us()))
        await desk.until(lambda c: run_rows.by_key(c, again.key).ended_at_us)
        assert (await desk.run(again.key)).agent_id == NEW
        await pair.began(OLD, 2)
        job = await desk.read(lambda c: job_rows.by_name(c, "tick"))
        held = await desk.read(lambda c: order_rows.of_job(c, job.id))
        assert [(order.agent_id, order.state) for order in held] == [(OLD, "releasing")]
        await pair.doors[OLD].open()
        await desk.until(
            lambda c: any(o.acknowledged_version and o.agent_id == NEW for o in order_rows.of_job(c, job.id))
        )
        await until(lambda: (link := desk.fleet.contact(OLD)) is not None and "gave the name alpha" in link.waiting)
        done = len(pair.lines(OLD))
        await pair.began(NEW, 2)
        assert len(pair.lines(OLD)) == done
        pair.check()
        query = "SELECT count(*) FROM runs WHERE agent_id = ? AND state = 'succeeded'"
        await desk.until(lambda c: c.execute(query, (OLD,)).fetchone()[0] == done)


async def test_the_old_machine_is_connected_when_it_is_replaced(tmp_path: Path) -> None:
    """It is told on the link that it has, gives its order back, and the new one goes on within seconds."""
    async with couple(tmp_path) as pair:
        await pair.replace()
        await pair.began(NEW, 2)
        done = len(pair.lines(OLD))
        await pair.began(NEW, 2)
        assert len(pair.lines(OLD)) == done
        pair.check()


async def test_the_old_machine_is_dead_and_somebody_says_so(tmp_path: Path) -> None:
    """The new one goes on at once; what the old one ran is unknown until it is told by it, which starts nothing."""
    async with couple(tmp_path) as pair:
        desk = pair.desk
        await desk.job("long", "sleep 2; exit 7", "alpha")
        run = await desk.write(runs.run_now("long", "one", BOSS, now_us()))
        await desk.until(lambda c: run_rows.by_key(c, run.key).state == "running")
        await pair.machines[OLD].end()
        await pair.replace(machine_is_dead=True)
        found = await desk.run(run.key)
        assert (found.state, found.reason) == ("unknown", "agent replaced")
        await pair.began(NEW, 2)
        pair.check()
        await pair.start(OLD)
        ended = await desk.until(lambda c: (r := run_rows.by_key(c, run.key)).ended_at_us and r)
        assert (ended.state, ended.exit_code, ended.agent_id) == ("failed", 7, OLD)
        await until(lambda: (link := desk.fleet.contact(OLD)) is not None and "gave the name alpha" in link.waiting)
        done = len(pair.lines(OLD))
        await pair.began(NEW, 2)
        assert len(pair.lines(OLD)) == done
