"""How many requests a token or a session may send: a bucket for each, in memory. Pure.

What ends trouble is never counted: how the pair does, a role swap, the end of a maintenance, signing out. Whoever comes
by the local socket has no bucket at all.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

PER_MINUTE = 60_000
"""As delivered: a thousand in a second, for as long as one likes, and a minute's worth at once."""
BUCKETS_MAX = 10_000
"""Those that were used last: who is forgotten begins with a full one."""
_FREE = frozenset({
    "/api/v1/status", "/api/Status/Get", "/api/Maintenance/End", "/api/v1/maintenance/end", "/api/v1/maintenance/off",
    "/maintenance/end", "/logout", "/api/v1/logout", "/swap",
})  # fmt: skip
_FREE_BELOW = ("/api/v1/swap", "/swap/", "/static/")


def is_free(path: str) -> bool:
    """Whether requests of this path are not counted."""
    return path in _FREE or path.startswith(_FREE_BELOW)


@dataclass
class _Bucket:
    left: float
    at_s: float


@dataclass
class Quota:
    """Of one node. `now_s` is of a clock that never goes back."""

    _buckets: OrderedDict[str, _Bucket] = field(default_factory=OrderedDict)

    def wait_s(self, whose: str, per_minute: int, now_s: float) -> float:
        """Count a request; 0.0 when it may go on, else after how many seconds the next one may: it is not counted."""
        per_s = per_minute / 60.0
        bucket = self._buckets.pop(whose, None) or _Bucket(float(per_minute), now_s)
        self._buckets[whose] = bucket
        if len(self._buckets) > BUCKETS_MAX:
            self._buckets.popitem(last=False)
        bucket.left = min(bucket.left + (now_s - bucket.at_s) * per_s, float(per_minute))
        bucket.at_s = now_s
        if bucket.left < 1.0:
            return (1.0 - bucket.left) / per_s
        bucket.left -= 1.0
        return 0.0
