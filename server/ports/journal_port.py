"""The requests of this node's journal on the cluster port, for a node of the pair that has to mend its own."""

from __future__ import annotations

import asyncio

from aiohttp import web

from replication.errors import Forgotten
from server.errors import Invalid, NotFound, Unavailable
from server.site import site_of
from server.trust.membership import require_member

PATH = "/journal"
COMMIT_HEADER = "Understudy-Commit"
BYTES_MAX = 256 * 1024 * 1024


async def give(request: web.Request) -> web.StreamResponse:
    """`GET /journal/{first}?last=N`: each request with its length (u32, big endian) in front."""
    require_member(request)
    site = site_of(request)
    if site.node is None:
        raise Unavailable("This node is not open yet.")
    try:
        first, last = int(request.match_info["first"]), int(request.query["last"])
    except (KeyError, ValueError) as error:
        raise Invalid("Say which requests: GET /journal/FIRST?last=LAST.") from error
    journal = site.node.journal

    def read() -> bytes:
        found, size = [], 0
        for number, encoded in enumerate(journal.read(first), first):
            if number > last or size > BYTES_MAX:
                break
            found += [len(encoded).to_bytes(4, "big"), encoded]
            size += len(encoded)
        return b"".join(found)

    try:
        body = await asyncio.to_thread(read)
    except Forgotten as error:
        raise NotFound(f"{error}.") from error
    status = site.node.status()
    return web.Response(body=body, headers={COMMIT_HEADER: str(status.commit_sequence)})


def add_routes(app: web.Application) -> None:
    """Put the route on the cluster port."""
    app.router.add_get(PATH + r"/{first:\d{1,18}}", give)
