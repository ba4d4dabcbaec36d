"""Control links: who is there, in which state; claims, grants and tokens. Symmetrical, and gossip only.

Every node dials every other node of the roster while it has no link to it. Nothing here decides: each frame becomes an
event of the role machine. A lost message is asked for again by whoever needs it.

Protocol: docs/protocol.md, sections 3, 7 and 9.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from replication.core import codec, events
from replication.core.codec import FrameError
from replication.core.events import Event
from replication.core.messages import ClaimOffice, Grant, Heartbeat, Hello, Message, Refuse, Taken, Token
from replication.core.types import NodeId
from replication.ports import Connection, Dialler

HEARTBEAT_S = 1.0
SILENT_S = 5.0
REDIAL_S = (0.2, 2.0)
CONTROL = "control"
BULK = "bulk"


class Voice(Protocol):
    """What links say for the node: fresh at every call."""

    def hello(self) -> Hello:
        """Who I am and where I stand."""

    def heartbeat(self) -> Heartbeat:
        """The short form, each second."""

    def utc_us(self) -> int:
        """The wall clock of this node, for measuring skew only."""


@dataclass(slots=True)
class Link:
    """One open control connection and what its peer last said."""

    connection: Connection
    hello: Hello | None = None
    outbox: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)


class Links:
    """All control links of this node. `post` takes events of the role machine; `log` a sentence for people."""

    def __init__(
        self, voice: Voice, dial: Dialler, post: Callable[[Event], None], log: Callable[[str, NodeId], None]
    ) -> None:
        self._voice = voice
        self._dial = dial
        self._post = post
        self._log = log
        self._links: dict[NodeId, list[Link]] = {}
        self._dialling: dict[NodeId, asyncio.Task[None]] = {}
        self._roster: dict[NodeId, str] = {}

    def set_roster(self, roster: Mapping[NodeId, str]) -> None:
        """Dial these nodes ("host:port") whenever there is no link to them; others are no longer dialled."""
        self._roster = dict(roster)
        for peer in set(self._dialling) - set(self._roster):
            self._dialling.pop(peer).cancel()
        for peer in set(self._roster) - set(self._dialling):
            self._dialling[peer] = asyncio.create_task(self._keep_dialling(peer), name=f"dial-{peer[:8]}")

    def address(self, peer: NodeId) -> str:
        """Where the roster says the peer listens, or ""."""
        return self._roster.get(peer, "")

    def instance(self, peer: NodeId) -> str:
        """Which process of the peer is at the other end, by its HELLO, or ""."""
        return next((link.hello.instance for link in self._links.get(peer, []) if link.hello is not None), "")

    def send(self, peer: NodeId, message: Message) -> None:
        """Queue on one open link to the peer; dropped when there is none."""
        for link in self._links.get(peer, [])[-1:]:
            link.outbox.put_nowait(message)

    def announce(self) -> None:
        """Say hello again on every link: the state changed."""
        for links in self._links.values():
            for link in links:
                link.outbox.put_nowait(self._voice.hello())

    async def close(self) -> None:
        """Stop dialling and close every link."""
        for task in self._dialling.values():
            task.cancel()
        await asyncio.gather(*self._dialling.values(), return_exceptions=True)
        self._dialling.clear()
        for link in [link for links in self._links.values() for link in links]:
            await link.connection.close()

    async def attach(self, connection: Connection) -> None:
        """Run one link until it ends; never raises for what a peer does."""
        link = Link(connection)
        self._links.setdefault(connection.peer, []).append(link)
        link.outbox.put_nowait(self._voice.hello())
        tasks = [asyncio.create_task(job) for job in (self._read(link), self._write(link), self._beat(link))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            for error in results:
                if isinstance(error, FrameError):
                    self._log(f"Closed a link: the peer sent {error}.", connection.peer)
            self._links[connection.peer].remove(link)
            if not self._links[connection.peer]:
                self._post(events.PeerLost(connection.peer))
            await connection.close()

    async def _keep_dialling(self, peer: NodeId) -> None:
        delay = REDIAL_S[0]
        while True:
            if not self._links.get(peer):
                try:
                    connection = await self._dial(peer, self._roster[peer], CONTROL)
                except (ConnectionError, OSError, TimeoutError) as error:
                    self._log(f"Cannot reach it at {self._roster[peer]}: {error}", peer)
                else:
                    delay = REDIAL_S[0]
                    await self.attach(connection)
            await asyncio.sleep(delay * random.uniform(0.7, 1.3))
            delay = REDIAL_S[0] if self._links.get(peer) else min(delay * 1.5, REDIAL_S[1])

    async def _beat(self, link: Link) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            link.outbox.put_nowait(self._voice.heartbeat())

    async def _write(self, link: Link) -> None:
        while True:
            await link.connection.send(codec.encode(await link.outbox.get()))

    async def _read(self, link: Link) -> None:
        while True:
            async with asyncio.timeout(SILENT_S):  # a dead link must not keep a restarted peer out
                frame = await link.connection.receive()
            message = codec.decode(frame)
            if isinstance(message, Hello):
                self._take_hello(link, message)
            elif link.hello is None:
                raise FrameError(f"a {type(message).__name__} before its HELLO")
            elif isinstance(message, Heartbeat):
                self._take_heartbeat(link, link.hello, message)
            else:
                self._take_other(link.connection.peer, message)

    def _take_hello(self, link: Link, hello: Hello) -> None:
        peer, mine = link.connection.peer, self._voice.hello()
        if hello.node != peer or hello.cluster != mine.cluster:
            raise FrameError("a HELLO of another node or another cluster than its certificate names")
        if hello.protocol_max < mine.protocol_min or hello.protocol_min > mine.protocol_max:
            theirs = f"{hello.protocol_min} to {hello.protocol_max}"
            raise FrameError(
                f"a HELLO of version {hello.version}, which speaks protocol {theirs}: update the older node"
            )
        for other in self._links[peer]:
            if other.hello is not None and other.hello.instance != hello.instance:
                self._log("A second process with the same node id connected; its link is closed.", peer)
                raise FrameError("a HELLO of a node id that is connected already")
        link.hello = hello
        self._post(self._heard(peer, hello))

    def _take_heartbeat(self, link: Link, hello: Hello, beat: Heartbeat) -> None:
        last = hello.last._replace(sequence=max(beat.last, hello.last.sequence))
        link.hello = msgspec.structs.replace(
            hello,
            state=beat.state,
            epoch=beat.epoch,
            seen=beat.seen,
            last=last,
            commit=beat.commit,
            in_sync=beat.in_sync,
            utc_us=beat.utc_us,
        )
        self._post(self._heard(link.connection.peer, link.hello, beat.last_bytes))

    def _heard(self, peer: NodeId, hello: Hello, behind_bytes: int | None = None) -> events.PeerHeard:
        return events.PeerHeard(peer, hello, (hello.utc_us - self._voice.utc_us()) / 1e6, behind_bytes)

    def _take_other(self, peer: NodeId, message: object) -> None:
        match message:
            case ClaimOffice():
                self._post(events.ClaimReceived(peer, message.epoch, message.office, message.last))
            case Grant():
                self._post(events.GrantReceived(peer, message.epoch, message.last))
            case Refuse():
                refused = events.ClaimRefused(peer, message.highest, message.superseded, message.reason)
                self._post(refused)
            case Token():
                self._post(events.TokenReceived(peer, message.epoch, message.last))
            case Taken():
                self._post(events.TokenTaken(peer, message.epoch))
            case _:
                raise FrameError(f"a {type(message).__name__} on the control channel")
