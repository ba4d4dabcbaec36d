"""The gate: nothing is answered or acted upon above the commit sequence. Lives in the event loop; one per store.

`sequence` may be read in any thread. Clock: the loop's monotonic one.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable

from replication import threads

STALL_S = 1.0


class Gate:
    """Holds back who waits for a sequence until `advance` has passed it.

    `admit` is called with the new commit sequence before anybody is let through: it writes the objects and returns how
    far the commit may go now.
    """

    def __init__(self, sequence: int) -> None:
        self.admit: Callable[[int], int] = lambda sequence: sequence
        self.sequence = sequence
        self.captured = sequence
        self._moved_at = 0.0
        self._order = itertools.count()
        self._waiting: list[tuple[int, int, Callable[[], None]]] = []
        self._changed = threads.Condition()
        self._closed: BaseException | None = None

    def note_captured(self, sequence: int, now: float) -> None:
        """A request was journaled here: from now on it is outstanding until `advance` passes it."""
        if self.captured == self.sequence:
            self._moved_at = now
        self.captured = max(self.captured, sequence)

    def advance(self, sequence: int) -> None:
        """Set the commit sequence; lower values are ignored. Called by the node, in the loop.

        Never above what is durable wherever the mode demands it: everything at or below is acted upon at once.
        """
        if sequence <= self.sequence:
            return
        sequence = self.admit(sequence)
        if sequence <= self.sequence:
            return
        with self._changed:
            self.sequence = sequence
            self._changed.notify_all()
        self._moved_at = asyncio.get_running_loop().time()
        while self._waiting and self._waiting[0][0] <= sequence:
            heapq.heappop(self._waiting)[2]()

    def stalled(self, now: float) -> bool:
        """Whether requests are outstanding and the commit has stood still for STALL_S: refuse new writes."""
        return self.captured > self.sequence and now - self._moved_at > STALL_S

    def when(self, sequence: int, release: Callable[[], None]) -> None:
        """Call `release` once the commit sequence is at or above `sequence`; at once when it is."""
        if sequence <= self.sequence:
            release()
        else:
            heapq.heappush(self._waiting, (sequence, next(self._order), release))

    async def wait(self, sequence: int) -> int:
        """Return the commit sequence once it is at or above `sequence`. Raises what `close` was given."""
        if self._closed is not None and sequence > self.sequence:
            raise self._closed
        if sequence > self.sequence:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def release() -> None:
                if not future.done():
                    if self._closed is not None and sequence > self.sequence:
                        future.set_exception(self._closed)
                    else:
                        future.set_result(None)

            entry = (sequence, next(self._order), release)
            heapq.heappush(self._waiting, entry)
            try:
                await future
            except asyncio.CancelledError:
                if entry in self._waiting:
                    self._waiting.remove(entry)
                    heapq.heapify(self._waiting)
                raise
        return self.sequence

    def wait_in_thread(self, sequence: int, timeout_s: float) -> bool:
        """Wait in another thread than the loop's; False when the time ran out or the gate was closed."""
        with self._changed:
            return (
                self._changed.wait_for(lambda: self.sequence >= sequence or self._closed is not None, timeout_s)
                and self.sequence >= sequence
            )

    def close(self, error: BaseException) -> None:
        """Let everybody go who still waits: they raise `error`."""
        with self._changed:
            self._closed = error
            self._changed.notify_all()
        while self._waiting:
            heapq.heappop(self._waiting)[2]()
