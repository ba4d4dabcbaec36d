"""What will be due in a period, from the same expansion as everything else. Pure.

Schedules that say the same are expanded once: 100,000 jobs on a few hundred timings cost what these cost.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from typing import Generic, TypeVar

from server.core.local_time import BadSchedule
from server.core.timing import Timing, instants

T = TypeVar("T")
INSTANTS_MAX = 100_000
"""Instants of one timing at most; what is beyond is cut, and `Forecast.cut` says so."""


@dataclass(frozen=True, slots=True)
class Due(Generic[T]):
    """What is due together: all `subjects` at each of `instants`, which are in order."""

    timing: Timing
    instants: tuple[int, ...]
    subjects: tuple[T, ...]
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Forecast(Generic[T]):
    """A period after_us < instant <= until_us. `unreadable`: subjects whose schedule cannot be read any more."""

    after_us: int
    until_us: int
    due: tuple[Due[T], ...]
    unreadable: tuple[T, ...] = ()

    @property
    def total(self) -> int:
        """Occurrences in the period."""
        return sum(len(one.instants) * len(one.subjects) for one in self.due)

    @property
    def is_cut(self) -> bool:
        """Whether a timing has more instants than were expanded."""
        return any(one.is_cut for one in self.due)

    def lines(self, limit: int | None = None) -> Iterator[tuple[int, T]]:
        """(instant, subject) in order of time, at most `limit`; subjects of one instant as they were given."""
        ordered = heapq.merge(*(zip(one.instants, repeat(number)) for number, one in enumerate(self.due)))
        return islice(((at, subject) for at, number in ordered for subject in self.due[number].subjects), limit)

    def counts(self, step_us: int) -> list[int]:
        """Occurrences in each step of the period, from its begin."""
        found = [0] * max(1, -(-(self.until_us - self.after_us) // step_us))
        for one in self.due:
            for at in one.instants:
                found[(at - self.after_us - 1) // step_us] += len(one.subjects)
        return found


def forecast(
    subjects: Iterable[tuple[T, Timing]], after_us: int, until_us: int, limit: int = INSTANTS_MAX
) -> Forecast[T]:
    """What is due in (after_us, until_us]: `subjects` are (anything, its timing), `limit` instants for each timing."""
    shared: dict[Timing, list[T]] = {}
    for subject, timing in subjects:
        shared.setdefault(timing, []).append(subject)
    due: list[Due[T]] = []
    unreadable: list[T] = []
    for timing, found in shared.items():
        try:
            at = tuple(instants(timing, after_us, until_us, limit + 1))
        except BadSchedule:
            unreadable += found
            continue
        due.append(Due(timing, at[:limit], tuple(found), len(at) > limit))
    return Forecast(after_us, until_us, tuple(due), tuple(unreadable))


def first(subjects: Sequence[tuple[T, Timing]], after_us: int, until_us: int, limit: int) -> list[tuple[int, T]]:
    """The first `limit` lines of a forecast: no timing is expanded further than they need."""
    return list(forecast(subjects, after_us, until_us, limit).lines(limit))
