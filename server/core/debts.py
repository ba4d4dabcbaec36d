"""What a takeover that may have lost something owes to agents that do not answer. Pure.

The lost master may have given an agent whatever it held: orders of seven days, runs that were on their way, a job moved
to it. So until such an agent has said what it holds, or its machine is declared dead, nothing that is older than the
takeover and could have gone to it is given to another. The debt is rows, so later masters inherit it.
"""

from __future__ import annotations

from collections.abc import Sequence

from server.core.model import DAY_US, Row, Run

HELD_US = 7 * DAY_US
"""For so long an agent is taken to hold orders, whatever is known of them."""
ID_GAP = 1_000_000
"""New rows get ids this far above those that are known: a lost master may have used the next ones for other things."""
OWED = "a silent agent may have it"
"""Why a run waits."""


class Debt(Row, frozen=True, kw_only=True):
    """An agent that may hold what a master gave it whose last writes are lost. Times are microseconds UTC."""

    agent_id: str
    since_us: int
    held_until_us: int


def owes(debts: Sequence[Debt], run: Run, first_submitted_us: int) -> bool:
    """Whether a silent agent may have received a run: it, its occurrence or its first attempt is older than the loss.

    `debts` are those of other agents: the run's own has shown what it has.
    """
    oldest_us = min(run.submitted_at_us, first_submitted_us, run.scheduled_for_us or run.submitted_at_us)
    return any(oldest_us <= debt.since_us for debt in debts)
