"""What a pair goes through so that every point is reached: short courses from one settled pair to another."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from tests.bench.certificates import A, B
from tests.failpoints.pair import DeadlyPair


def copy(pair: DeadlyPair) -> None:
    """B, not even started yet, joins and copies."""
    pair.try_order(A, "checkpoint")
    pair.start(B)
    pair.try_order(B, "join")
    pair.settle()
    pair.write(A, "after-copy", 3)


def writes(pair: DeadlyPair) -> None:
    """Rows, objects, new segments, checkpoints on both nodes."""
    pair.write(A, "small", 6)
    pair.write(A, "large", 4, 120_000)
    for name in (A, B):
        pair.try_order(name, "checkpoint")
    pair.write(A, "later", 3)


def swap(pair: DeadlyPair) -> None:
    """Office goes to B and comes back."""
    pair.try_order(A, "swap", 5.0)
    master, _ = pair.settle()
    pair.write(master, "swapped", 3)
    pair.try_order(master, "swap", 5.0)
    pair.settle()


def abort(pair: DeadlyPair) -> None:
    """A swap is called off since B stands still."""
    if B in pair.running:
        os.kill(pair.running[B].pid, signal.SIGSTOP)
    pair.try_order(A, "swap", 0.3)
    if B in pair.running:
        os.kill(pair.running[B].pid, signal.SIGCONT)
    pair.write(A, "aborted", 2)


def restart(pair: DeadlyPair) -> None:
    """A is stopped and started, then killed and started: B grants it office."""
    pair.stop(A)
    pair.start(A)
    pair.settle()
    pair.write(A, "restarted", 2)
    pair.kill(A)
    pair.start(A)


def cut(pair: DeadlyPair) -> None:
    """B takes over without a tail that only A has; A returns and keeps it as a fork."""
    pair.kill(B)
    pair.try_order(A, "push", "tail", 6)
    pair.kill(A)
    pair.start(B)
    pair.try_order(B, "promote", False)
    pair.write(B, "new-master", 3)
    pair.start(A)


def compare(pair: DeadlyPair) -> None:
    """A wrote alone and applied it; B takes over by force; A returns, keeps its blocks and copies."""
    pair.kill(B)
    pair.try_order(A, "go_alone")
    before = set(pair.acknowledged)
    pair.write(A, "alone", 4)
    pair.may_lose |= pair.acknowledged - before
    pair.try_order(A, "checkpoint")
    pair.kill(A)
    pair.start(B)
    pair.try_order(B, "promote", True)
    pair.write(B, "forced", 3)
    pair.start(A)


COURSES: dict[str, Callable[[DeadlyPair], None]] = {
    "copy": copy,
    "writes": writes,
    "swap": swap,
    "abort": abort,
    "restart": restart,
    "cut": cut,
    "compare": compare,
}
