"""This node: its properties, its authority, what the role scripts ask, go-alone, nodes and outcomes."""

from __future__ import annotations

from typing import Any

import msgspec

from server.actions import nodes as node_actions
from server.core.access import may
from server.core.model import NodeRow, Outcome
from server.core.role_requests import BecomeMaster, BecomeStandby, PromotionNote
from server.errors import Conflict, Forbidden, NotFound, Unavailable
from server.storage import nodes, outcomes
from server.trust.tls import fingerprint, valid_until
from server.web import seat
from server.web.api.endpoint import Answer, Call, Endpoint, shape
from server.web.api.status import public_status
from server.web.session import is_local


async def show_authority(call: Call) -> dict[str, Any]:
    """The authority's certificate and where the cluster port is:

    for joiners, who compare the fingerprint first.
    """
    site = call.site
    if site.identity is None:
        raise Unavailable("This node is not a member of a cluster yet.")
    return {
        "certificate": site.authority_pem.decode(),
        "fingerprint": fingerprint(site.authority_pem),
        "cluster": site.identity.cluster,
        "cluster_port": site.config.cluster_port,
        "version": site.version,
    }


async def show_properties(call: Call) -> dict[str, Any]:
    """SKY-7:

    network address, ports, node and cluster id, epoch, fingerprint, in the words that the script asks for.
    """
    site, status = call.site, call.site.status()
    if site.identity is None:
        return public_status(site, status)
    certificate = (site.config.data / "node.crt").read_bytes()
    return {
        "address": site.config.address,
        "port": site.config.port,
        "cluster_port": site.config.cluster_port,
        "node": site.identity.id,
        "name": site.identity.name,
        "cluster": site.identity.cluster,
        "epoch": str(status.epoch) if status is not None else "",
        "fingerprint": fingerprint(site.authority_pem),
        "certificate_valid_until": valid_until(certificate).isoformat(),
        "version": site.version,
        "data": str(site.config.data),
    }


async def become_standby(call: Call) -> dict[str, Any]:
    """`master-to-standby` on a running node. By the local socket alone: it gives this node to another master."""
    _require_local(call)
    assert call.site.become_standby is not None
    return await call.site.become_standby(call.body)


async def become_master(call: Call) -> dict[str, Any]:
    """`standby-to-master` on a running node. By the local socket alone."""
    _require_local(call)
    assert call.site.become_master is not None
    return await call.site.become_master(call.body)


async def go_alone(call: Call) -> dict[str, Any]:
    """The operator's leave for this node to write without its standby. Never waits for the standby.

    With `?allow_data_loss=1` also when the witnesses do not confirm it.
    """
    if call.site.node is None:
        raise Unavailable("This node has no role yet.")
    allow_data_loss = call.query("allow_data_loss") == "1"
    note = PromotionNote(call.by.name, allow_data_loss=allow_data_loss)
    text = await call.site.node.go_alone(note.encode(), allow_data_loss)
    return {"text": text} | public_status(call.site, call.site.status())


async def list_nodes(call: Call) -> list[NodeRow]:
    """The nodes of this cluster."""
    return await call.read(lambda connection: nodes.page(connection))


async def remove_node(call: Call) -> Answer:
    """Take a node out of the roster; not this one."""
    identity = call.site.identity
    if identity is not None and identity.id == call.path("id"):
        raise Conflict("This node cannot remove itself. Do it on the other one.")
    change = node_actions.remove(call.path("id"), call.by, call.now_us, call.query("reason"))
    return await call.write(change, lambda _: {"id": call.path("id"), "removed": True})


async def give_seat(call: Call) -> Answer:
    """Count on this node instead of the standby that has the seat; answers when a majority of the witnesses knows."""
    node = call.path("id")
    text = await seat.give(call.site, node)
    return await call.write(node_actions.note_seat(node, call.by, call.now_us), lambda _: {"id": node, "text": text})


async def show_outcome(call: Call) -> dict[str, Any]:
    """What became of the request with this Idempotency-Key."""
    key = call.path("key")
    found: Outcome | None = await call.read(lambda connection: outcomes.get(connection, key))
    if found is None or (found.principal != call.by.name and not may(call.by, "users.manage")):
        raise NotFound(f"No answer is kept for the key {key}: the request was never done, or it is older than 7 days.")
    return {
        "key": found.key,
        "status": found.status,
        "answer": msgspec.json.decode(found.answer),
        "recorded_at_us": found.recorded_at_us,
    }


def _require_local(call: Call) -> None:
    if not is_local(call.request):
        raise Forbidden("Roles are given on the node itself: run the script there, it uses the local socket.")


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/v1/ca",
        show_authority,
        "The cluster's authority",
        answer=shape(certificate=str, fingerprint=str, cluster=str, cluster_port=int, version=str),
        public=True,
    ),
    Endpoint("GET", "/api/v1/properties", show_properties, "Server Properties"),
    Endpoint("GET", "/api/v1/nodes", list_nodes, "Nodes of the cluster", answer=list[NodeRow]),
    Endpoint(
        "DELETE",
        "/api/v1/nodes/{id}",
        remove_node,
        "Remove a node",
        answer=shape(id=str, removed=bool),
        query=("reason",),
    ),
    Endpoint(
        "POST",
        "/api/v1/nodes/{id}/seat",
        give_seat,
        "Give a node the seat of the standby",
        answer=shape(id=str, text=str),
    ),
    Endpoint("POST", "/api/v1/node/standby", become_standby, "Make this node a standby", body=BecomeStandby),
    Endpoint("POST", "/api/v1/node/master", become_master, "Make this node master", body=BecomeMaster),
    Endpoint("POST", "/api/v1/go-alone", go_alone, "Let the master write without a standby"),
    Endpoint(
        "GET",
        "/api/v1/outcomes/{key}",
        show_outcome,
        "What became of a request",
        answer=shape(key=str, status=int, answer=Any, recorded_at_us=int),
    ),
)
