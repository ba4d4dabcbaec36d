"""Priorities and limits: who goes first, how many runs at once, and which counted resources a run holds. Pure.

A run takes all that it needs when it is let go, or nothing, and holds it until its end is recorded. Runs are looked at
by rank; what one is short of is kept for it from those behind it, so that nothing starves: all that it waits for is
held by runs that have begun, and these wait for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec

MINUTE_US = 60_000_000

PRIORITY_MAX = 100
AGE_US = 10 * MINUTE_US
"""One step of priority is as much as having waited so long."""
WAITS = "limit: "
"""A run that waits for a limit says so, and then which."""
TURN = WAITS + "its turn is looked at"
RESOURCES_MAX = 10
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")


class Limits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of a job. Higher `priority` goes first; `runs_at_once` 0: no limit; `resources`: how many of each a run holds."""

    priority: int = 0
    runs_at_once: int = 0
    resources: dict[str, int] = {}

    @property
    def is_set(self) -> bool:
        """Whether a run may have to wait for others: then its order is the master's own."""
        return bool(self.runs_at_once or self.resources)

    def needs(self, job_id: int) -> dict[str, int]:
        """What a run takes, by name."""
        own = {job_name(job_id): 1} if self.runs_at_once else {}
        return own | {resource_name(name): count for name, count in self.resources.items()}


def job_name(job_id: int) -> str:
    """What stands for the runs of a job at once among the names of what is taken."""
    return f"job {job_id}"


def group_name(name: str) -> str:
    """What stands for the runs of a group at once among them."""
    return f"group {name}"


def resource_name(name: str) -> str:
    """What stands for a resource among them."""
    return f"resource {name}"


def said(name: str) -> str:
    """Why a run waits that is short of `name`."""
    return WAITS + phrase(name)


def phrase(name: str) -> str:
    """The name of what is taken, for people who see the job."""
    if name.startswith("job "):
        return "runs of this job at once"
    return f"runs of {name} at once" if name.startswith("group ") else name.removeprefix("resource ")


def rank_us(submitted_at_us: int, priority: int) -> int:
    """Runs go in this order. It does not change while they wait, so whoever waits long enough is first."""
    return submitted_at_us - priority * AGE_US


def wrong_limits(limits: Limits) -> dict[str, str]:
    """What is wrong, by field."""
    wrong = {}
    if abs(limits.priority) > PRIORITY_MAX:
        wrong["limits.priority"] = f"must be from -{PRIORITY_MAX} to {PRIORITY_MAX}"
    if not 0 <= limits.runs_at_once < 2**31:
        wrong["limits.runs_at_once"] = "must not be negative; 0 is no limit"
    if len(limits.resources) > RESOURCES_MAX or not all(0 < count < 2**31 for count in limits.resources.values()):
        wrong["limits.resources"] = f"at most {RESOURCES_MAX}, and at least 1 of each"
    return wrong


def wrong_resource(name: str, count: int) -> dict[str, str]:
    """What is wrong with a resource, by field."""
    wrong = {}
    if not _NAME.match(name):
        wrong["name"] = "must begin with a letter or digit and have up to 63 letters, digits, . _ -"
    if not 0 <= count < 2**31:
        wrong["count"] = "must not be negative"
    return wrong


class Usage:
    """What is taken now, by name, and what is free. `capacity` gives how many there are of a name."""

    def __init__(self, used: Mapping[str, int], capacity: Callable[[str], int]) -> None:
        self._used = dict(used)
        self._capacity = capacity
        self._kept: set[str] = set()

    def take(self, needs: Mapping[str, int]) -> str:
        """Take all of it and return "", or nothing and return a name that it is short of."""
        short = [name for name, count in needs.items() if name in self._kept or not self._has_room(name, count)]
        if short:
            self._kept.update(short)
            return short[0]
        for name, count in needs.items():
            self._used[name] = self._used.get(name, 0) + count
        return ""

    def _has_room(self, name: str, count: int) -> bool:
        return self._used.get(name, 0) + count <= self._capacity(name)
