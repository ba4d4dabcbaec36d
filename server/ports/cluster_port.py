"""The cluster port: replication's links, the agents' links, and `/enrol`. Mutual TLS on every path but that
one.

Protocol: docs/protocol.md, sections 3 and 4.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import aiohttp
import msgspec
import structlog
from aiohttp import web

from replication.core.types import NodeId
from replication.ports import Connection, Dialler
from server import errors
from server.core.agent_wire import FRAME_BYTES_MAX
from server.core.agent_wire import PATH as AGENT_LINK
from server.core.authorities import Leaf
from server.integrity import proofs
from server.ports import fork_port, journal_port
from server.ports.acceptor import shrink_tls_buffer
from server.ports.dialling import end_when_silent, why_no_link
from server.ports.problems import problem, problem_response, translate
from server.ports.secure_headers import put_headers
from server.ports.turnstile import counting
from server.site import SITE, Site, site_of
from server.trust import key_proofs
from server.trust.admission import admit
from server.trust.enrolment import EnrolRequest
from server.trust.membership import Accepted, require_member
from server.trust.tls import leaf_of, peer_of, require_peer

MESSAGE_BYTES_MAX = 9 << 20
"""A frame has at most 8 MiB; the rest is for its header."""
DIAL_TIMEOUT_S = 5.0
SEND_TIMEOUT_S = 60.0
CHANNELS = ("control", "bulk")

ACCEPTED = web.AppKey("accepted", Accepted)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ServeAgent = Callable[[web.WebSocketResponse, str, Leaf], Awaitable[None]]
log = structlog.get_logger()


class WebSocketConnection:
    """One link to a peer as replication wants it (`replication.ports.Connection`): whole binary frames, in
    order."""

    def __init__(
        self,
        peer: NodeId,
        socket: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        self.peer = peer
        self._socket = socket
        self._session = session

    async def send(self, frame: bytes) -> None:
        """Send one frame; waits while the transport is full. Raises ConnectionError when closed."""
        try:
            await self._socket.send_bytes(frame)
        except (aiohttp.ClientError, RuntimeError) as error:
            raise ConnectionError(f"the link to node {self.peer[:8]} is closed") from error

    async def receive(self) -> bytes:
        """The next frame; raises ConnectionError when closed, or when the peer sent anything but a binary
        frame."""
        message = await self._socket.receive()
        if message.type is aiohttp.WSMsgType.BINARY:
            return bytes(message.data)
        await self.close()
        raise ConnectionError(f"the link to node {self.peer[:8]} ended ({message.type.name.lower()})")

    async def close(self) -> None:
        """Close; idempotent, at most a second for the good-bye."""
        try:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(1.0):  # wait_for of Python 3.11 can swallow a cancellation
                    await self._socket.close()
        finally:
            if self._session is not None:
                await self._session.close()


async def dial(peer: NodeId, address: str, channel: str, context: ssl.SSLContext) -> WebSocketConnection:
    """Open a link to `peer` at `host:port`; raises ConnectionError with a sentence when it is not that
    node."""
    session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_connect=DIAL_TIMEOUT_S))
    try:
        async with asyncio.timeout(DIAL_TIMEOUT_S):
            socket = await session.ws_connect(
                f"https://{address}/replication/{channel}",
                ssl=context,
                compress=0,
                max_msg_size=MESSAGE_BYTES_MAX,
                autoclose=True,
            )
        found = peer_of(socket)
        if found is None or found.kind != "node" or found.id != peer:
            raise ConnectionError(f"at {address} another node answers than {peer[:8]}; correct the roster")
        end_when_silent(socket.get_extra_info("socket"))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        await session.close()
        raise ConnectionError(f"node {peer[:8]} at {address} does not answer: {why_no_link(error)}") from error
    return WebSocketConnection(peer, socket, session)


def dialler(context: Callable[[], ssl.SSLContext]) -> Dialler:
    """How this node dials: `context` gives the one that carries its present certificate."""

    async def call(peer: NodeId, address: str, channel: str) -> Connection:
        return await dial(peer, address, channel, context())

    return call


async def replication_link(request: web.Request) -> web.StreamResponse:
    """Accept one of a node's two links and give it to replication until it ends."""
    peer = require_member(request)
    site, channel = site_of(request), request.match_info["channel"]
    if channel not in CHANNELS or site.node is None:
        raise web.HTTPNotFound
    socket = web.WebSocketResponse(compress=False, max_msg_size=MESSAGE_BYTES_MAX)
    await socket.prepare(request)
    connection = WebSocketConnection(peer.id, socket)
    try:
        with request.app[ACCEPTED].holding(peer.id, connection):
            await site.node.attach(connection, channel)
    except ConnectionError as error:
        log.info("replication link ended", peer=peer.id, channel=channel, why=str(error))
    finally:
        await connection.close()
    return socket


