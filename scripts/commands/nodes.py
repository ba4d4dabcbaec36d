"""`understudy node`: the nodes of the cluster, and which of them the master counts on."""

from __future__ import annotations

from typing import Any

import click

from scripts.client import FAILED, CommandError
from scripts.commands.options import Asker, asks_node, table


@click.group()
def node() -> None:
    """The master, the standby that has the seat, and observers."""


@node.command("list")
@asks_node
def list_nodes(asker: Asker) -> None:
    """Each node, where it is, and whether it is master, has the seat, or observes."""
    found, status = asker.client.get("/api/v1/nodes"), asker.client.get("/api/v1/status")
    rows = [
        (row["name"], row["id"][:8], f"{row['address']}:{row['cluster_port']}", part(row["id"], status))
        for row in found
    ]
    asker.show(found, table(rows, ("NODE", "ID", "ADDRESS", "PART")))


@node.command("seat")
@click.argument("name", metavar="NODE")
@asks_node
def seat(asker: Asker, name: str) -> None:
    """Count on NODE, an observer, instead of the standby.

    Nothing is lost: both are counted on until the witnesses know. If the standby is gone for good, the master has to
    write alone first: understudy go-alone
    """
    known = asker.client.get("/api/v1/nodes")
    found = [
        row["id"]
        for row in known
        if name in (row["name"], row["id"]) or (len(name) >= 8 and row["id"].startswith(name))
    ]
    if len(found) != 1:
        raise CommandError(FAILED, f"there is no node {name}. Type: understudy node list")
    said = asker.client.ask("POST", f"/api/v1/nodes/{found[0]}/seat", {}).value
    asker.show(said, said["text"])


def part(node_id: str, status: dict[str, Any]) -> str:
    """What a node is in the cluster, in a word or two."""
    if node_id == status.get("master_node"):
        return "master"
    return "standby (has the seat)" if node_id == status.get("seat") else "observer"
