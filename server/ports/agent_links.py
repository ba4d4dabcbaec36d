"""The accepted links of agents, on a node of either role:

who is connected, heartbeats, and questions to single agents.

In office a `Desk` (the fleet) takes what agents say; outside of office only heartbeats and witness answers
count.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import aiohttp
import structlog
from aiohttp import web

from replication.core.types import NO_EPOCH, Epoch, NodeId
from server.core import agent_wire as wire
from server.core.agent_beats import beat_s, silent_s
from server.core.authorities import Leaf

log = structlog.get_logger(__name__)

PROBE_S = 2.5
TOLD_AT_ONCE = 100
TOLD_EVERY_S = 0.02
"""A new office is told to 5,000 agents a second at most: each presents itself at once."""
WORD_S = 0.05
NO_WORD = (float("-inf"), 0, 0, False)
OUTGOING_MAX = 100_000
NO_LEAF = Leaf()


class AgentLink:
    """One accepted link. What is queued when it ends is gone: agents ask again by presenting themselves."""

    def __init__(
        self, agent_id: str, hello: wire.Hello, socket: web.WebSocketResponse, at_s: float, leaf: Leaf
    ) -> None:
        self.agent_id = agent_id
        self.leaf = leaf
        self.hello = hello
        self.heard_s = at_s
        self.frame_bytes = 0
        self.skew_us = 0
        self.reports = 0
        self.waiting = ""
        self.start_alone = False
        self.boot_us = 0
        self.beat_s = 1.0
        self.beating: asyncio.Task[None] | None = None
        self.heartbeat = wire.AgentHeartbeat(0)
        self._socket = socket
        self._outgoing: asyncio.Queue[wire.FromNode] = asyncio.Queue(OUTGOING_MAX)
        self._heard = asyncio.Event()

    def send(self, message: wire.FromNode) -> None:
        """Queue a message. An agent that reads nothing for so long that the queue is full is cut off."""
        try:
            self._outgoing.put_nowait(message)
        except asyncio.QueueFull:
            asyncio.get_running_loop().create_task(self.close())

    def note_heard(self, at_s: float) -> None:
        """Something arrived."""
        self.heard_s = at_s
        self._heard.set()

    async def is_alive(self, within_s: float) -> bool:
        """True once the agent says anything more within the time: it is asked for a look at its witness record."""
        self._heard.clear()
        self.send(wire.AskGrant(0, NO_EPOCH, NO_EPOCH, 0))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._heard.wait()
        return self._heard.is_set()

    async def write(self) -> None:
        """Send what is queued until the link ends."""
        with contextlib.suppress(ConnectionError, aiohttp.ClientError, RuntimeError):
            while True:
                await self._socket.send_bytes(wire.encode(await self._outgoing.get()))

    async def close(self) -> None:
        """Close; idempotent, at most a second for the good-bye."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(1.0):
                await self._socket.close()


class Desk(Protocol):
    """Takes what agents say while this node is in office."""

    def joined(self, link: AgentLink) -> None:
        """A link is open and was told of this office."""

    def left(self, link: AgentLink) -> None:
        """It has ended."""

    def said(self, link: AgentLink, message: wire.FromAgent) -> None:
        """One message, in order; of heartbeats only one that begins to say why it waits. Must not block."""

    def doubled(self, link: AgentLink, other: AgentLink) -> None:
        """`other` claims an identity whose `link` is alive: quarantine it, and close `other`."""


