"""Who has a seat among the witnesses: the present set, and the former one until both nodes have applied the change.

Why any two decisions meet in a witness, although each node reads its own rows. What rows say goes through these
steps, and every step is written by a master:

    P  ->  P + Q (change: Q is present, P is former)  ->  Q (drop)

A decision needs a majority of each set that its node reads. The drop is written only after the other node has reported
that it *applied* the change; a copy never goes back, and a standby stops following before it asks. So while one node
reads P the other reads P or P + Q, and while one reads Q the other reads P + Q or Q: both always need a majority of one
common set. A further change while P is still former replaces Q alone, so that P stays common.

A witness that is lost (replaced, or in doubt) keeps its seat empty: it counts and never answers. So a node that does
not know of the loss yet asks the same seats, and majorities of the same seats meet. When every seat belongs to an agent
that an operator declared dead there is nobody to ask: a promotion is never proven then, and `go-alone` is his word.

What the new witnesses have to know before they count alone: `server.office.witnesses`. A witness whose directory was
restored from a snapshot may have forgotten a grant; until its connection number gives it away nobody can know.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from replication.core.witness import Seats
from server.core.model import Row

SEAT, DOUBT = 1, 2


class Seated(Row, frozen=True, kw_only=True):
    """An agent with a seat: `witness` (present set) and `former_witness` are 0, SEAT or DOUBT."""

    id: str
    name: str
    witness: int
    former_witness: int
    removed_at_us: int | None


class Pending(msgspec.Struct, frozen=True):
    """Change `number`, which is not applied by both nodes yet."""

    number: int
    present: Seats
    former: Seats


def sets(seated: Sequence[Seated]) -> tuple[Seats, ...]:
    """The sets of which each must agree: the present one, then the former one while it is on record.

    () when nobody has a seat, or everybody who has one was removed.
    """
    if all(agent.removed_at_us is not None for agent in seated):
        return ()
    present, former = _seats(seated, "witness"), _seats(seated, "former_witness")
    return (present, former) if former.size else (present,)


def pending(seated: Sequence[Seated], number: int) -> Pending | None:
    """The change whose former set is still on record, or None."""
    former = _seats(seated, "former_witness")
    return Pending(number, _seats(seated, "witness"), former) if former.size else None


def problem(seated: Sequence[Seated]) -> str:
    """A sentence when present seats are lost, with what to type; else ""."""
    present = [agent for agent in seated if agent.witness]
    gone = [agent.name for agent in present if not is_held(agent, "witness")]
    if not gone:
        return ""
    left, verb = len(present) - len(gone), "is no witness" if len(gone) == 1 else "are no witnesses"
    return (
        f"{', '.join(gone)} {verb} any more: {left} of {len(present)} {'is' if left == 1 else 'are'} left. "
        "While the standby is in sync, choose again: understudy witness set AGENT"
    )


def is_held(agent: Seated, column: str) -> bool:
    """Whether the agent's seat in the present (`witness`) or the former set (`former_witness`) is not lost."""
    return getattr(agent, column) == SEAT and agent.removed_at_us is None


def _seats(seated: Sequence[Seated], column: str) -> Seats:
    chosen = [agent for agent in seated if getattr(agent, column)]
    held = frozenset(agent.id for agent in chosen if is_held(agent, column))
    return Seats(held, len(chosen) - len(held))
