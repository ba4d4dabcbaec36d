"""An office for tests of the fleet: a real store, scheduler, fleet and links; agents come over plain WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from aiohttp import web

from replication.core.request import Kind
from replication.core.types import Epoch
from replication.core.witness import Seats
from replication.files import Disk
from replication.redo import open_node
from replication.store import Store
from server.actions import agents, jobs
from server.clock import SystemClock
from server.core import agent_wire as wire
from server.core.model import Principal, Run
from server.office.fleet import Fleet
from server.office.scheduler import Scheduler
from server.ports.agent_links import Links
from server.ports.witness_links import WitnessLinks
from server.storage import agents as agent_rows
from server.storage import migrate
from server.storage import runs as run_rows

NODE = "a" * 32
BOSS = Principal("boss", "administrator")


@dataclass
class OfficeUnderTest:
    """One node in office. `leave` and `take` open and close office over the same directory."""

    directory: Path
    port: int = 0
    in_sync: bool = True
    witnesses: list[str] = field(default_factory=list)

    async def start(self) -> None:
        self.links = Links(NODE, now_us, time.monotonic)
        self.asked = WitnessLinks(self.links, self._sets, now_us, time.monotonic)
        app = web.Application()
        app.router.add_get(wire.PATH, self._accept)
        app.router.add_get("/by/{agent}" + wire.PATH, self._accept)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self.links.close()
        await self._runner.cleanup()

    async def take(self, number: int) -> None:
        self.disk = Disk(self.directory)
        applier = open_node(self.disk)
        applier.apply_all()
        self.epoch = Epoch(number, NODE)
        self.store = await Store.open(
            self.disk, applier.journal, applier.control, applier.sums, self.epoch, commit=applier.applied
        )
        self.store.on_fsynced = self.store.gate.advance
        await self.store.append_control_request(Kind.EPOCH, b"")
        await self.store.write(lambda t: migrate.migrate(t.connection))
        self.fleet = Fleet(self.store, self.links, self.epoch, self._status, now_us)
        await self.fleet.open()
        self._scheduler = asyncio.create_task(Scheduler(self.store, SystemClock()).run())

    async def leave(self) -> None:
        self._scheduler.cancel()
        await asyncio.gather(self._scheduler, return_exceptions=True)
        await self.fleet.close()
        await self.store.close()
        self.disk.close()

    async def write(self, action: Any) -> Any:
        return (await self.store.write(action))[0]

    async def read(self, query: Callable[[sqlite3.Connection], Any]) -> Any:
        return (await self.store.read(query))[0]

    async def until(self, query: Callable[[sqlite3.Connection], Any], within_s: float = 20) -> Any:
        """Wait until a query over committed rows is true; the bound only ends a test that has failed."""
        async with asyncio.timeout(within_s):
            while True:
                value, sequence = await self.store.read(query)
                if value:
                    return value
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.store.wait_past(sequence), 0.2)

    async def run(self, key: str) -> Run:
        found: Run = await self.read(lambda c: run_rows.by_key(c, key))
        return found

    async def enrol(self, agent_id: str, name: str) -> None:
        await self.write(lambda t: agent_rows.insert(t.connection, agent_id, name, False, now_us()))

    async def job(self, name: str, command: str, agent: str, **more: Any) -> None:
        spec = jobs.JobSpec(name=name, command=command, agent=agent, **more)
        await self.write(jobs.create(spec, BOSS, now_us()))

    async def accept_restored(self, name: str) -> None:
        await self.write(agents.accept_restored(name, BOSS, now_us()))

    async def _sets(self) -> list[Seats]:
        return [Seats(frozenset(self.witnesses))]

    def _status(self) -> Any:
        return SimpleNamespace(
            in_sync=self.in_sync,
            alone_since=None,
            standby_enrolled=True,
            peers=(SimpleNamespace(connected=self.in_sync, observer=False),),
            commit_sequence=self.store.gate.sequence,
        )

    async def _accept(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=wire.FRAME_BYTES_MAX, compress=False)
        await socket.prepare(request)
        await self.links.serve(socket, request.match_info.get("agent", "b" * 32))
        return socket


def now_us() -> int:
    return time.time_ns() // 1000


@contextlib.asynccontextmanager
async def office(directory: Path) -> AsyncIterator[OfficeUnderTest]:
    """An office in epoch 1; left and closed at the end."""
    under_test = OfficeUnderTest(directory)
    await under_test.start()
    await under_test.take(1)
    try:
        yield under_test
    finally:
        await under_test.leave()
        await under_test.stop()
