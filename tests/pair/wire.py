"""A network in memory between nodes of one process, which can be cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from replication.node import Node

Dial = Callable[[str, str, str], Awaitable["MemoryConnection"]]


@dataclass(eq=False)
class MemoryConnection:
    """One end of a link; frames are delivered in order, a closed link raises ConnectionError on both sides."""

    peer: str
    inbox: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    other: MemoryConnection | None = None
    is_closed: bool = False

    async def send(self, frame: bytes) -> None:
        """Deliver one frame to the other end."""
        if self.is_closed or self.other is None or self.other.is_closed:
            raise ConnectionError("the link is closed")
        self.other.inbox.put_nowait(frame)
        await asyncio.sleep(0)

    async def receive(self) -> bytes:
        """The next frame."""
        if self.is_closed:
            raise ConnectionError("the link is closed")
        frame = await self.inbox.get()
        if frame is None:
            raise ConnectionError("the link is closed")
        return frame

    async def close(self) -> None:
        """Close both directions."""
        for end in (self, self.other):
            if end is not None and not end.is_closed:
                end.is_closed = True
                end.inbox.put_nowait(None)


class Network:
    """Nodes by id; `cut` closes all links and refuses new ones until `heal`."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.is_cut = False
        self._open: list[MemoryConnection] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def dialler(self, source: str) -> Dial:
        """What a node gets as its `dial`."""

        async def dial(peer: str, address: str, channel: str) -> MemoryConnection:
            node = self.nodes.get(peer)
            if node is None or self.is_cut:
                raise ConnectionError("nobody listens there")
            near, far = MemoryConnection(peer), MemoryConnection(source)
            near.other, far.other = far, near
            self._open.append(near)
            task = asyncio.ensure_future(node.attach(far, channel))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return near

        return dial

    async def cut(self) -> None:
        """Nothing passes any more."""
        self.is_cut = True
        for connection in self._open:
            await connection.close()
        self._open.clear()

    def heal(self) -> None:
        """New links are possible again."""
        self.is_cut = False

    async def drop(self, name: str) -> None:
        """Close every link of a node that is gone."""
        self.nodes.pop(name, None)
        for connection in self._open:
            with contextlib.suppress(ConnectionError):
                await connection.close()
        self._open.clear()
