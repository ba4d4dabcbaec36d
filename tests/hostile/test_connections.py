"""Hostile frames over real TLS with a valid certificate: a small form of `./scripts/soak hostile-connections`."""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from replication.core.messages import Hello
from replication.links import Links as NodeLinks
from server.core import agent_wire as wire
from server.ports.agent_links import Links
from tests.hostile import frames
from tests.hostile.test_certificates import AGENT, OTHER, Port
from tests.hostile.test_certificates import door as door
from tests.unit.role_world import A, hello

FRAMES = 50


@pytest.fixture(scope="module", autouse=True)
def _prepared() -> None:
    """The simulation that frames are recorded from wants no other loop to run."""
    frames.prepare()


class _Voice:
    def hello(self) -> Hello:
        """Of the node that listens."""
        return hello(A)

    def utc_us(self) -> int:
        return 0


async def _closed(link: aiohttp.ClientWebSocketResponse) -> bool:
    """Whether the other side ends it, soon."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5.0):
            while (await link.receive()).type is aiohttp.WSMsgType.BINARY:
                pass
            return True
    return False


async def test_an_agent_that_sends_anything_is_cut_off_and_another_is_served(door: Port) -> None:
    """Frames that are none end the link; the node says so once each, and serves the next hello."""
    links = Links(A, lambda: 0, asyncio.get_running_loop().time)
    door.serve = links.serve  # type: ignore[method-assign]  # the shipped one
    url = f"https://127.0.0.1:{door.port}{wire.PATH}"
    context = door.bearer("agent", AGENT).context()
    said = wire.encode(wire.Hello(AGENT, wire.PROTOCOL, "x", "boot", "same", 0))
    choice, closed = random.Random("agents"), 0
    async with aiohttp.ClientSession() as session:
        with frames.KINDS["to-node"](choice) as (make, feed):
            hostile = [frame for frame in (make() for _ in range(4 * FRAMES)) if not feed(frame)][:FRAMES]
        for frame in hostile:
            async with session.ws_connect(url, ssl=context) as link:
                await link.send_bytes(said)
                await link.send_bytes(frame)
                closed += await _closed(link)
        assert (len(hostile), closed) == (FRAMES, FRAMES)
        async with session.ws_connect(url, ssl=context) as link:
            await link.send_bytes(said)
            assert isinstance(wire.decode_from_node(await link.receive_bytes()), wire.Office)
            assert set(links.connected()) == {AGENT}


async def test_a_node_that_sends_anything_is_cut_off(
    door: Port, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever is not a HELLO of the certificate's own node ends the control link, with a sentence in the log."""
    logged: list[str] = []
    posted: list[Any] = []
    links = NodeLinks(_Voice(), None, posted.append, lambda text, peer: logged.append(text))  # type: ignore[arg-type]  # nobody is dialled
    monkeypatch.setattr(door.site.node, "attach", lambda connection, channel: links.attach(connection))
    url = f"https://127.0.0.1:{door.port}/replication/control"
    context, closed = door.bearer("node", OTHER).context(), 0
    with frames.KINDS["replication"](random.Random("nodes")) as (make, _):
        hostile = [make() for _ in range(FRAMES)]
    async with aiohttp.ClientSession() as session:
        for frame in hostile:
            async with session.ws_connect(url, ssl=context) as link:
                await link.send_bytes(frame)
                closed += await _closed(link)
    assert closed == FRAMES
    assert len(logged) == FRAMES
    assert all(text.startswith("Closed a link: the peer sent") for text in logged)
    assert {type(event).__name__ for event in posted} == {"PeerLost"}