class Links:
    """All accepted agent links of this node, one per agent.

    `utc_us` and `monotonic` are the node's clocks. `replicated` returns the commit sequence while a standby is in
    sync, else 0; `committed` the commit sequence of an office; `can_commit` whether it could commit something now.
    `server.ports.witness_links` asks the witnesses through it.
    """

    def __init__(
        self,
        node: NodeId,
        utc_us: Callable[[], int],
        monotonic: Callable[[], float],
        replicated: Callable[[], int] = lambda: 0,
    ) -> None:
        self._node = node
        self._utc_us = utc_us
        self._monotonic = monotonic
        self.replicated = replicated
        self.committed: Callable[[], int] = lambda: 0
        self.can_commit: Callable[[], bool] = lambda: False
        self._epoch = NO_EPOCH
        self._desk: Desk | None = None
        self._roster: dict[str, str] = {}
        self._trust = ""
        self._links: dict[str, AgentLink] = {}
        self._question = 0
        self._answers: dict[tuple[str, int], asyncio.Future[wire.WitnessSays]] = {}
        self._changed = asyncio.Event()
        self._left_us: dict[str, int] = {}
        self._witnesses: frozenset[str] = frozenset()
        self._word = NO_WORD
        self._telling: asyncio.Task[None] | None = None

    def get(self, agent_id: str) -> AgentLink | None:
        """The agent's link, or None while it is not connected."""
        return self._links.get(agent_id)

    def connected(self) -> dict[str, AgentLink]:
        """All links by agent id."""
        return dict(self._links)

    def silent_since_us(self, agent_id: str) -> int | None:
        """When the agent's last link here ended (microseconds UTC, for display); None: never one since the start."""
        return self._left_us.get(agent_id)

    def set_roster(self, roster: Mapping[NodeId, str]) -> None:
        """Addresses of both nodes, `host:cluster_port`; agents are told, and dial them from now on."""
        if dict(roster) != self._roster:
            self._roster = dict(roster)
            self._announce()

    def set_trust(self, trust: str) -> None:
        """The authorities to trust, the one that signs first; agents are told, and renew what differs."""
        if trust != self._trust:
            self._trust = trust
            self._announce()

    def shown(self) -> dict[str, tuple[str, Leaf]]:
        """What each connected agent says it trusts, and the certificate that it showed."""
        return {agent_id: (link.hello.trusts, link.leaf) for agent_id, link in self._links.items()}

    def set_witnesses(self, agent_ids: Iterable[str]) -> None:
        """Those that have a seat: their heartbeats keep coming every second, however many agents there are."""
        self._witnesses = frozenset(agent_ids)
        for agent_id in self._witnesses & self._links.keys():
            self._set_beat(self._links[agent_id])

    def take_office(self, epoch: Epoch, desk: Desk) -> None:
        """This node is master in `epoch`, and the epoch is committed: all agents are told."""
        self._epoch, self._desk = epoch, desk
        self._word = NO_WORD
        self._announce()
        for link in self._links.values():
            desk.joined(link)

    def leave_office(self) -> None:
        """This node is not master any more: agents are told; links stay open."""
        desk, self._desk, self._epoch = self._desk, None, NO_EPOCH
        self._announce()
        for link in self._links.values():
            if desk is not None:
                desk.left(link)

    async def close(self) -> None:
        """Close every link."""
        await asyncio.gather(*(link.close() for link in list(self._links.values())))

    async def serve(self, socket: web.WebSocketResponse, agent_id: str, leaf: Leaf = NO_LEAF) -> None:
        """Serve a prepared WebSocket of the authenticated agent `agent_id` until it ends.

        Prepare it with `max_msg_size=agent_wire.FRAME_BYTES_MAX` and without compression.
        """
        try:
            first = wire.decode_from_agent(await socket.receive_bytes(timeout=wire.LINK_SILENT_S))
            if not isinstance(first, wire.Hello) or first.agent_id != agent_id:
                raise wire.ProtocolError("a link begins with the hello of the certificate's own agent")
            link = AgentLink(agent_id, first, socket, self._monotonic(), leaf)
            if await self._is_single(link):
                await self._serve(link, socket)
        except (wire.ProtocolError, TypeError, TimeoutError, ConnectionError) as error:
            log.warning("agent link refused", agent=agent_id, why=str(error) or repr(error))
        finally:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(1.0):
                    await socket.close()

    async def _is_single(self, link: AgentLink) -> bool:
        """Make room for a returning agent. False for a second process of an identity that is alive here.

        Looked at again after each wait: another may have come for the same dead link meanwhile.
        """
        while (known := self._links.get(link.agent_id)) is not None:
            if known.hello.instance != link.hello.instance and await known.is_alive(PROBE_S):
                if self._desk is not None:
                    self._desk.doubled(known, link)
                return False
            await known.close()
            self._drop(known)
        return True

    async def _serve(self, link: AgentLink, socket: web.WebSocketResponse) -> None:
        self._links[link.agent_id] = link
        link.beat_s = self._beat_for(link)
        link.send(self._office(link))
        self._lengthen_beats()
        self._changed.set()
        if self._desk is not None:
            self._desk.joined(link)
        writing = asyncio.create_task(link.write())
        self._begin_beating(link)
        try:
            while True:
                frame = await socket.receive(timeout=silent_s(link.beat_s))
                if frame.type is not aiohttp.WSMsgType.BINARY:
                    break
                link.note_heard(self._monotonic())
                link.frame_bytes = len(frame.data)
                self._take(link, wire.decode_from_agent(frame.data))
        except TimeoutError:
            log.warning("agent silent", agent=link.agent_id)
        finally:
            tasks = [task for task in (writing, link.beating) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._drop(link)

    def _drop(self, link: AgentLink) -> None:
        if self._links.get(link.agent_id) is link:
            del self._links[link.agent_id]
            self._left_us[link.agent_id] = self._utc_us()
            if self._desk is not None:
                self._desk.left(link)

    def _take(self, link: AgentLink, message: wire.FromAgent) -> None:
        match message:
            case wire.AgentHeartbeat(now_us, reports, waiting, start_alone, boot_us):
                link.heartbeat = message
                news = bool(waiting) and not link.waiting
                link.skew_us = now_us - self._utc_us()
                link.reports, link.waiting, link.start_alone, link.boot_us = reports, waiting, start_alone, boot_us
                if news and self._desk is not None:
                    self._desk.said(link, message)
            case wire.WitnessSays(question):
                answer = self._answers.get((link.agent_id, question))
                if answer is not None and not answer.done():
                    answer.set_result(message)
            case _ if self._desk is not None:
                self._desk.said(link, message)
            case _:
                pass

    def _office(self, link: AgentLink) -> wire.Office:
        role = "master" if self._desk is not None else "standby"
        now_us = self._utc_us()
        return wire.Office(self._node, role, self._epoch, now_us, self._roster, wire.PROTOCOL, link.beat_s, self._trust)

    def _announce(self) -> None:
        """Tell every link who this node is now: some at once, the rest in turns, so that nobody else waits for it."""
        if self._telling is not None:
            self._telling.cancel()
        links = list(self._links.values())
        self._tell(links[:TOLD_AT_ONCE])
        if len(links) > TOLD_AT_ONCE:
            self._telling = asyncio.get_running_loop().create_task(self._tell_rest(links[TOLD_AT_ONCE:]))

    async def _tell_rest(self, links: list[AgentLink]) -> None:
        for first in range(0, len(links), TOLD_AT_ONCE):
            await asyncio.sleep(TOLD_EVERY_S)
            self._tell(links[first : first + TOLD_AT_ONCE])

    def _tell(self, links: list[AgentLink]) -> None:
        for link in links:
            link.send(self._office(link))

    # Heartbeats.

    def _beat_for(self, link: AgentLink) -> float:
        """What an agent is told; one of protocol 1 knows nothing but a second."""
        if link.hello.protocol < 2:
            return 1.0
        return beat_s(len(self._links), link.agent_id in self._witnesses)

    def _set_beat(self, link: AgentLink) -> None:
        wanted = self._beat_for(link)
        if wanted != link.beat_s:
            link.beat_s = wanted
            link.send(self._office(link))
            self._begin_beating(link)

    def _lengthen_beats(self) -> None:
        """When their number has passed a step: those that came before hear of the longer time."""
        count = len(self._links)
        if beat_s(count) != beat_s(count - 1):
            for link in self._links.values():
                self._set_beat(link)

    def _begin_beating(self, link: AgentLink) -> None:
        """From now on in the link's present time: an agent that was told a shorter one waits no longer."""
        if link.beating is not None:
            link.beating.cancel()
        link.beating = asyncio.get_running_loop().create_task(self._beat(link))

    async def _beat(self, link: AgentLink) -> None:
        while True:
            await asyncio.sleep(link.beat_s)
            replicated, committed, can_commit = self._word_of_office()
            link.send(wire.NodeHeartbeat(self._utc_us(), replicated, committed, link.boot_us if can_commit else 0))

    def _word_of_office(self) -> tuple[int, int, bool]:
        """What heartbeats say to all agents alike, looked up at most every `WORD_S`."""
        now_s = self._monotonic()
        if self._desk is None:
            return 0, 0, False
        if now_s - self._word[0] > WORD_S:
            self._word = (now_s, self.replicated(), self.committed(), self.can_commit())
        return self._word[1:]

    # Questions.

    async def ask(
        self, agent_id: str, question: Callable[[int], wire.AskGrant | wire.AskAlone], deadline_s: float
    ) -> wire.WitnessSays | None:
        """Ask one agent, and wait for its link and its answer until `deadline_s` (monotonic); None when it is silent.

        `question` makes the message of its number, by which the answer is matched.
        """
        self._question += 1
        number = self._question
        future: asyncio.Future[wire.WitnessSays] = asyncio.get_running_loop().create_future()
        self._answers[agent_id, number] = future
        try:
            async with asyncio.timeout(max(deadline_s - self._monotonic(), 0)):
                while agent_id not in self._links:
                    self._changed.clear()
                    await self._changed.wait()
                self._links[agent_id].send(question(number))
                return await future
        except TimeoutError:
            return None
        finally:
            del self._answers[agent_id, number]
