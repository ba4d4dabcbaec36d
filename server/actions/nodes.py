"""The nodes of the cluster as rows. Permission: nodes.manage. Certificates are given by the enrolment."""

from __future__ import annotations

from server.actions.change import Change, Transaction, record, require
from server.core.model import NodeRow, Principal
from server.errors import Invalid, NotFound
from server.storage import nodes


def put(node: NodeRow, by: Principal, now_us: int) -> Change[bool]:
    """Add a node, or change where it listens; True when something changed.

    A node of that name that listened at the same place is replaced: its machine was set up anew, with an empty
    directory. One that listens elsewhere: Invalid.
    """
    require(by, "nodes.manage")
    _check(node)

    def change(transaction: Transaction) -> bool:
        connection = transaction.connection
        for other in nodes.page(connection):
            if other.name == node.name and other.id != node.id:
                if _place(other) != _place(node):
                    raise Invalid(_taken(other), field="name")
                nodes.remove(connection, other.id, now_us)
                record(connection, by, now_us, "nodes.replace", node.name, other, node)
        before = nodes.get(connection, node.id)
        if before is None:
            nodes.insert(connection, node)
            record(connection, by, now_us, "nodes.add", node.name, "", node)
            return True
        if _place(before) == _place(node) and before.removed_at_us is None:
            return False
        nodes.update(connection, node.id, node.name, node.address, node.web_port, node.cluster_port)
        record(connection, by, now_us, "nodes.update", node.name, before, node)
        return True

    return change


def remove(node_id: str, by: Principal, now_us: int, reason: str = "") -> Change[None]:
    """Take a node out of the cluster. Raises NotFound; again is the same."""
    require(by, "nodes.manage")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        node = nodes.get(connection, node_id)
        if node is None:
            raise NotFound(f"There is no node {node_id}. See the list of nodes.")
        if node.removed_at_us is None:
            nodes.remove(connection, node_id, now_us)
            record(connection, by, now_us, "nodes.remove", node.name, node, "", reason)

    return change


def note_seat(node_id: str, by: Principal, now_us: int) -> Change[None]:
    """Record that the seat was given to this node, which the role machine did. Raises NotFound."""
    require(by, "nodes.manage")

    def change(transaction: Transaction) -> None:
        node = nodes.get(transaction.connection, node_id)
        if node is None:
            raise NotFound(f"There is no node {node_id}. See the list of nodes.")
        record(transaction.connection, by, now_us, "nodes.seat", node.name, "", node)

    return change


def _taken(other: NodeRow) -> str:
    return (
        f"There is a node {other.name} already, {other.id[:8]}, at {other.address}:{other.web_port}. Choose another "
        "--name; or, if that machine is gone for good, remove it on the page Server Properties first."
    )


def _place(node: NodeRow) -> tuple[str, str, int, int]:
    return node.name, node.address, node.web_port, node.cluster_port


def _check(node: NodeRow) -> None:
    if not node.name.strip():
        raise Invalid("A node needs a name: give --name.", field="name")
    for field, port in (("web_port", node.web_port), ("cluster_port", node.cluster_port)):
        if not 0 < port < 65536:
            raise Invalid(f"{field} must be a port from 1 to 65535.", field=field)
