"""The accepted links of agents: one per identity, heartbeats both ways."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from replication.core.types import NO_EPOCH, Epoch
from replication.core.witness import Seats, WitnessRecord
from server.core import agent_wire as wire
from server.ports import agent_links
from server.ports.agent_links import AgentLink, Links
from server.ports.witness_links import WitnessLinks

NODE = "a" * 32


class Recorder:
    """A desk that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def joined(self, link: AgentLink) -> None:
        self.events.append(("joined", link.hello.instance))

    def left(self, link: AgentLink) -> None:
        self.events.append(("left", link.hello.instance))

    def said(self, link: AgentLink, message: wire.FromAgent) -> None:
        self.events.append(("said", type(message).__name__))

    def doubled(self, link: AgentLink, other: AgentLink) -> None:
        self.events.append(("doubled", other.hello.instance))


class Node:
    """Links behind a real WebSocket server on loopback; the agent's id is in the query."""

    def __init__(self) -> None:
        self.sets: list[Seats] = []
        self.links = Links(NODE, lambda: 5, time.monotonic)
        self.asked = WitnessLinks(self.links, self._sets, lambda: 5, time.monotonic)

    async def _sets(self) -> list[Seats]:
        return self.sets

    async def accept(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=wire.FRAME_BYTES_MAX)
        await socket.prepare(request)
        await self.links.serve(socket, request.query["agent"])
        return socket

    async def agent(self, agent_id: str, instance: str = "1") -> aiohttp.ClientWebSocketResponse:
        """A raw client that has said hello."""
        socket = await self.client.ws_connect(f"http://127.0.0.1:{self.port}/?agent={agent_id}")
        await socket.send_bytes(wire.encode(wire.Hello(agent_id, 1, "1", "boot", instance, 5)))
        return socket


@contextlib.asynccontextmanager
async def node() -> AsyncIterator[Node]:
    found = Node()
    app = web.Application()
    app.router.add_get("/", found.accept)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.port = runner.addresses[0][1]
    async with aiohttp.ClientSession() as found.client:
        try:
            yield found
        finally:
            await found.links.close()
    await runner.cleanup()


async def hear(socket: aiohttp.ClientWebSocketResponse, kind: type[wire.FromNode]) -> wire.FromNode:
    """The next message of a kind."""
    while True:
        message = wire.decode_from_node(await socket.receive_bytes(timeout=10))
        if isinstance(message, kind):
            return message


def says(question: wire.FromNode, granted: bool, record: WitnessRecord) -> bytes:
    assert isinstance(question, wire.AskGrant | wire.AskAlone)
    answer = wire.WitnessSays(
        question.question, granted, record.epoch, record.alone, record.alone_epoch, record.counter
    )
    return wire.encode(answer)


async def test_office_is_told_at_once_and_when_it_changes() -> None:
    """A standby says so; taking office is told on the warm link, with the epoch and the roster."""
    async with node() as here:
        socket = await here.agent("x")
        first = await hear(socket, wire.Office)
        assert (first.role, first.epoch) == ("standby", NO_EPOCH)  # type: ignore[union-attr]  # an Office
        desk = Recorder()
        here.links.take_office(Epoch(4, NODE), desk)
        second = await hear(socket, wire.Office)
        assert (second.role, second.epoch) == ("master", Epoch(4, NODE))  # type: ignore[union-attr]  # an Office
        here.links.set_roster({NODE: "127.0.0.1:1"})
        third = await hear(socket, wire.Office)
        assert third.roster == {NODE: "127.0.0.1:1"}  # type: ignore[union-attr]  # an Office
        here.links.leave_office()
        assert (await hear(socket, wire.Office)).role == "standby"  # type: ignore[union-attr]  # an Office
        assert desk.events == [("joined", "1"), ("left", "1")]


async def test_a_second_process_of_a_living_identity_is_not_let_in() -> None:
    """BEY-4: the first one answers the probe by its heartbeats; the desk is told, the second link is closed."""
    async with node() as here:
        desk = Recorder()
        here.links.take_office(Epoch(4, NODE), desk)
        first = await here.agent("x", "first")
        await hear(first, wire.Office)
        second = await here.agent("x", "second")
        while ("doubled", "second") not in desk.events:
            await first.send_bytes(wire.encode(wire.AgentHeartbeat(5)))
            await asyncio.sleep(0.02)
        assert (await second.receive(timeout=10)).type is not aiohttp.WSMsgType.BINARY
        assert here.links.connected()["x"].hello.instance == "first"


async def test_a_dead_link_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link whose machine is gone says nothing: the agent that returns is not taken for a copy."""
    monkeypatch.setattr(agent_links, "PROBE_S", 0.1)
    async with node() as here:
        desk = Recorder()
        here.links.take_office(Epoch(4, NODE), desk)
        first = await here.agent("x", "first")
        await hear(first, wire.Office)
        second = await here.agent("x", "second")
        await hear(second, wire.Office)
        assert here.links.connected()["x"].hello.instance == "second"
        assert [event for event in desk.events if event[0] != "said"] == [
            ("joined", "first"),
            ("left", "first"),
            ("joined", "second"),
        ]


async def test_of_two_that_come_for_a_dead_link_one_is_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """BEY-4: after an outage an agent and a copy of it dial at the same time, while its former link is still probed."""
    monkeypatch.setattr(agent_links, "PROBE_S", 0.3)
    async with node() as here:
        desk = Recorder()
        here.links.take_office(Epoch(4, NODE), desk)
        before = await here.agent("x", "before")
        await hear(before, wire.Office)
        both = [await here.client.ws_connect(f"http://127.0.0.1:{here.port}/?agent=x") for _ in range(2)]
        for socket, instance in zip(both, ("agent", "copy"), strict=True):
            await socket.send_bytes(wire.encode(wire.Hello("x", 1, "1", "boot", instance, 5)))
        async with asyncio.timeout(10):
            while not [said for said, _ in desk.events if said == "doubled"]:
                for socket in both:
                    with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                        await socket.send_bytes(wire.encode(wire.AgentHeartbeat(5)))
                await asyncio.sleep(0.02)
        await before.close()
        joined = [instance for said, instance in desk.events if said == "joined"]
        assert joined in (["before", "agent"], ["before", "copy"])


async def test_a_hello_of_another_agent_than_the_certificates_is_refused() -> None:
    """The identity is the certificate's: the link ends before anything is told."""
    async with node() as here:
        socket = await here.client.ws_connect(f"http://127.0.0.1:{here.port}/?agent=x")
        await socket.send_bytes(wire.encode(wire.Hello("y", 1, "1", "boot", "1", 5)))
        assert (await socket.receive(timeout=10)).type is not aiohttp.WSMsgType.BINARY
        assert here.links.connected() == {}


async def test_rubbish_ends_the_link_and_nothing_else() -> None:
    """A frame that is no message closes this link; others go on."""
    async with node() as here:
        good, bad = await here.agent("good"), await here.agent("bad")
        await hear(good, wire.Office)
        await hear(bad, wire.Office)
        await bad.send_bytes(b"\xc1rubbish")
        while (await bad.receive(timeout=10)).type is aiohttp.WSMsgType.BINARY:
            pass
        await hear(good, wire.NodeHeartbeat)
        assert set(here.links.connected()) == {"good"}
