"""What must have happened before a job begins: conditions joined by AND and OR. Pure."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Operator(StrEnum):
    """How the parts of a group are joined."""

    AND = "and"
    OR = "or"


class Condition(msgspec.Struct, frozen=True, kw_only=True, tag_field="part", tag="condition"):
    """One source and the statuses that meet it; `number` names the condition within its expression, from 1.

    kind, source_id: as of a happening. `during`: the special instance that the source's run must be of, "" for any.
    """

    number: int
    kind: str
    source_id: int
    statuses: tuple[str, ...]
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
