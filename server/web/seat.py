"""Giving the seat, for the API and the page: who may have it, and that there is a witness to know of it."""

from __future__ import annotations

from server.errors import Conflict, NotFound, Unavailable
from server.site import Site
from server.storage import nodes, witnesses


async def give(site: Site, node: str) -> str:
    """Give the seat to a node of the roster; what people read when it has it. Raises NotFound, Conflict, Refused."""
    site.store()
    if site.node is None:
        raise Unavailable("This node has no role yet.")
    found, seated = await site.read_now(lambda c: (nodes.get(c, node), witnesses.seated(c)))
    if found is None or found.removed_at_us is not None:
        raise NotFound(f"There is no node {node}. See the list of nodes.")
    if not seated:
        raise Conflict("A change of the seat has to be known to a witness, and there is none. Enrol an agent first.")
    return await site.node.give_seat(node)
