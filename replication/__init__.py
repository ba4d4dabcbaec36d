"""Replication of one SQLite database and its objects to a standby, by a hash-chained journal of write-ahead requests.

Knows nothing of scheduling. An application sees five names: `Node`, `Store`, `Status`, `Application`, `Witnesses`.

Promised: a write that was answered is durable wherever the mode demands it; nothing is acted upon before that; no
operation destroys the only copy of a divergent request. docs/protocol.md and docs/architecture.md say how.
"""

from replication.core.types import Status
from replication.node import Node
from replication.ports import Application, Witnesses
from replication.store import Store

__all__ = ["Application", "Node", "Status", "Store", "Witnesses"]
