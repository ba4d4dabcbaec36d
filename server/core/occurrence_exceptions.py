"""What differs for single occurrences of a schedule: skipped, moved, or begun with another command, once. Pure.

An exception names the instant that the schedule made. That stays the occurrence's name, also when it is moved: its run
has the key of that instant, so it cannot run twice. Times are microseconds UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from server.core.model import Specification


class OccurrenceException(msgspec.Struct, array_like=True, frozen=True):
    """One occurrence. `skipped` is the cause for the ledger, "" when it is not skipped.

    `environment` is added to the job's. Travels in standing orders: fields are only added at the end, with a default.
    """

    instant_us: int
    skipped: str = ""
    moved_to_us: int | None = None
    command: str | None = None
    environment: dict[str, str] | None = None

    @property
    def start_us(self) -> int:
        """When it is due."""
        return self.instant_us if self.moved_to_us is None else self.moved_to_us

    @property
    def takes_away(self) -> bool:
        """Whether nothing is due at the instant itself."""
        return bool(self.skipped) or self.moved_to_us is not None

    def applied(self, specification: Specification) -> Specification:
        """What is begun for it instead of the job's own."""
        command = specification.command if self.command is None else self.command
        environment = {**specification.environment, **(self.environment or {})}
        return msgspec.structs.replace(specification, command=command, environment=environment)


def find(exceptions: Iterable[OccurrenceException], instant_us: int) -> OccurrenceException | None:
    """The exception of that occurrence."""
    return next((one for one in exceptions if one.instant_us == instant_us), None)


def due(
    exceptions: Iterable[OccurrenceException], settled: Mapping[int, bool], until_us: int
) -> list[OccurrenceException]:
    """Those that are due by `until_us` and not settled, in order of time."""
    found = [one for one in exceptions if one.start_us <= until_us and one.instant_us not in settled]
    return sorted(found, key=lambda one: (one.start_us, one.instant_us))


def starts(
    instants: Iterable[int], exceptions: Sequence[OccurrenceException], from_us: int, until_us: int
) -> list[tuple[int, int]]:
    """What begins in [from, until) as (when, instant), in order of time. `instants` are ascending."""
    named = {one.instant_us for one in exceptions}
    found = []
    for at_us in instants:
        if at_us >= until_us:
            break
        if at_us >= from_us and at_us not in named:
            found.append((at_us, at_us))
    moved = ((one.start_us, one.instant_us) for one in exceptions if not one.skipped)
    return sorted(found + [pair for pair in moved if from_us <= pair[0] < until_us])
