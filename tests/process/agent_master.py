"""A master for tests of the agent: speaks `agent_wire` over plain WebSocket on loopback and keeps what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from aiohttp import WSMsgType, web

from replication.core.types import NO_EPOCH, Epoch
from server.core import agent_wire as wire
from server.core.model import Specification

NODE = "a" * 32
AGENT = "b" * 32
ROOT = Path(__file__).resolve().parents[2]


class AgentMaster:
    """Commits in memory. `admit` and `keep` switch its answers; `reports` is what it holds, by run key."""

    def __init__(self, node: str = NODE, number: int = 1, role: str = "master") -> None:
        self.node = node
        self.epoch = Epoch(number, node) if role == "master" else NO_EPOCH
        self.role = role
        self.ticket = 0
        self.admit = True
        self.keep = True
        self.in_sync = True
        self.reports: dict[int, wire.Report] = {}
        self.doubled: list[wire.Report] = []
        self.outputs: dict[str, bytearray] = {}
        self.messages: list[wire.FromAgent] = []
        self.presented: list[wire.Present] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.changed = asyncio.Condition()
        self.port = 0

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get(wire.PATH, self._serve)
        self._app = web.AppRunner(app, shutdown_timeout=0.1)
        await self._app.setup()
        site = web.TCPSite(self._app, "127.0.0.1", self.port)
        await site.start()
        self.port = self._app.addresses[0][1]

    async def stop(self) -> None:
        for socket in list(self.sockets):
            await socket.close()
        await self._app.cleanup()

    async def say(self, message: wire.FromNode) -> None:
        for socket in list(self.sockets):
            await socket.send_bytes(wire.encode(message))

    async def until(self, condition: Callable[[], object], within_s: float = 20) -> None:
        """Wait for a condition over what was received; the bound only ends a test that has failed."""
        async with asyncio.timeout(within_s), self.changed:
            await self.changed.wait_for(condition)

    def bodies(self, kind: type, key: str | None = None) -> list[object]:
        found = [r for r in self.reports.values() if isinstance(r.body, kind)]
        return [r.body for r in found if key is None or r.key == key]

    def end(self, key: str) -> wire.Ended | None:
        ends = self.bodies(wire.Ended, key)
        return ends[-1] if ends else None  # type: ignore[return-value]  # narrowed by kind

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=wire.FRAME_BYTES_MAX)
        await socket.prepare(request)
        self.sockets.append(socket)
        beats = asyncio.create_task(self._beat(socket))
        try:
            office = wire.Office(self.node, self.role, self.epoch, now_us(), protocol=wire.PROTOCOL)
            await socket.send_bytes(wire.encode(office))
            async for frame in socket:
                if frame.type is WSMsgType.BINARY:
                    message = wire.decode_from_agent(frame.data)
                    async with self.changed:
                        self.messages.append(message)
                        await self._answer(socket, message)
                        self.changed.notify_all()
        finally:
            beats.cancel()
            self.sockets.remove(socket)
        return socket

    async def _beat(self, socket: web.WebSocketResponse) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await asyncio.sleep(0.5)
                await socket.send_bytes(wire.encode(wire.NodeHeartbeat(now_us(), 0)))

    async def _answer(self, socket: web.WebSocketResponse, message: wire.FromAgent) -> None:
        async def reply(answer: wire.FromNode) -> None:
            with contextlib.suppress(ConnectionError):
                await socket.send_bytes(wire.encode(answer))

        match message:
            case wire.Present() if self.admit:
                self.presented.append(message)
                self.ticket += 1
                await reply(wire.Admitted(self.ticket, {k: len(v) for k, v in self.outputs.items()}))
            case wire.Report():
                if message.id in self.reports:
                    self.doubled.append(message)
                self.reports[message.id] = message
                if self.keep:
                    await reply(wire.Kept((message.id,), message.id, self.in_sync))
            case wire.Output():
                held = self.outputs.setdefault(message.key, bytearray())
                if message.offset <= len(held):
                    held[message.offset :] = message.data
                await reply(wire.OutputKept(message.key, len(held), 1, self.in_sync))
            case _:
                pass


def now_us() -> int:
    import time

    return time.time_ns() // 1000


class AgentProcess:
    """A real agent process on a directory of its own."""

    def __init__(self, data: Path, peers: dict[str, str], agent_id: str = AGENT) -> None:
        self.data = data
        data.mkdir(exist_ok=True)
        identity = {"kind": "agent", "cluster": "c" * 32, "id": agent_id, "name": "agent-1", "peers": peers}
        (data / "identity.json").write_text(json.dumps(identity))
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, **environment: str) -> None:
        code = (
            "import sys; from pathlib import Path; from server.agent.program import run; "
            "from server.log_lines import configure_log; configure_log('info'); "
            "sys.exit(run(Path(sys.argv[1]), None))"
        )
        log = (self.data / "agent.log").open("ab")
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            code,
            str(self.data),
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
        )
        log.close()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        return await self._process.wait()

    def keeper_pid(self) -> int | None:
        """The process that holds the keeper's lock."""
        import psutil

        for process in psutil.process_iter(["cmdline"]):
            line = process.info["cmdline"] or []
            if line[-1:] == [str(self.data)] and "server.agent.keeper" in line:
                return int(process.pid)
        return None


@contextlib.asynccontextmanager
async def master_and_agent(tmp_path: Path) -> AsyncIterator[tuple[AgentMaster, AgentProcess]]:
    """Both running; at the end agent, keeper and every job of the directory are stopped by pid."""
    master = AgentMaster()
    await master.start()
    agent = AgentProcess(tmp_path / "agent", {NODE: f"127.0.0.1:{master.port}"})
    try:
        await agent.start()
        await master.until(lambda: any(isinstance(m, wire.TicketKept) for m in master.messages))
        yield master, agent
    finally:
        await agent.end()
        keeper = agent.keeper_pid()
        if keeper is not None:
            os.kill(keeper, signal.SIGKILL)
        await master.stop()


def spec(command: str, **values: object) -> Specification:
    return Specification(job_id=1, job_name="job", command=command, **values)  # type: ignore[arg-type]  # test values