def agent_handler(serve: ServeAgent) -> Handler:
    """Accept an agent's WebSocket, authenticated by its certificate, and give it to `serve` until it ends."""

    async def handler(request: web.Request) -> web.StreamResponse:
        peer = require_peer(request.transport, "agent")
        shrink_tls_buffer(request.transport)
        socket = web.WebSocketResponse(compress=False, max_msg_size=FRAME_BYTES_MAX)
        await socket.prepare(request)
        await serve(socket, peer.id, leaf_of(request.transport) or Leaf())
        return socket

    return handler


async def show_authority(request: web.Request) -> web.StreamResponse:
    """The authorities that this node trusts: joiners compare the fingerprint of the first before they trust it.

    With `leaf`, what this node's own certificate says: the master asks for it while the authority is exchanged.
    """
    site = site_of(request)
    return web.json_response({"certificate": site.authority_pem.decode(), "leaf": asdict(site.leaf)})


async def enrol(request: web.Request) -> web.StreamResponse:
    """Let a node or an agent in; the only path that takes a password or join token instead of a
    certificate."""
    try:
        asked = msgspec.json.decode(await request.read(), type=EnrolRequest)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise errors.Invalid(f"The enrolment request cannot be read: {error}.") from error
    answer = await admit(site_of(request), asked, request.remote or "", peer_of(request.transport))
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")


async def wrong_port(request: web.Request) -> web.StreamResponse:
    """Somebody took this port for the web port."""
    port = site_of(request).config.port
    return problem_response(
        {
            "title": "Wrong port",
            "status": 404,
            "code": "wrong_port",
            "detail": f"This is the cluster port, for nodes and agents. Give the web port of this node: {port}.",
        }
    )


@web.middleware
async def errors_as_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors become problem documents; what nobody expected is logged and answered without details."""
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception as error:
        known = translate(error, request)
        if known is None:
            log.error("request on the cluster port failed", path=request.path, exc_info=error)
            document: dict[str, Any] = {"title": "Internal Server Error", "status": 500, "code": "internal"}
            return problem_response(document | {"detail": "This is a defect; the node's log has the details."})
        return problem_response(problem(known))


def make_app(site: Site, serve_agent: ServeAgent) -> web.Application:
    """The second application of a node. `serve_agent` gets an agent's WebSocket at AGENT_LINK, and its id."""
    app = web.Application(middlewares=[counting, errors_as_problems], client_max_size=1 << 20)
    app[SITE] = site
    app[ACCEPTED] = Accepted()
    app.on_response_prepare.append(put_headers)
    app.router.add_get("/replication/{channel}", replication_link)
    app.router.add_get(AGENT_LINK, agent_handler(serve_agent))
    app.router.add_get("/enrol", show_authority)
    app.router.add_post("/enrol", enrol)
    fork_port.add_routes(app)
    proofs.add_routes(app)
    key_proofs.add_routes(app)
    journal_port.add_routes(app)
    app.router.add_route("*", "/{anything:.*}", wrong_port)
    return app
