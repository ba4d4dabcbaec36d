"""The pages about the pair's machines: Replication, and Server Properties (SKY-7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from aiohttp import web

from replication.core.types import PeerStatus, Status
from server.actions import nodes as node_actions
from server.actions.change import require
from server.core.model import NodeRow
from server.errors import Conflict
from server.storage import forks as fork_rows
from server.storage import nodes
from server.trust.tls import fingerprint
from server.web import forks, seat, witnesses
from server.web.forks import ForkLine
from server.web.frame import Frame
from server.web.pages import serve
from server.web.pages.flow import FLOW
from server.web.pages.home import web_address
from server.web.pages.pair import Flow, Pair, agrees, page_pair, standby_of
from server.web.session import require_principal
from server.web.witnesses import Standing


@dataclass(frozen=True, slots=True)
class ReplicationPage:
    """Position, backlog and agreement. `agrees` is None while there is no peer's checksum at our position."""

    template: ClassVar[str] = "pages/replication_show.html"
    frame: Frame
    pair: Pair
    status: Status
    peer: PeerStatus | None
    peer_name: str
    names: dict[str, str]
    hash: str
    checksum: str
    peer_checksum: str
    agrees: bool | None
    witnesses: Standing
    forks: tuple[ForkLine, ...] = ()
    observers: tuple[PeerStatus, ...] = ()

    @property
    def both_damaged(self) -> bool:
        """Each node's last reading found damage: then a swap helps nobody."""
        own, peer = self.status.proof, self.peer
        return bool(own and not own.is_whole and peer and peer.proof_at_us and not peer.proof_is_whole)


@dataclass(frozen=True, slots=True)
class PropertiesPage:
    """What the scripts ask for, ready to copy. `command` makes another machine this master's standby.

    `connected` are the ids of nodes that are connected now.
    """

    template: ClassVar[str] = "pages/properties_show.html"
    frame: Frame
    address: str
    port: int
    cluster_port: int
    node: str
    cluster: str
    epoch: str
    mode: str
    fingerprint: str
    version: str
    directory: str
    command: str
    nodes: tuple[NodeRow, ...]
    connected: frozenset[str] = frozenset()


def replication_from(
    frame: Frame,
    status: Status,
    flow: Flow,
    roster: list[NodeRow],
    witnesses: Standing,
    forks: tuple[ForkLine, ...] = (),
) -> ReplicationPage:
    """Put Replication together."""
    names = {node.id: node.name for node in roster}
    peer = standby_of(status)
    return ReplicationPage(
        frame=frame,
        pair=page_pair(status, flow, names, frame.now_us, {node.id: web_address(node) for node in roster}),
        status=status,
        peer=peer,
        peer_name=names.get(peer.node, peer.node[:8]) if peer else "",
        names=names,
        hash=status.position.hash.hex(),
        checksum=f"{status.checksum:016x}",
        peer_checksum=f"{peer.checksum:016x}" if peer and peer.checksum is not None else "",
        agrees=agrees(status, peer) if peer else None,
        witnesses=witnesses,
        forks=forks,
        observers=tuple(found for found in status.peers if found.observer),
    )


async def show_replication(request: web.Request) -> web.Response:
    """`GET /replication`."""
    frame, (found, told) = await serve.load(request, "Replication", lambda c: (witnesses.read(c), fork_rows.page(c)))
    site = serve.site(request)
    status = site.status()
    assert status is not None, "a node in office has a status"
    kept = tuple(await forks.lines(site, told))
    return serve.html(
        replication_from(frame, status, request.app[FLOW].flow(), found.roster, witnesses.standing(site, found), kept)
    )


async def show_properties(request: web.Request) -> web.Response:
    """`GET /properties`."""
    frame, found = await serve.load(request, "Server Properties", nodes.page)
    site = serve.site(request)
    status = site.status()
    assert status is not None, "a node in office has a status"
    own = next((node for node in found if node.id == status.node), None)
    address = own.address if own else site.config.address
    mark = fingerprint(site.authority_pem)
    port = own.web_port if own else site.config.port
    page = PropertiesPage(
        frame=frame,
        address=address,
        port=port,
        cluster_port=own.cluster_port if own else site.config.cluster_port,
        node=status.node,
        cluster=status.cluster,
        epoch=str(status.epoch.number),
        mode=str(status.mode),
        fingerprint=mark,
        version=site.version,
        directory=str(site.config.data),
        command=f"master-to-standby --master {address} --port {port} --fingerprint {mark}",
        nodes=tuple(found),
        connected=frozenset(peer.node for peer in status.peers if peer.connected),
    )
    return serve.html(page)


async def remove_node(request: web.Request) -> web.Response:
    """`POST /properties/nodes/{id}/remove`. Not this node, and none that is connected: it would be lost by mistake."""
    site, node = serve.site(request), request.match_info["id"]
    status = site.status()
    if status is None or node == status.node:
        raise Conflict("This node cannot remove itself. Do it on the other one.")
    if any(peer.node == node and peer.connected for peer in status.peers):
        raise Conflict("That node is connected. Stop it first, if it is to go for good.")
    reason = (await serve.form(request)).get("reason", "")
    await serve.write(request, lambda by, now_us: node_actions.remove(node, by, now_us, reason))
    return serve.back("/properties", "node-removed")


async def give_seat(request: web.Request) -> web.Response:
    """`POST /replication/seat/{id}`: that node is the standby from now on."""
    site, node = serve.site(request), request.match_info["id"]
    require(require_principal(request), "nodes.manage")
    await seat.give(site, node)
    await serve.write(request, lambda by, now_us: node_actions.note_seat(node, by, now_us))
    return serve.back("/replication", "seat-given")


ROUTES = (
    serve.post("/replication/seat/{id}", give_seat),
    serve.get("/replication", show_replication),
    serve.get("/properties", show_properties),
    serve.post("/properties/nodes/{id}/remove", remove_node),
)
