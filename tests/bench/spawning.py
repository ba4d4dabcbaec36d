"""How fast this machine starts processes at best: bare `posix_spawn` of what an agent starts for `true`."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

SHELL = ("/bin/sh", "-c", "true")


def spawns_per_second(count: int) -> float:
    """Start `count` shells one after the other, each with its own session and no output; reap what has ended."""
    null = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, number) for number in (0, 1, 2)]
    environment = dict(os.environ)
    left, started = 0, time.monotonic()
    for _ in range(count):
        os.posix_spawn(SHELL[0], SHELL, environment, file_actions=actions, setsid=True)
        left += 1
        while left and os.waitpid(-1, os.WNOHANG)[0]:
            left -= 1
    passed = time.monotonic() - started
    for _ in range(left):
        os.waitpid(-1, 0)
    os.close(null)
    return count / passed


def percentiles_ms(late_us: Sequence[int]) -> dict[str, float]:
    """Median, 99th percentile and the longest, in milliseconds."""
    ordered = sorted(late_us)
    last = len(ordered) - 1
    shares = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
    return {name: round(ordered[min(int(len(ordered) * s), last)] / 1000, 1) for name, s in shares.items()}
