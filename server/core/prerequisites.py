"""What must have happened before a job begins: conditions joined by AND and OR (SKY-14). Pure.

A condition is met by a status of its source, and keeps that until another status of the source overwrites it or the
job is released. Conditions of different sources do not touch each other: their order does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from enum import StrEnum

import msgspec

WATCHER = "prerequisites"
"""Its name among those who watch what happens."""
WAITS = "prerequisites"
"""What the reason of a waiting run begins with; what is missing follows."""
UNMET = "prerequisites unmet"
"""Why an occurrence is missed: the next one was due before its prerequisites were met."""
UNMET_US = 2**62
"""A run that waits for prerequisites has no time yet before which it shall not begin: none is later than this."""
CONDITIONS_MAX = 100


class Status(StrEnum):
    """What a condition may wait for, in the order in which people are shown them."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    ENDED = "ended"
    """Any of these four."""
    RUNNING = "running"
    SUBMITTED = "submitted"
    FIRED = "fired"
    """Of an event."""
    TRIPPED = "tripped"
    """Of a job monitor."""
    CLEAR = "clear"
    """Of a job monitor: a run ended of which it found nothing."""


ENDS = (Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.SKIPPED)
_OF_RUN = {
    "waiting": Status.SUBMITTED,
    "starting": Status.SUBMITTED,
    "running": Status.RUNNING,
    "suspending": Status.RUNNING,
    "suspended": Status.RUNNING,
    "resuming": Status.RUNNING,
    "succeeded": Status.COMPLETED,
    "failed": Status.FAILED,
    "killed": Status.FAILED,
    "interrupted": Status.FAILED,
    "cancelled": Status.CANCELLED,
    "skipped": Status.SKIPPED,
    "missed": Status.SKIPPED,
}
"""`unknown` says nothing: it neither meets nor overwrites anything until somebody knows."""


class Operator(StrEnum):
    """How the parts of a group are joined."""

    AND = "and"
    OR = "or"


class Condition(msgspec.Struct, frozen=True, kw_only=True, tag_field="part", tag="condition"):
    """One source and the statuses that meet it; `number` names the condition within its expression, from 1.

    kind, source_id: as of a happening. dont_overwrite: once met, no later status of the source changes that.
    dont_clear: it stays met when the next due time passes with others unmet. `during`: the special instance that the
    source's run must be of, "" for any.
    """

    number: int
    kind: str
    source_id: int
    statuses: tuple[Status, ...]
    dont_overwrite: bool = False
    dont_clear: bool = False
    during: str = ""


class Group(msgspec.Struct, frozen=True, kw_only=True, tag_field="part", tag="group"):
    """Parts joined by one operator: met when all of them are, or any."""

    operator: Operator
    parts: tuple[Condition | Group, ...]


class Prerequisites(msgspec.Struct, frozen=True, kw_only=True):
    """A job's expression; without one nothing has to happen before."""

    expression: Condition | Group | None = None

    @property
    def is_set(self) -> bool:
        """Whether the job waits for anything."""
        return self.expression is not None

    def conditions(self) -> Iterator[Condition]:
        """All of them, by number."""
        return _conditions(self.expression)

    def is_met(self, met: Collection[int]) -> bool:
        """Whether the expression is true when the conditions of these numbers are met; never without one."""
        return self.expression is not None and _is_met(self.expression, met)


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one condition: whether it is met, and the last status that counted, of which subject."""

    met: bool = False
    status: str = ""
    subject: int = 0


def status_of(kind: str, status: str, was_asked: bool = False) -> Status | None:
    """The word for a happening's status, None when it says nothing. `was_asked`: somebody asked that the run ends."""
    if kind == "event":
        return Status.FIRED
    if kind == "monitor":
        return Status.CLEAR if status == Status.CLEAR else Status.TRIPPED
    if status == "killed" and was_asked:
        return Status.CANCELLED
    return _OF_RUN.get(status)


def judge(condition: Condition, now: Standing, status: Status, subject: int, instance: str = "") -> Standing:
    """What is known of a condition after a status of its source; the same object when that changes nothing.

    `instance`: the special instance that the source's run is of. A status that is known already of the same run counts
    once, so that a run meets a condition once.
    """
    if condition.during and condition.during != instance:
        return now
    if (subject, status) == (now.subject, now.status) or (now.met and condition.dont_overwrite):
        return now
    met = status in condition.statuses or (Status.ENDED in condition.statuses and status in ENDS)
    return Standing(met=met, status=status, subject=subject)


def missing(prerequisites: Prerequisites, met: Collection[int], name: Callable[[Condition], str]) -> str:
    """What is not met yet, in words: `backup completed and (load ended or check failed)`; `name` names a source."""
    if prerequisites.expression is None or prerequisites.is_met(met):
        return ""
    return _missing(prerequisites.expression, met, name)


def find_cycle(start: int, waits_for: Callable[[int], Collection[int]]) -> list[int]:
    """The way from a job back to itself over the jobs that it waits for, `start` at both ends; [] without one."""
    came_from: dict[int, int] = {}
    open_ones = [start]
    while open_ones:
        here = open_ones.pop()
        for source in waits_for(here):
            if source == start:
                way = [start, here]
                while way[-1] != start:
                    way.append(came_from[way[-1]])
                return way
            if source not in came_from:
                came_from[source] = here
                open_ones.append(source)
    return []


def _conditions(part: Condition | Group | None) -> Iterator[Condition]:
    if isinstance(part, Condition):
        yield part
    elif part is not None:
        for one in part.parts:
            yield from _conditions(one)


def _is_met(part: Condition | Group, met: Collection[int]) -> bool:
    if isinstance(part, Condition):
        return part.number in met
    found = (_is_met(one, met) for one in part.parts)
    return all(found) if part.operator is Operator.AND else any(found)


def _missing(part: Condition | Group, met: Collection[int], name: Callable[[Condition], str]) -> str:
    if isinstance(part, Condition):
        return f"{name(part)} {'|'.join(part.statuses)}"
    said = [_missing(one, met, name) for one in part.parts if not _is_met(one, met)]
    joined = f" {part.operator} ".join(said)
    return f"({joined})" if len(said) > 1 and part.operator is Operator.OR else joined
