"""The forks of this node on the cluster port, for the other node: its master lists them, reads them, has them deleted.

Only a node of the roster is answered; only this node's master may delete, and it names the node that it means.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
from aiohttp import web

from server.core.forks import Contents
from server.errors import Conflict, Forbidden
from server.integrity import forks
from server.integrity.forks import Folder
from server.site import Site, site_of
from server.trust.membership import require_member
from server.trust.tls import require_peer

PATH = "/forks"


class Kept(msgspec.Struct, frozen=True):
    """What a node answers to GET /forks: who it is, and its folders."""

    node: str
    forks: list[Folder]


def _asked(request: web.Request) -> Site:
    """The site, when a node of this cluster asks; raises Forbidden."""
    require_member(request)
    return site_of(request)


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


async def list_forks(request: web.Request) -> web.StreamResponse:
    """`GET /forks`."""
    site = _asked(request)
    assert site.identity is not None
    return _json(Kept(site.identity.id, await asyncio.to_thread(forks.listed, site.config.data)))


async def show_contents(request: web.Request) -> web.StreamResponse:
    """`GET /forks/{name}/contents`."""
    found: Contents = await asyncio.to_thread(forks.contents, _asked(request).config.data, request.match_info["name"])
    return _json(found)


async def show_output(request: web.Request) -> web.StreamResponse:
    """`GET /forks/{name}/outputs/{number}`."""
    name, number = request.match_info["name"], int(request.match_info["number"])
    return web.Response(body=await asyncio.to_thread(forks.output, _asked(request).config.data, name, number))


async def export(request: web.Request) -> web.StreamResponse:
    """`GET /forks/{name}/export`: a tar file."""
    name = request.match_info["name"]
    return await send_archive(request, name, local_archive(_asked(request), name))


async def delete(request: web.Request) -> web.StreamResponse:
    """`DELETE /forks/{name}?node=ID`: the last copy goes. Again is the same."""
    site = _asked(request)
    assert site.identity is not None
    status, peer = site.status(), require_peer(request.transport, "node")
    if status is None or status.master != peer.id:
        raise Forbidden("Only the master has forks deleted.")
    if request.query.get("node") != site.identity.id:
        raise Conflict(
            "Another node was meant: its address in Server Properties is now this "
            "node's. Restart that node on its own address."
        )
    removed = await asyncio.to_thread(forks.remove, site.config.data, request.match_info["name"])
    return _json({"removed": removed})


async def local_archive(site: Site, name: str) -> AsyncIterator[bytes]:
    """A fork of this node as a tar file, each piece read in a thread. Raises NotFound before the first."""
    path = await asyncio.to_thread(forks.folder, site.config.data, name)
    pieces = forks.archive(path)
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


async def send_archive(request: web.Request, name: str, pieces: AsyncIterator[bytes]) -> web.StreamResponse:
    """Stream a tar file; what goes wrong before its first piece is an answer, later the connection ends."""
    first = await anext(pieces)
    headers = {"Content-Type": "application/x-tar", "Content-Disposition": f'attachment; filename="fork-{name}.tar"'}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    await response.write(first)
    async for piece in pieces:
        await response.write(piece)
    await response.write_eof()
    return response


def add_routes(app: web.Application) -> None:
    """Put the routes on the cluster port."""
    app.router.add_get(PATH, list_forks)
    app.router.add_get(PATH + "/{name}/contents", show_contents)
    app.router.add_get(PATH + r"/{name}/outputs/{number:\d{1,18}}", show_output)
    app.router.add_get(PATH + "/{name}/export", export)
    app.router.add_delete(PATH + "/{name}", delete)
