"""One WebSocket from the agent to one node, dialled again with a jittered delay whenever it ends."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import aiohttp
import structlog

from server.agent.credentials import Credentials
from server.core import agent_wire as wire
from server.core.agent_beats import silent_s
from server.core.run_keys import is_key
from server.ports.dialling import may_be_distrust, why_no_link

log = structlog.get_logger(__name__)

RETRY_FIRST_S = 0.2
RETRY_MAX_S = 5.0


class Link:
    """`opened` and `closed` come in pairs; `received` is awaited for each message, in order."""

    def __init__(
        self,
        node: str,
        address: str,
        credentials: Credentials | None,
        opened: Callable[[Link], None],
        closed: Callable[[Link], None],
        received: Callable[[Link, wire.FromNode], Awaitable[None]],
    ) -> None:
        self.node = node
        self._address = address
        self._credentials = credentials
        self._opened = opened
        self._closed = closed
        self._received = received
        self._outgoing: asyncio.Queue[wire.FromAgent] = asyncio.Queue()
        self._delay_s = RETRY_FIRST_S
        self.beat_s = 1.0

    def send(self, message: wire.FromAgent) -> None:
        """Queue a message; what is queued when the link ends is gone (reports are sent again by the session)."""
        self._outgoing.put_nowait(message)

    async def keep(self) -> None:
        """Dial until cancelled; between two attempts wait 0.2 s, doubling to 5 s, each less up to half.

        A node of many agents, which told a longer time between heartbeats, is not dialled by all of them at once: each
        waits up to that much longer.
        """
        while True:
            try:
                await self._serve()
            except (OSError, aiohttp.ClientError, TimeoutError, wire.ProtocolError) as error:
                if self._credentials is not None and may_be_distrust(error):
                    self._credentials.refused()
                log.info("no link", node=self.node[:8], address=self._address, why=why_no_link(error))
            crowd_s = random.uniform(0.0, self.beat_s - 1.0)
            await asyncio.sleep(self._delay_s * random.uniform(0.5, 1.0) + crowd_s)
            self._delay_s = min(self._delay_s * 2, RETRY_MAX_S)

    async def _serve(self) -> None:
        context = self._credentials.context() if self._credentials is not None else None
        url = f"{'ws' if context is None else 'wss'}://{self._address}{wire.PATH}"
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(
                url,
                ssl=True if context is None else context,
                max_msg_size=wire.FRAME_BYTES_MAX,
                compress=0,
                timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
            ) as socket,
        ):
            self._outgoing = asyncio.Queue()
            self._opened(self)
            writer = asyncio.create_task(self._write(socket))
            try:
                await self._read(socket)
            finally:
                self._closed(self)
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)

    async def _write(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        try:
            while True:
                await socket.send_bytes(wire.encode(await self._outgoing.get()))
        except (OSError, aiohttp.ClientError):
            await socket.close()

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Return when the node closes, or is silent for too long."""
        while True:
            frame = await socket.receive(timeout=silent_s(self.beat_s))
            if frame.type is not aiohttp.WSMsgType.BINARY:
                return
            message = wire.decode_from_node(frame.data)
            if isinstance(message, wire.Office):
                if message.node != self.node:
                    raise wire.ProtocolError(f"{self._address} is node {message.node[:8]}")
                self._delay_s = RETRY_FIRST_S
                self.beat_s = message.beat_s
            check_keys(message)
            await self._received(self, message)


def check_keys(message: wire.FromNode) -> None:
    """Raise ProtocolError for what is no key of a run: the agent's folders are named by them."""
    chain = message.chain if isinstance(message, wire.Dispatch) else None
    keys = [getattr(message, "key", None), *(step.key for step in (chain.steps if chain is not None else ()))]
    for key in keys:
        if key is not None and not is_key(key):
            raise wire.ProtocolError(f"A run cannot have the key {key[:80]!r}.")
