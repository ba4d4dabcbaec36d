"""Thousands of simulated agents in one process: `agent_wire` over one TLS connection and certificate each.

`python -m tests.bench.swarm DIRECTORY ADDRESS...`: DIRECTORY has `ca.crt` and `agents/N.pem`. Takes orders on standard
input (`connect N`, `admitted N`, `state`, `report AGENTS RUNS`) and answers each in one JSON line. A lost link is
dialled again, at the other address, by the agent's own rule.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import resource
import ssl
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from replication.core.types import NO_EPOCH, Epoch
from server.agent.link import RETRY_FIRST_S, RETRY_MAX_S
from server.core import agent_wire as wire
from server.core.model import Specification
from server.core.run_keys import occurrence_key
from server.trust.tls import client_context

HEADER = b"\x82"
DIALS_AT_FIRST = 64
T0_US = 1_700_000_000_000_000


def frame(payload: bytes) -> bytes:
    """A masked binary frame; a mask of zeros leaves the bytes as they are."""
    size = len(payload)
    if size < 126:
        return HEADER + bytes([0x80 | size]) + bytes(4) + payload
    if size < 65536:
        return HEADER + b"\xfe" + struct.pack(">H", size) + bytes(4) + payload
    return HEADER + b"\xff" + struct.pack(">Q", size) + bytes(4) + payload


class SimulatedAgent(asyncio.Protocol):
    """One agent that runs nothing: presents itself, keeps tickets and gates, sends heartbeats and made-up reports."""

    def __init__(self, swarm: Swarm, number: int, agent_id: str) -> None:
        self.swarm = swarm
        self.number = number
        self.id = agent_id
        self.transport: asyncio.Transport | None = None
        self.epoch: Epoch = NO_EPOCH
        self.ticket = 0
        self.gates = wire.GateSet()
        self.admitted = False
        self.beat_s = 1.0
        self.delay_s = RETRY_FIRST_S
        self.unanswered: dict[int, wire.Report] = {}
        self._buffer = bytearray()
        self._upgraded = False
        self._beat: asyncio.TimerHandle | None = None

    # The link.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self._upgraded = transport, False
        self._buffer.clear()
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET {wire.PATH} HTTP/1.1\r\nHost: node\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def connection_lost(self, error: Exception | None) -> None:
        self.transport, was_admitted, self.admitted = None, self.admitted, False
        self.swarm.lost += was_admitted
        if self._beat is not None:
            self._beat.cancel()
        self.swarm.again(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._upgraded:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if b" 101 " not in self._buffer[:64]:
                self.close()
                return
            del self._buffer[: end + 4]
            self._upgraded = True
            now_us = time.time_ns() // 1000
            self.send(wire.Hello(self.id, wire.PROTOCOL, "simulated", "boot", f"i{self.number}", now_us))
            self._beat = asyncio.get_running_loop().call_later(random.random(), self._beats)
        while (payload := self._next()) is not None:
            self._take(wire.decode_from_node(payload))

    def _next(self) -> bytes | None:
        """The payload of the next whole frame; a closing one ends the link."""
        if len(self._buffer) < 2:
            return None
        size, at = self._buffer[1] & 0x7F, 2
        if size == 126:
            size, at = struct.unpack(">H", self._buffer[2:4])[0] if len(self._buffer) >= 4 else 1 << 20, 4
        elif size == 127:
            size, at = struct.unpack(">Q", self._buffer[2:10])[0] if len(self._buffer) >= 10 else 1 << 40, 10
        if len(self._buffer) < at + size:
            return None
        kind, payload = self._buffer[0] & 0x0F, bytes(self._buffer[at : at + size])
        del self._buffer[: at + size]
        if kind == 8:
            self.close()
            return None
        return payload if kind == 2 else self._next()

    def send(self, message: wire.FromAgent) -> None:
        """Send now."""
        if self.transport is not None:
            self.transport.write(frame(wire.encode(message)))

    def close(self) -> None:
        """End the link; it is dialled again."""
        if self.transport is not None:
            self.transport.close()

    # What an agent does.

    def _take(self, message: wire.FromNode) -> None:
        match message:
            case wire.Office():
                self._office(message)
            case wire.Admitted(ticket):
                self.ticket, self.admitted, self.delay_s = ticket, True, RETRY_FIRST_S
                self.send(wire.TicketKept(ticket))
                for report in self.unanswered.values():
                    self.send(report)
                self.swarm.changed.set()
            case wire.NextTicket(ticket):
                self.ticket = ticket
                self.send(wire.TicketKept(ticket))
            case wire.SetGates(gates):
                self.gates = gates
                self.send(wire.GatesKept(gates.revision))
            case wire.SetDeployment(number):
                self.send(wire.DeploymentKept(number))
            case wire.Kept(numbers):
                for number in numbers:
                    self.unanswered.pop(number, None)
                self.swarm.changed.set()
            case wire.AskGrant(question):
                self.send(wire.WitnessSays(question, False))
            case _:
                pass

    def _office(self, office: wire.Office) -> None:
        self.beat_s = office.beat_s
        if office.role != "master" or office.epoch < self.epoch:
            if not self.swarm.waits_at_standby:
                self.close()
        elif not self.admitted or office.epoch > self.epoch:
            self.epoch = office.epoch
            self.send(wire.Present(office.epoch, self.ticket, self.gates, (), ()))

    def _beats(self) -> None:
        self.send(wire.AgentHeartbeat(time.time_ns() // 1000, len(self.unanswered)))
        self._beat = asyncio.get_running_loop().call_later(self.beat_s, self._beats)

    def report(self, runs: int) -> None:
        """Runs of its own job, begun and ended, that the master hears of as fast as it answers."""
        specification = Specification(job_id=self.number + 1, job_name=f"job-{self.number}", command="true")
        for k in range(runs):
            at_us = T0_US + k * 1_000_000
            key = occurrence_key(self.number + 1, self.number + 1, at_us)
            for body in (
                wire.Begun(specification, at_us, 1),
                wire.Ended(0, None, at_us, at_us, 0, False, "", specification.job_name),
            ):
                number = len(self.unanswered) + 1
                self.unanswered[number] = wire.Report(number, key, at_us, body)
        for report in self.unanswered.values():
            self.send(report)


class Swarm:
    """All of them, and the orders."""

    def __init__(self, directory: Path, addresses: list[str]) -> None:
        self._directory = directory
        self._addresses = [(host, int(port)) for host, port in (address.rsplit(":", 1) for address in addresses)]
        self._ids: list[str] = json.loads((directory / "agents" / "ids.json").read_text())
        self.agents: list[SimulatedAgent] = []
        self._place: dict[int, int] = {}
        self._contexts: dict[int, ssl.SSLContext] = {}
        self._dials: set[asyncio.Task[None]] = set()
        self.changed = asyncio.Event()
        self.lost = 0
        self.dialled = 0
        self.waits_at_standby = len(addresses) == 1

    def _context(self, number: int) -> ssl.SSLContext:
        """Its own certificate; made once, since it takes longer than the handshake."""
        if number not in self._contexts:
            path = self._directory / "agents" / f"{number}.pem"
            self._contexts[number] = client_context(self._directory / "ca.crt", path, path)
        return self._contexts[number]

    async def dial(self, agent: SimulatedAgent) -> None:
        """Once; what fails is tried again by the agent's rule."""
        host, port = self._addresses[self._place.setdefault(agent.number, 0) % len(self._addresses)]
        self.dialled += 1
        loop = asyncio.get_running_loop()
        try:
            context = self._context(agent.number)
            await loop.create_connection(lambda: agent, host, port, ssl=context, ssl_handshake_timeout=30.0)
        except OSError:
            self.again(agent)

    def again(self, agent: SimulatedAgent) -> None:
        """Dial later, at the other address, as `server.agent.link` does."""
        self._place[agent.number] = self._place.get(agent.number, 0) + 1
        delay_s = agent.delay_s * random.uniform(0.5, 1.0) + random.uniform(0.0, agent.beat_s - 1.0)
        agent.delay_s = min(agent.delay_s * 2, RETRY_MAX_S)
        asyncio.get_running_loop().call_later(delay_s, self._spawn, agent)

    def _spawn(self, agent: SimulatedAgent) -> None:
        task = asyncio.get_running_loop().create_task(self.dial(agent))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def connect(self, count: int) -> dict[str, Any]:
        """Bring the number of agents up to `count`, a few dozen dialling at a time."""
        new = [SimulatedAgent(self, number, self._ids[number]) for number in range(len(self.agents), count)]
        self.agents += new
        room = asyncio.Semaphore(DIALS_AT_FIRST)

        async def one(agent: SimulatedAgent) -> None:
            async with room:
                await self.dial(agent)

        await asyncio.gather(*(one(agent) for agent in new))
        return await self.admitted(count)

    async def _until(self, condition: Callable[[], bool]) -> float:
        started = time.monotonic()
        while not condition():
            self.changed.clear()
            await self.changed.wait()
        return round(time.monotonic() - started, 3)

    async def admitted(self, count: int) -> dict[str, Any]:
        """Wait until so many are admitted."""
        took_s = await self._until(lambda: sum(agent.admitted for agent in self.agents) >= count)
        return {"took_s": took_s, **self.state()}

    async def report(self, agents: int, runs: int) -> dict[str, Any]:
        """Each of the first `agents` tells of `runs` runs; until all are answered as committed."""
        told = self.agents[:agents]
        started = time.monotonic()
        for agent in told:
            agent.report(runs)
        await self._until(lambda: not any(agent.unanswered for agent in told))
        return {"runs": agents * runs, "took_s": round(time.monotonic() - started, 3)}

    def state(self) -> dict[str, Any]:
        """Counts now."""
        return {
            "agents": len(self.agents),
            "admitted": sum(agent.admitted for agent in self.agents),
            "lost": self.lost,
            "dialled": self.dialled,
            "beat_s": max((agent.beat_s for agent in self.agents), default=0),
        }

    async def obey(self, order: list[str]) -> dict[str, Any]:
        """One line of standard input."""
        match order:
            case ["connect", count]:
                return await self.connect(int(count))
            case ["admitted", count]:
                return await self.admitted(int(count))
            case ["report", agents, runs]:
                return await self.report(int(agents), int(runs))
            case _:
                return self.state()


async def main() -> None:
    """Serve orders until the input ends."""
    swarm = Swarm(Path(sys.argv[1]), sys.argv[2:])
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        answer = await swarm.obey(line.split())
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(main())
