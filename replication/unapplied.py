"""What a standby has journaled and not yet applied: the next few requests in memory, the rest in the journal on disk.

So a standby whose apply is slow, or held behind the pin of a copy, holds no more memory than one that keeps up.
"""

from __future__ import annotations

from collections import deque

from replication.journal import Journal

MEMORY_BYTES = 8 * 1024 * 1024


class Unapplied:
    """At most MEMORY_BYTES, without a gap. Event loop only, but `read_back`, which reads the disk: in a thread."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._requests: deque[bytes] = deque()
        self._first = 0
        self.bytes = 0

    def add(self, requests: list[bytes], last: int) -> None:
        """Requests up to `last` are in the journal now. They are kept here only while they fit."""
        size = sum(map(len, requests))
        first = last - len(requests) + 1
        if self.bytes + size > MEMORY_BYTES or self._first + len(self._requests) != first:
            self.clear()
        if size <= MEMORY_BYTES:
            self._first = self._first if self._requests else first
            self._requests.extend(requests)
            self.bytes += size

    def clear(self) -> None:
        """Keep nothing in memory."""
        self._requests.clear()
        self.bytes = 0

    def take(self, applied: int, upto: int) -> list[bytes]:
        """What comes behind `applied`, up to `upto`; [] when it is not in memory: read it back then."""
        while self._requests and self._first <= applied:
            self._pop()
        if self._first != applied + 1:
            return []
        taken: list[bytes] = []
        while self._requests and self._first <= upto:
            taken.append(self._pop())
        return taken

    def _pop(self) -> bytes:
        request = self._requests.popleft()
        self._first += 1
        self.bytes -= len(request)
        return request

    def read_back(self, applied: int, upto: int) -> list[bytes]:
        """From the journal what comes behind `applied`, up to `upto` or about MEMORY_BYTES. Raises Forgotten."""
        found: list[bytes] = []
        size = 0
        for encoded in self._journal.read(applied + 1):
            found.append(encoded)
            size += len(encoded)
            if applied + len(found) >= upto or size >= MEMORY_BYTES:
                break
        return found
