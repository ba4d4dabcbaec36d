"""Instants of standing orders: arithmetic over series, what is due, and what to do about those that are past. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from server.core.model import Job, Span, Specification

MAY_HAVE_RUN = "agent was quarantined"
"""Why an instant is missed that the lost part of a restored memory may have begun: only a person runs it again."""
LATE_US = 10_000_000
"""An instant that is met later than this is past: the misfire policy decides, after the master has answered."""


def instants_between(series: Sequence[Span], after_us: int, until_us: int) -> Iterator[int]:
    """Instants t with after_us < t <= until_us, in order within each series of (first, step, count)."""
    for first, step, count in series:
        if step <= 0 or count <= 1:
            if count > 0 and after_us < first <= until_us:
                yield first
            continue
        low = max(0, (after_us - first) // step + 1)
        high = min(count - 1, (until_us - first) // step)
        for k in range(low, high + 1):
            yield first + k * step


def next_instant(series: Sequence[Span], after_us: int) -> int | None:
    """The first instant later than `after_us`, or None."""
    best: int | None = None
    for first, step, count in series:
        k = 0 if after_us < first else ((after_us - first) // step + 1 if step > 0 else count)
        if k < count and (best is None or first + k * step < best):
            best = first + k * step
    return best


def last_instant(series: Sequence[Span], until_us: int) -> int | None:
    """The last instant at or before `until_us`, or None."""
    best: int | None = None
    for first, step, count in series:
        if first <= until_us and count > 0:
            k = min(count - 1, (until_us - first) // step) if step > 0 else 0
            if best is None or first + k * step > best:
                best = first + k * step
    return best


def count_between(series: Sequence[Span], after_us: int, until_us: int) -> int:
    """How many instants t there are with after_us < t <= until_us."""
    total = 0
    for first, step, count in series:
        if step <= 0 or count <= 1:
            total += count > 0 and after_us < first <= until_us
        else:
            low, high = max(0, (after_us - first) // step + 1), min(count - 1, (until_us - first) // step)
            total += max(0, high - low + 1)
    return total


def is_instant(series: Sequence[Span], at_us: int) -> bool:
    """Whether `at_us` is one of the instants."""
    return count_between(series, at_us - 1, at_us) > 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one past instant: it runs, or is suppressed; `settled`: nobody need be asked."""

    instant_us: int
    runs: bool
    settled: bool = False


def judge_past(past: Iterable[int], specification: Specification | Job, now_us: int) -> list[Verdict]:
    """Apply the misfire policy: `skip` none, `once` the newest within the grace time, `all` those within it.

    `ask`, and whatever is older than the grace time, stays open for a person.
    """
    ordered = sorted(past)
    earliest = now_us - specification.misfire_grace_s * 1_000_000
    within = [at for at in ordered if at >= earliest]
    chosen: set[int] = set()
    if specification.misfire_policy == "all":
        chosen = set(within)
    elif specification.misfire_policy == "once" and within:
        chosen = {within[-1]}
    policy = specification.misfire_policy
    return [Verdict(at, at in chosen, policy == "skip" or (policy == "once" and at >= earliest)) for at in ordered]
