"""The File Replication Requests number: what is journaled and not yet reported durable by the standby. Pure.

Entries are merged when there are many, so a standby that is away for days costs the master a bounded memory.
"""

from __future__ import annotations

from collections import deque

from replication.core.types import Backlog

ENTRIES_MAX = 20_000


class BacklogMeter:
    """Counts for one standby. `now` is monotonic seconds; sequences only grow between two `restart` calls."""

    def __init__(self) -> None:
        self._open: deque[tuple[int, int, float]] = deque()
        self._last = 0
        self._fsynced = 0
        self._bytes = 0

    def restart(self, last: int, fsynced: int, bytes_behind: int, now: float) -> None:
        """A standby connected at `fsynced`: everything behind it counts as one entry that is as old as now."""
        self._open.clear()
        self._last, self._fsynced, self._bytes = last, fsynced, 0
        if last > fsynced:
            self._open.append((last, bytes_behind, now))
            self._bytes = bytes_behind

    def journaled(self, sequence: int, size: int, now: float) -> None:
        """A request of `size` bytes was appended here."""
        self._last = sequence
        self._bytes += size
        if len(self._open) >= ENTRIES_MAX:
            _, merged, at = self._open.pop()
            self._open.append((sequence, merged + size, at))
        else:
            self._open.append((sequence, size, now))

    def acknowledged(self, sequence: int) -> None:
        """The standby has fsynced everything up to `sequence`."""
        self._fsynced = max(self._fsynced, sequence)
        while self._open and self._open[0][0] <= sequence:
            self._bytes -= self._open.popleft()[1]

    def lag_s(self, now: float) -> float:
        """Age of the oldest request that is not durable at the standby; 0.0 with none."""
        return now - self._open[0][2] if self._open else 0.0

    def reading(self, now: float) -> Backlog:
        """The three numbers; 0 requests only when nothing at all is outstanding."""
        return Backlog(max(self._last - self._fsynced, 0), max(self._bytes, 0), self.lag_s(now))
