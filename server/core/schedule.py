"""Spans of instants, as standing orders hold them; and the words for what is wrong with a schedule.

When a schedule is due, `core.timing` says; what its text means, `core.expressions`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from server.core.expressions import NICKNAMES
from server.core.local_time import BadSchedule, find_zone
from server.core.model import Span
from server.core.timing import check

__all__ = ["NICKNAMES", "BadSchedule", "check", "compress", "expand", "find_zone"]


def compress(found: Sequence[int]) -> list[Span]:
    """Strictly increasing instants as spans (first, step, count), in order; greedy, so at most one per
    instant.
    """
    spans: list[Span] = []
    index = 0
    while index < len(found):
        first = found[index]
        step = found[index + 1] - first if index + 1 < len(found) else 0
        count = 1
        while step and index + count < len(found) and found[index + count] == first + count * step:
            count += 1
        spans.append((first, step if count > 1 else 0, count))
        index += count
    return spans


def expand(spans: Iterable[Span]) -> Iterator[int]:
    """The instants of spans, in order: the inverse of `compress`."""
    for first, step, count in spans:
        for k in range(count):
            yield first + k * step
