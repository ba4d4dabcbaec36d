"""One WebSocket for pages and programs: what changed, pushed as JSON.

A slow reader gets the newest of each type only.

Types: `status` and `backlog` carry their values, `runs`, `agents`, `swap` and `banner` say that rows of that kind
changed up to `sequence`. Nothing above the commit sequence is announced.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import Any

import aiohttp
import msgspec
import structlog
from aiohttp import web

from replication import errors as replication
from server.errors import UnderstudyError
from server.site import Site, site_of
from server.web.api.status import backlog_of, public_status
from server.web.csrf import check_origin
from server.web.session import is_loopback, principal, require_principal

PAUSE_S = 0.2
"""At most five rounds a second, however many commits there are."""
LOOK_SHARE = 0.05
"""Looking what changed takes at most this share of the time: with 10,000 agents it is done more rarely."""
PAUSE_S_MAX = 2.0
HEARTBEAT_S = 20.0
CLIENTS_MAX = 2000

log = structlog.get_logger()


class Client:
    """One connected reader: the newest event of each type that it has not been sent."""

    def __init__(self, public: bool) -> None:
        self.public = public
        self._pending: dict[str, dict[str, Any]] = {}
        self._changed = asyncio.Event()

    def offer(self, event: dict[str, Any]) -> None:
        """Keep an event to be sent, in place of an older one of its type."""
        if self.public and event["type"] not in ("status", "backlog", "banner"):
            return
        self._pending[event["type"]] = event
        self._changed.set()

    async def take(self) -> list[dict[str, Any]]:
        """Wait for events and take them all."""
        await self._changed.wait()
        self._changed.clear()
        events, self._pending = list(self._pending.values()), {}
        return events


class Live:
    """Watches the node and its rows and tells every client. `start` and `stop` it with the application."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._clients: set[Client] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._marks: dict[str, object] = {}

    def start(self) -> None:
        """Begin to watch."""
        self._tasks = [asyncio.create_task(self._watch_status()), asyncio.create_task(self._watch_rows())]

    async def stop(self) -> None:
        """Stop watching."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def join(self, public: bool) -> Client:
        """A new reader; it begins with the status as it is."""
        client = Client(public)
        self._clients.add(client)
        for event in self._status_events():
            client.offer(event)
        return client

    def leave(self, client: Client) -> None:
        """The reader is gone."""
        self._clients.discard(client)

    @property
    def full(self) -> bool:
        """Whether no more readers are taken."""
        return len(self._clients) >= CLIENTS_MAX

    def _publish(self, event: dict[str, Any]) -> None:
        for client in self._clients:
            client.offer(event)

    def _status_events(self) -> list[dict[str, Any]]:
        status = self._site.status()
        sequence = status.commit_sequence if status is not None else 0
        return [
            {"type": "status", "sequence": sequence, **public_status(self._site, status)},
            {"type": "backlog", "sequence": sequence, "backlog": backlog_of(status)},
        ]

    async def _watch_status(self) -> None:
        while True:
            node = self._site.node
            if node is None:
                await asyncio.sleep(PAUSE_S)
                continue
            await node.wait_status()
            for event in self._status_events():
                self._publish(event)
            await asyncio.sleep(PAUSE_S)

    async def _watch_rows(self) -> None:
        sequence = -1
        while True:
            try:
                sequence = await self._site.store().wait_past(sequence)
                began_s = asyncio.get_running_loop().time()
                await self._announce(sequence)
                took_s = asyncio.get_running_loop().time() - began_s
            except (UnderstudyError, replication.ReplicationError):
                sequence, took_s = -1, 0.0
            await asyncio.sleep(min(max(PAUSE_S, took_s / LOOK_SHARE), PAUSE_S_MAX))

    async def _announce(self, sequence: int) -> None:
        if not self._clients:
            return
        self._publish({"type": "runs", "sequence": sequence})
        for kind, mark in (await self._site.read_now(marks)).items():
            if self._marks.get(kind) != mark:
                self._marks[kind] = mark
                self._publish({"type": kind, "sequence": sequence})


def marks(connection: sqlite3.Connection) -> dict[str, object]:
    """What must differ when rows of a kind changed; cheap whatever the history is.

    Runs change with every commit.
    """
    return {
        "agents": connection.execute(
            "SELECT count(*), total(gates_acknowledged), count(quarantined_at_us), total(reconciled_epoch),"
            " total(witness), total(former_witness), total(start_alone_after_reboot),"
            " total(silent_since_us), total(dead_at_us),"
            " (SELECT value FROM settings WHERE name = 'gate_revision') FROM agents"
        ).fetchone(),
        "swap": connection.execute(
            "SELECT id, state, steps, abort_requested_by FROM swaps ORDER BY id DESC LIMIT 1"
        ).fetchone(),
        "banner": connection.execute("SELECT changed_at_us FROM announcements WHERE kind = 'banner'").fetchone(),
    }


LIVE = web.AppKey("live", Live)


async def events(request: web.Request) -> web.StreamResponse:
    """`GET /api/v1/events`.

    Without sign-in, on a standby or from this machine, it carries the public status only.
    """
    check_origin(request)
    site, hub = site_of(request), request.app[LIVE]
    public = principal(request) is None
    if public and site.in_office and not is_loopback(request):
        require_principal(request)
    if hub.full:
        raise web.HTTPServiceUnavailable(text="Too many readers of events are connected.")
    socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, compress=False, max_msg_size=4096)
    await socket.prepare(request)
    client = hub.join(public)
    sender = asyncio.create_task(_send(socket, client))
    try:
        async for message in socket:
            if message.type is aiohttp.WSMsgType.ERROR:
                break
    finally:
        hub.leave(client)
        sender.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sender
    return socket


async def _send(socket: web.WebSocketResponse, client: Client) -> None:
    with contextlib.suppress(ConnectionError, RuntimeError):
        while True:
            for event in await client.take():
                await socket.send_str(msgspec.json.encode(event).decode())
