"""How far a copy is, and how long it still takes. Pure; `now` is monotonic seconds."""

from __future__ import annotations

from collections import deque

from replication.core.types import CopyProgress

WINDOW_S = 10.0
SAMPLE_S = 0.25
RATE_AFTER_S = 0.5


class CopyMeter:
    """Counts one copy. `total` is the bytes of all files, as known so far; what is equal already counts as done.

    The rate is that of the last WINDOW_S: a copy that waits shows a falling rate, and no time left at rate 0.
    """

    def __init__(self, total: int, now: float) -> None:
        self.total = total
        self.waiting = ""
        self._done = 0
        self._moved = 0
        self._samples: deque[tuple[float, int]] = deque([(now, 0)])

    def equal(self, size: int, now: float) -> None:
        """`size` bytes were compared and need no copying."""
        self._count(size, now)

    def moved(self, size: int, now: float) -> None:
        """`size` bytes were copied."""
        self._moved += size
        self._count(size, now)

    def _count(self, size: int, now: float) -> None:
        self._done += size
        if now - self._samples[-1][0] >= SAMPLE_S:
            self._samples.append((now, self._done))
        while len(self._samples) > 1 and now - self._samples[0][0] > WINDOW_S:
            self._samples.popleft()

    def reading(self, now: float) -> CopyProgress:
        """What to show; `seconds_left` is None while no rate is known."""
        total = max(self.total, self._done)
        since, before = self._samples[0]
        passed = now - since
        rate = (self._done - before) / passed if passed >= RATE_AFTER_S else 0.0
        left = (total - self._done) / rate if rate > 0 else None
        return CopyProgress(total, self._done, self._moved, rate, left, self.waiting)
