"""What agents are told about heartbeats as their number grows, and how one that beats seldom is seen to live."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from replication.core.types import Epoch
from server.core import agent_beats
from server.core import agent_wire as wire
from server.ports import agent_links
from tests.unit.test_agent_links import NODE, Node, Recorder, hear, node


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two agents are a crowd here."""
    monkeypatch.setattr(agent_beats, "AGENTS_PER_STEP", 2)


async def agent(found: Node, name: str, protocol: int = wire.PROTOCOL) -> tuple[aiohttp.ClientWebSocketResponse, float]:
    """An agent, and the time between heartbeats that it was told."""
    socket = await found.client.ws_connect(f"http://127.0.0.1:{found.port}/?agent={name}")
    await socket.send_bytes(wire.encode(wire.Hello(name, protocol, "1", "boot", name, 5)))
    return socket, await told(socket)


async def told(socket: aiohttp.ClientWebSocketResponse) -> float:
    """What the next word of office says."""
    office = await hear(socket, wire.Office)
    assert isinstance(office, wire.Office)
    return office.beat_s


async def test_the_first_agents_hear_of_the_longer_time() -> None:
    """With the third agent of two, all are told 2 s: who came before as well."""
    async with node() as found:
        first, one = await agent(found, "one")
        second, two = await agent(found, "two")
        third, three = await agent(found, "three")
        assert (one, two, three) == (1.0, 1.0, 2.0)
        assert not second.closed
        assert not third.closed
        assert await told(first) == 2.0


async def test_an_agent_of_protocol_1_keeps_its_second() -> None:
    """It closes a link that is silent for 5 s, whatever it is told."""
    async with node() as found:
        old, _ = await agent(found, "old", protocol=1)
        new = [await agent(found, name) for name in ("one", "two", "three")]
        assert new[-1][1] == 2.0
        link = found.links.get("old")
        assert link is not None
        assert link.beat_s == 1.0
        await hear(old, wire.NodeHeartbeat)


async def test_a_new_witness_is_heard_every_second_at_once() -> None:
    """An agent that gets a seat is told 1 s, and its node does not finish the longer wait first."""
    async with node() as found:
        known = [await agent(found, name) for name in ("one", "two", "three", "four", "five")]
        socket, beat_s = known[-1]
        assert beat_s == 4.0
        found.links.set_witnesses(["five"])
        assert await told(socket) == 1.0
        async with asyncio.timeout(3):
            await hear(socket, wire.NodeHeartbeat)


async def test_a_clone_is_found_although_the_original_beats_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the first one lives is asked, not waited for: between two heartbeats it answers the question."""
    monkeypatch.setattr(agent_links, "PROBE_S", 2.0)
    async with node() as found:
        desk = Recorder()
        found.links.take_office(Epoch(3, NODE), desk)
        known = [await agent(found, name) for name in ("one", "two", "three", "four", "five")]
        socket, beat_s = known[-1]
        assert beat_s == 4.0
        clone = await found.client.ws_connect(f"http://127.0.0.1:{found.port}/?agent=five")
        await clone.send_bytes(wire.encode(wire.Hello("five", 2, "1", "boot", "another", 5)))
        question = await hear(socket, wire.AskGrant)
        assert isinstance(question, wire.AskGrant)
        await socket.send_bytes(wire.encode(wire.WitnessSays(question.question, False)))
        assert (await clone.receive()).type is aiohttp.WSMsgType.CLOSE
        assert ("doubled", "another") in desk.events


async def test_a_new_office_reaches_everybody_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """More agents than are told at once: each hears of the new epoch, and of the end of that office."""
    monkeypatch.setattr(agent_links, "TOLD_AT_ONCE", 2)
    async with node() as found:
        sockets = [(await agent(found, str(number)))[0] for number in range(7)]
        found.links.take_office(Epoch(4, NODE), Recorder())
        for socket in sockets:
            await until(socket, "master")
        found.links.leave_office()
        for socket in sockets:
            await until(socket, "standby")


async def until(socket: aiohttp.ClientWebSocketResponse, role: str) -> None:
    """Hear words of office until one says this role."""
    while True:
        office = await hear(socket, wire.Office)
        assert isinstance(office, wire.Office)
        if office.role == role:
            return
