"""The pair (and observers): who they are and where they listen."""

from __future__ import annotations

import sqlite3

import msgspec

from server.core.model import NodeRow
from server.storage import rows


def get(connection: sqlite3.Connection, node_id: str) -> NodeRow | None:
    """The node, removed ones included."""
    return rows.first(connection, NodeRow, "FROM nodes WHERE id = ?", (node_id,))


def page(connection: sqlite3.Connection, after: str = "", limit: int = 100) -> list[NodeRow]:
    """Nodes that are not removed, by id."""
    tail = "FROM nodes WHERE removed_at_us IS NULL AND id > ? ORDER BY id LIMIT ?"
    return rows.every(connection, NodeRow, tail, (after, limit))


def was_pair(connection: sqlite3.Connection) -> bool:
    """Whether a second node was ever enrolled, removed ones included."""
    return rows.number(connection, "SELECT count(*) FROM nodes") > 1


def insert(connection: sqlite3.Connection, node: NodeRow) -> None:
    """Add a node."""
    rows.insert(connection, "nodes", msgspec.structs.asdict(node))


def update(
    connection: sqlite3.Connection, node_id: str, name: str, address: str, web_port: int, cluster_port: int
) -> None:
    """Change where a node listens and what it is called; a removed node is a member again."""
    values = {
        "name": name,
        "address": address,
        "web_port": web_port,
        "cluster_port": cluster_port,
        "removed_at_us": None,
    }
    rows.update(connection, "nodes", values, {"id": node_id})


def remove(connection: sqlite3.Connection, node_id: str, now_us: int) -> None:
    """Mark a node removed; its name is free for another."""
    query = "UPDATE nodes SET removed_at_us = ?, name = name || ' ' || substr(id, 1, 8) WHERE id = ?"
    connection.execute(query, (now_us, node_id))
