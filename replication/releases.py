"""Which release runs at each peer, and whether it could open this node's database (docs/protocol.md, section 7).

A standby that could not is connected and receives everything, but its acknowledgements count for nothing: it is not
taken into the in-sync set, and in the set after a hand-off writes wait for it as for one that makes no progress, so
that it leaves the set as the mode says.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from replication.core.schema import SchemaRange, cannot_open
from replication.core.types import IN_OFFICE, NodeId, Refused
from replication.errors import Unavailable

if TYPE_CHECKING:
    from replication.node import Node


class Releases:
    """One per node. `schema` is that of the database in office, as the application said; 0 before."""

    def __init__(self, node: Node, known: SchemaRange) -> None:
        self._node = node
        self._said: dict[NodeId, str] = {}
        self.known = known
        self.schema = 0

    def opened(self, schema: int) -> None:
        """The application opened the database, and it has this schema now, committed."""
        self.schema = schema
        self._node.links.announce()

    def why_not(self, peer: NodeId) -> str:
        """Why the peer could not take this node's database over, for people; "" when it could."""
        heard = self._node.machine.peers.get(peer)
        if heard is None or self._node.machine.state not in IN_OFFICE:
            return ""
        return cannot_open(heard.hello.version, heard.hello.schema_max, self.schema)

    def is_counted(self, peer: NodeId) -> bool:
        """Whether an acknowledgement of the peer proves anything; says it once for each release when not."""
        why = self.why_not(peer)
        if why and self._said.get(peer) != why:
            self._node.log(f"{why} It receives everything meanwhile, and is not in sync.", peer)
        self._said[peer] = why
        return not why

    def waiting_for(self) -> str:
        """A sentence for people: in office about a standby that is counted on, else about this node itself."""
        node = self._node
        if node.machine.state in IN_OFFICE:
            found = next(filter(None, map(self.why_not, node.machine.memory.in_sync)), "")
            return f"{found} Writes wait for it. To write without it, type: understudy go-alone" if found else ""
        return self.why_not_here()

    def why_not_here(self) -> str:
        """Why this node could not take over from the master that it hears, for people; "" when it could."""
        node = self._node
        master = node.machine.peers.get(node.machine.master())
        if master is None or node.machine.state in IN_OFFICE:
            return ""
        return cannot_open(node.settings.version, self.known.highest, master.hello.schema, "this node")

    async def check_here(self) -> None:
        """Raise Refused when this node's release cannot open the copy that it holds."""
        try:
            schema, _ = await self._node.read_copy(_user_version)
        except Unavailable:
            return  # without a copy the role machine refuses, and says what for
        if why := cannot_open(self._node.settings.version, self.known.highest, schema, "this node"):
            raise Refused("conflict", f"{why} Nothing was changed.")

    def check_target(self, peer: NodeId) -> None:
        """Raise Refused when the peer's release could not open this node's database."""
        if why := self.why_not(peer):
            raise Refused("conflict", why)


def _user_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
