"""The master's half of a stream: journaled requests to one standby, from memory while it keeps up, else from disk.

Takes an accepted connection; knows no path. Bounded memory: the window holds at most WINDOW_BYTES whatever the standby
does, and a slow standby is served from the journal instead of being cut off.

Protocol: docs/protocol.md, sections 4.1 and 8.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from replication.core import codec
from replication.core.compression import OFF
from replication.core.messages import Ack
from replication.errors import ReplicationError
from replication.journal import Journal
from replication.ports import Connection

WINDOW_BYTES = 32 * 1024 * 1024
BATCH_BYTES = 1024 * 1024
COMMIT_S = 0.005
"""A new commit sequence waits so long for a request to go with: alone it costs the standby a frame and a fsync."""


class Window:
    """The newest encoded requests in memory, and the bell that wakes the senders. Event loop only."""

    def __init__(self) -> None:
        self._requests: deque[bytes] = deque()
        self._first = 1
        self._bytes = 0
        self._bells: set[asyncio.Event] = set()

    def restart(self, next_sequence: int) -> None:
        """Begin empty in front of `next_sequence`."""
        self._requests.clear()
        self._first, self._bytes = next_sequence, 0

    def append(self, encoded: bytes) -> None:
        """Keep the next request; the oldest go when the window is full."""
        self._requests.append(encoded)
        self._bytes += len(encoded)
        while self._bytes > WINDOW_BYTES and len(self._requests) > 1:
            self._bytes -= len(self._requests.popleft())
            self._first += 1
        self.ring()

    def ring(self) -> None:
        """Wake the senders: there is a request, or a new commit sequence, or room for more."""
        for bell in self._bells:
            bell.set()

    def batch(self, sequence: int) -> list[bytes] | None:
        """Requests from `sequence` on, about BATCH_BYTES; [] when there is none yet; None when only the disk has it."""
        start = sequence - self._first
        if start < 0:
            return None
        found: list[bytes] = []
        size = 0
        while start + len(found) < len(self._requests) and size < BATCH_BYTES:
            found.append(self._requests[start + len(found)])
            size += len(found[-1])
        return found

    def bell(self) -> asyncio.Event:
        """A new bell, rung from now on; give it back with `forget`."""
        bell = asyncio.Event()
        self._bells.add(bell)
        return bell

    def forget(self, bell: asyncio.Event) -> None:
        """Stop ringing it."""
        self._bells.discard(bell)


def read_batch(journal: Journal, sequence: int) -> list[bytes]:
    """About BATCH_BYTES of requests from disk. Blocks: call it in a thread. Raises Forgotten."""
    found: list[bytes] = []
    size = 0
    for encoded in journal.read(sequence):
        found.append(encoded)
        size += len(encoded)
        if size >= BATCH_BYTES:
            break
    return found


class Sender:
    """Streams from `sequence` on until the connection ends. `bytes_sent` counts requests, `frame_bytes_sent` frames."""

    def __init__(
        self, connection: Connection, journal: Journal, window: Window, sequence: int, commit: Callable[[], int],
        compression: str = OFF,
    ) -> None:  # fmt: skip
        self._connection = connection
        self._journal = journal
        self._window = window
        self._next = sequence
        self._commit = commit
        self._compression = compression
        self._announced = -1
        self._credit = WINDOW_BYTES
        self._outstanding: deque[tuple[int, int]] = deque()
        self._outstanding_bytes = 0
        self._bell = window.bell()
        self._lone: asyncio.TimerHandle | None = None
        self._lone_at = 0.0
        self.bytes_sent = 0
        self.frame_bytes_sent = 0

    def acknowledged(self, ack: Ack) -> None:
        """Take credit back for what is durable there."""
        self._credit = max(ack.credit, BATCH_BYTES)
        while self._outstanding and self._outstanding[0][0] <= ack.fsynced:
            self._outstanding_bytes -= self._outstanding.popleft()[1]
        self._bell.set()

    async def run(self) -> None:
        """Send until cancelled or the connection fails (ConnectionError)."""
        try:
            while True:
                self._bell.clear()
                if not await self._send_some():
                    await self._bell.wait()
        finally:
            self._window.forget(self._bell)
            if self._lone is not None:
                self._lone.cancel()

    async def _send_some(self) -> bool:
        commit = self._commit()
        batch: list[bytes] = []
        if self._outstanding_bytes < self._credit:
            held = self._window.batch(self._next)
            batch = held or []
            if held is None:
                batch = await asyncio.to_thread(read_batch, self._journal, self._next)
                if not batch:
                    raise ReplicationError(f"request {self._next} is neither in memory nor in the journal")
        if not batch and (commit == self._announced or not self._is_late()):
            return False
        for frame in codec.encode_requests(commit, batch, self._compression):
            await self._connection.send(frame)
            self.frame_bytes_sent += len(frame)
        self._announced, self._lone_at = commit, 0.0
        if batch:
            self._next += len(batch)
            size = sum(map(len, batch))
            self._outstanding.append((self._next - 1, size))
            self._outstanding_bytes += size
            self.bytes_sent += size
        return True

    def _is_late(self) -> bool:
        """Whether a lone commit sequence has waited long enough; rings the bell when it will have."""
        loop = asyncio.get_running_loop()
        if not self._lone_at:
            self._lone_at = loop.time() + COMMIT_S
        if loop.time() >= self._lone_at:
            return True
        if self._lone is None:
            self._lone = loop.call_at(self._lone_at, self._wake)
        return False

    def _wake(self) -> None:
        self._lone = None
        self._bell.set()
