"""Which nodes are of this cluster now: a certificate says who somebody is, the rows say whether they still belong.

A node that was removed keeps a certificate that is valid for up to 30 days. Every path of the cluster port that takes a
node's certificate asks here, and links that stand when their node is removed are closed (docs/certificates.md).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

from aiohttp import web

from server.errors import Forbidden
from server.site import Site, site_of
from server.trust.tls import Peer, require_peer

REMOVED = "That node was removed from this cluster. Enrol it anew: master-to-standby on that node."


class Closable(Protocol):
    """A link that can be ended from here."""

    async def close(self) -> None:
        """Close; idempotent."""


def is_member(site: Site, node: str) -> bool:
    """Whether this node's rows have that node, or this node has no rows yet: then it must take what it can get."""
    return not site.roster or node in site.roster


def require_member(request: web.Request) -> Peer:
    """The node that asks; raises `Forbidden` for agents, strangers and removed nodes."""
    peer = require_peer(request.transport, "node")
    if not is_member(site_of(request), peer.id):
        raise Forbidden(REMOVED)
    return peer


class Accepted:
    """The links of nodes that were accepted. `close_removed` whenever the roster was read anew."""

    def __init__(self) -> None:
        self._links: dict[str, list[Closable]] = {}

    @contextlib.contextmanager
    def holding(self, node: str, link: Closable) -> Iterator[None]:
        """Know of the link while the block runs."""
        self._links.setdefault(node, []).append(link)
        try:
            yield
        finally:
            self._links[node].remove(link)
            if not self._links[node]:
                del self._links[node]

    async def close_removed(self, site: Site) -> int:
        """Close the links of nodes that are not of the cluster any more; how many there were."""
        gone = [link for node, links in self._links.items() if not is_member(site, node) for link in links]
        for link in gone:
            await link.close()
        return len(gone)
