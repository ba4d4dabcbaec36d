"""Hostile frames over real connections with a valid certificate, at a node's links and its agents' links."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

from server.core import agent_wire as wire
from server.trust import tls
from server.trust.identity import load_identity
from tests.hostile import frames
from tests.hostile.company import Honest, Memory, defects, hostile_agent, hostile_node, said_times
from tests.process.checker import Verdict
from tests.process.cluster import Node, running_pair
from tests.process.workload import Workload

AGENTS = 3
LANES_OF_NODE = 3
FRAMES_OF_A_LINK = 8
ANSWER_S = 8.0
SAID = ("Closed a link: the peer sent", "Ended its bulk link", "agent link refused")


Deed = Callable[[aiohttp.ClientSession, int], Awaitable[int]]


class Attacker:
    """One hostile program with the certificate of a directory. `tally` counts what became of its frames."""

    def __init__(self, data: Path, node: Node, tally: Counter[str]) -> None:
        self._context = tls.client_context(data / "ca.crt", data / "node.crt", data / "node.key")
        identity = load_identity(data)
        assert identity is not None
        self._id = identity.id
        self._url = f"https://{node.host}:{node.cluster_port}"
        self._tally = tally

    async def at_links(self, session: aiohttp.ClientSession, seed: int) -> int:
        """One frame on a fresh link of nodes, before any HELLO; what the node does then is counted."""
        choice = random.Random(f"links-{seed}")
        channel = choice.choice(("control", "bulk"))
        with frames.KINDS["replication"](choice) as (make, _):
            frame = make()
        async with session.ws_connect(f"{self._url}/replication/{channel}", ssl=self._context) as link:
            await link.send_bytes(frame)
            self._tally[f"{channel} link {await self._end(link)}"] += 1
        return 1

    async def at_session(self, session: aiohttp.ClientSession, seed: int) -> int:
        """A true hello of an agent, then frames until the node ends the link."""
        choice = random.Random(f"session-{seed}")
        sent = 0
        async with session.ws_connect(self._url + wire.PATH, ssl=self._context, max_msg_size=0) as link:
            await link.send_bytes(wire.encode(wire.Hello(self._id, wire.PROTOCOL, "x", "boot", "same", 0)))
            with frames.KINDS["to-node"](choice) as (make, _):
                while sent < FRAMES_OF_A_LINK and not link.closed:
                    await link.send_bytes(make())
                    sent += 1
                    await asyncio.sleep(0)
            self._tally[f"agent session {await self._end(link)}"] += 1
        return sent

    async def _end(self, link: aiohttp.ClientWebSocketResponse) -> str:
        """Read on until the node closes; "went on" when it takes what it was sent."""
        with contextlib.suppress(TimeoutError, aiohttp.ClientError):
            async with asyncio.timeout(1.0):
                while True:
                    message = await link.receive()
                    if message.type is not aiohttp.WSMsgType.BINARY:
                        return "closed by the node"
        return "went on"


async def attack(attackers: list[tuple[Deed, int]], count: int) -> int:
    """All lanes beside each other until so many frames are sent in all; how many they were."""
    sent = 0

    async def lane(deed: Deed, first: int) -> None:
        nonlocal sent
        seed = first
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as session:
            while sent < count:
                seed += 100
                try:
                    made = await deed(session, seed)
                except (aiohttp.ClientError, TimeoutError, ConnectionError):
                    made = 1
                sent += made

    await asyncio.gather(*(lane(deed, number) for deed, number in attackers))
    return sent


def hostile_connections(directory: Path, count: int, say: Callable[[str], None]) -> Verdict:
    """While a pair works, certificates of a node and of agents are used for frames that nobody meant."""
    frames.prepare()
    tally: Counter[str] = Counter()
    with running_pair(directory) as pair:
        master, standby = pair.wait_healthy()
        west = hostile_node(master, directory, pair.fingerprint(master), pair.password_file)
        mallories = [hostile_agent(master, directory, f"mallory-{number}") for number in range(AGENTS)]
        load = Workload(pair, rate=50.0).start()
        honest, memories = Honest(master).start(), [Memory(master), Memory(standby)]
        lanes: list[tuple[Deed, int]] = []
        for number in range(LANES_OF_NODE):
            lanes.append((Attacker(west, (master, standby)[number % 2], tally).at_links, number))
        for number, data in enumerate(mallories, LANES_OF_NODE):
            lanes.append((Attacker(data, (master, standby)[number % 2], tally).at_session, number))
        sent = asyncio.run(attack(lanes, count))
        faults = honest.stop() + [fault for memory in memories for fault in memory.stop()]
        for name, times in sorted(tally.items()):
            say(f"{name}: {times}")
        say(f"{sent} frames over {tally.total()} connections")
        for node in (master, standby):
            said = [f"{said_times(node, text)} times {text!r}" for text in SAID]
            say(f"{node.name} said why: {', '.join(said)}")
            faults += defects(node)
        say(str(honest))
        for memory in memories:
            say(str(memory))
        if not master.is_master():
            faults.append(f"{master.name} is not master any more")
        verdict = load.finish()
    counts = {"frames": sent, "connections": tally.total(), **verdict.counts}
    return Verdict(counts, (*faults, *verdict.faults))
