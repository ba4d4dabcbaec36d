"""The session of an agent that was removed, as its own program would begin it."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp

from server.core import agent_wire as wire
from tests.hostile.certificates import Bearer
from tests.process.cluster import Node

ANSWER_S = 5.0


async def told(node: Node, who: Bearer, agent_id: str) -> list[wire.FromNode]:
    """What a node says to an agent that presents itself and reports something, until it says nothing more."""
    heard: list[wire.FromNode] = []
    url = f"https://{node.host}:{node.cluster_port}{wire.PATH}"
    async with aiohttp.ClientSession() as session, session.ws_connect(url, ssl=who.context()) as link:
        await link.send_bytes(wire.encode(wire.Hello(agent_id, wire.PROTOCOL, "x", "boot", "instance", 0)))
        report = wire.Report(1, "j1.rone.a1", 1, wire.Trouble("a removed agent says this"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                while (frame := await link.receive()).type is aiohttp.WSMsgType.BINARY:
                    message = wire.decode_from_node(frame.data)
                    if isinstance(message, wire.Office):
                        await link.send_bytes(wire.encode(report))
                        await link.send_bytes(wire.encode(wire.Present(message.epoch, 0, wire.GateSet(), (), ())))
                        await link.send_bytes(wire.encode(report))
                    heard.append(message)
    return heard
