"""A forecast as people read it: what runs when and where, counted for each place and listed in order. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from server.core.forecast import Forecast

Subject = tuple[int, int]
"""(job, schedule)."""


class Change(NamedTuple):
    """One occurrence that differs: `moved_to_us` None when it is skipped."""

    subject: Subject
    instant_us: int
    moved_to_us: int | None


class DueLine(msgspec.Struct, frozen=True, kw_only=True):
    """One occurrence to come. `moved_from_us`: its own time, when somebody moved it."""

    due_us: int
    job_id: int
    job: str
    place: str
    schedule_id: int
    moved_from_us: int | None = None


class PlaceCounts(msgspec.Struct, frozen=True):
    """How many occurrences a place has in each step."""

    place: str
    counts: list[int]

    @property
    def total(self) -> int:
        """In the whole period."""
        return sum(self.counts)


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """The period after_us < due <= until_us in steps; `lines` are the first of it, `total` counts all.

    `is_cut`: a schedule has more instants than are counted. `unreadable`: jobs with a schedule that says nothing.
    """

    after_us: int
    until_us: int
    step_us: int
    total: int
    places: list[PlaceCounts]
    lines: list[DueLine]
    is_cut: bool = False
    unreadable: list[str] = []


Named = Callable[[Subject], tuple[str, str]]
"""(job, place) of a subject."""


def outlook(found: Forecast[Subject], changes: Sequence[Change], named: Named, step_us: int, limit: int) -> Outlook:
    """Count and list a forecast, with what people changed of single occurrences."""
    steps = max(1, -(-(found.until_us - found.after_us) // step_us))
    counts: dict[str, list[int]] = {}

    def add(place: str, at_us: int, by: int) -> None:
        if found.after_us < at_us <= found.until_us:
            counts.setdefault(place, [0] * steps)[(at_us - found.after_us - 1) // step_us] += by

    for one in found.due:
        here: dict[str, int] = {}
        for subject in one.subjects:
            place = named(subject)[1]
            here[place] = here.get(place, 0) + 1
        for place, by in here.items():
            for at_us in one.instants:
                add(place, at_us, by)
    known = [change for change in changes if named(change.subject)[0]]
    for change in known:
        place = named(change.subject)[1]
        add(place, change.instant_us, -1)
        if change.moved_to_us is not None:
            add(place, change.moved_to_us, 1)
    places = sorted((PlaceCounts(place, row) for place, row in counts.items()), key=lambda one: one.place)
    return Outlook(
        after_us=found.after_us,
        until_us=found.until_us,
        step_us=step_us,
        total=sum(one.total for one in places),
        places=places,
        lines=_lines(found, known, named, limit),
        is_cut=found.is_cut,
        unreadable=sorted({named(subject)[0] for subject in found.unreadable}),
    )


def _lines(found: Forecast[Subject], changes: Sequence[Change], named: Named, limit: int) -> list[DueLine]:
    gone = {(change.subject, change.instant_us) for change in changes}
    kept: list[tuple[int, Subject, int | None]] = []
    for at_us, subject in found.lines(limit + len(changes)):
        if (subject, at_us) not in gone:
            kept.append((at_us, subject, None))
    kept += [
        (change.moved_to_us, change.subject, change.instant_us)
        for change in changes
        if change.moved_to_us is not None and found.after_us < change.moved_to_us <= found.until_us
    ]
    return [_line(*one, named) for one in heapq.nsmallest(limit, kept, key=lambda one: one[0])]


def _line(due_us: int, subject: Subject, moved_from_us: int | None, named: Named) -> DueLine:
    job, place = named(subject)
    return DueLine(
        due_us=due_us, job_id=subject[0], job=job, place=place, schedule_id=subject[1], moved_from_us=moved_from_us
    )
