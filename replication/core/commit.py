"""The commit sequence: what is durable wherever the mode demands it. Pure."""

from __future__ import annotations

from replication.core.types import NodeId


class CommitRule:
    """Takes reports of durable sequences, answers the commit sequence. It never falls.

    `required` are the nodes whose fsync is needed besides our own: the in-sync set while in office, nobody when alone.
    """

    def __init__(self) -> None:
        self.required: frozenset[NodeId] = frozenset()
        self.sequence = 0
        self._local = 0
        self._fsynced: dict[NodeId, int] = {}

    @property
    def confirmed(self) -> int:
        """What every required node has reported durable in this office; 0 with none required."""
        return min((self._fsynced.get(node, 0) for node in self.required), default=0)

    def restart(self, commit: int, local: int) -> None:
        """A new office begins: peers must report again before anything counts."""
        self.sequence, self._local = commit, local
        self._fsynced.clear()

    def local(self, sequence: int) -> int:
        """Our own journal is durable up to `sequence`; returns the commit sequence."""
        self._local = max(self._local, sequence)
        return self._advanced()

    def peer(self, node: NodeId, sequence: int) -> int:
        """A peer that holds our chain has fsynced up to `sequence`; returns the commit sequence."""
        self._fsynced[node] = max(self._fsynced.get(node, 0), sequence)
        return self._advanced()

    def require(self, nodes: frozenset[NodeId]) -> int:
        """Change who is required; returns the commit sequence."""
        self.required = nodes
        return self._advanced()

    def _advanced(self) -> int:
        reports = [self._fsynced.get(node, 0) for node in self.required]
        self.sequence = max(self.sequence, min([self._local, *reports]))
        return self.sequence
