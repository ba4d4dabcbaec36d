"""When Python looks for garbage in cycles: by how memory grows, not by how much is made.

By itself Python goes through everything that the process keeps whenever a quarter was added. With 10,000 agents that is
a second in which nothing is answered, several times while they connect. Here what was looked at once is put aside
(`gc.freeze`), so that a look costs as much as came since; all of it is looked at only when memory has doubled. What is
not part of a cycle is given back at once, as always.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
from collections.abc import Callable

EVERY_S = 1.0
MADE_MAX = 5_000
"""So many things are made before the youngest are looked at; Python's own number is 700, for small programs."""
YOUNG_MAX = 10
NEVER = 1_000_000
STEP_BYTES = 4 << 20
STEP_SHARE = 0.05
DOUBLED_BYTES = 64 << 20
"""A small process may grow by so much more before everything is looked at."""
AGENT_BYTES = 100_000
"""An agent that is connected is no garbage: for each of them memory may grow by so much more."""


class Collector:
    """Of one process. `agents` says how many are connected, `peak_bytes` the most memory that it ever had."""

    def __init__(self, agents: Callable[[], int], peak_bytes: Callable[[], int] | None = None) -> None:
        self._agents = agents
        self._peak_bytes = peak_bytes or peak_resident_bytes
        self._seen_bytes = 0
        self._whole_bytes = 0

    def begin(self) -> None:
        """Put aside what was loaded, and leave everything but the youngest to `look`. Call once the process serves."""
        gc.set_threshold(MADE_MAX, YOUNG_MAX, NEVER)
        self._collect(True)

    def look(self) -> str:
        """Collect if memory has grown: "all" of it when it more than doubled, else what is "new"; else ""."""
        peak = self._peak_bytes()
        if peak < self._seen_bytes + self._whole_bytes * STEP_SHARE + STEP_BYTES:
            return ""
        is_doubled = peak > 2 * self._whole_bytes + DOUBLED_BYTES + self._agents() * AGENT_BYTES
        self._collect(is_doubled)
        return "all" if is_doubled else "new"

    async def look_forever(self) -> None:
        """Begin, then look every second, until cancelled."""
        self.begin()
        while True:
            await asyncio.sleep(EVERY_S)
            self.look()

    def _collect(self, everything: bool) -> None:
        """What was garbage of a whole look does not count as memory that is needed: it is used again."""
        if everything:
            gc.unfreeze()
        found = gc.collect()
        gc.freeze()
        self._seen_bytes = self._peak_bytes()
        if everything:
            kept = gc.get_freeze_count()
            self._whole_bytes = self._seen_bytes * kept // (kept + found)


def peak_resident_bytes() -> int:
    """The most memory that this process ever had resident."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
