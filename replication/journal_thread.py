"""A standby's journal thread: appends what arrives and fsyncs once for all that waits, without a hop per request.

The event loop puts encoded requests and the newest commit sequence; it hears back once per fsync. A commit sequence is
recorded with the requests that arrived with it, in the same fsync, so it costs one of its own only while nothing else
arrives.

Protocol: docs/protocol.md, section 4.1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from replication import threads
from replication.journal import Journal

GROUP_BYTES = (256 * 1024, 8 * 1024 * 1024)
GROUP_S = 0.25
"""A fsync group is as large as fits into this time, so that a slow disk still acknowledges several times a second."""
RECORD_BYTES = 64
"""At most what the journal writes beside a request."""


class JournalThread:
    """Made in the event loop; `stop` ends it.

    In the loop: `journaled(batch, last)` after each fsync, in order (`last`: the last request's sequence);
    `failed(error)` once, after which nothing is appended any more. DiskFull: nothing of its group was appended.
    """

    def __init__(
        self,
        journal: Journal,
        journaled: Callable[[list[bytes], int], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._journal = journal
        self._journaled = journaled
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._queue: threads.SimpleQueue[bytes | None] = threads.SimpleQueue()
        self._stopping = False
        self._group_bytes = GROUP_BYTES[1]
        self.commit = 0
        self._thread = threads.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def put(self, request: bytes) -> None:
        """Append it with the next group."""
        self._queue.put(request)

    def put_commit(self) -> None:
        """Record `commit`, which was raised although no request arrived."""
        self._queue.put(None)

    def stop(self) -> None:
        """Finish the group that is under way, forget the rest. Blocks until the thread is gone."""
        self._stopping = True
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while True:
                batch, size = self._next_group()
                if self._stopping:
                    return
                began = threads.monotonic()
                self._append(batch, size)
                self._resize_group(size, threads.monotonic() - began)
                self._loop.call_soon_threadsafe(self._journaled, batch, self._journal.last.sequence)
        except BaseException as error:
            self._loop.call_soon_threadsafe(self._failed, error)

    def _next_group(self) -> tuple[list[bytes], int]:
        """What is appended with the next fsync, and its size; waits until there is something."""
        item = self._queue.get()
        batch: list[bytes] = []
        size = 0
        while not self._stopping:
            if item is not None:
                batch.append(item)
                size += len(item)
            if size >= self._group_bytes:
                break
            try:
                item = self._queue.get_nowait()
            except threads.Empty:
                break
        return batch, size

    def _append(self, batch: list[bytes], size: int) -> None:
        self._journal.reserve(size + RECORD_BYTES * (len(batch) + 1))
        for encoded in batch:
            self._journal.append(encoded)
        self._journal.mark_commit(self.commit)
        self._journal.sync()

    def _resize_group(self, size: int, took_s: float) -> None:
        if took_s > GROUP_S:
            self._group_bytes = max(self._group_bytes // 2, GROUP_BYTES[0])
        elif size >= self._group_bytes:
            self._group_bytes = min(self._group_bytes * 2, GROUP_BYTES[1])
