"""How the outcomes of a drain are counted and said. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from server.core.agent_drain import CUT, INTERRUPTED, OUTCOMES
from server.core.agent_reports import Parted


def count(outcomes: Iterable[Parted]) -> dict[str, int]:
    """How many runs had each outcome, in the order of `OUTCOMES`; only those that occurred."""
    found = Counter(one.outcome for one in outcomes)
    return {outcome: found[outcome] for outcome in OUTCOMES if found[outcome]}


def summary(counted: dict[str, int]) -> str:
    """`3 finished, 1 cut`."""
    return ", ".join(f"{number} {outcome}" for outcome, number in counted.items()) or "nothing was running"


def is_clean(counted: dict[str, int]) -> bool:
    """No run was ended by the drain or lost in it."""
    return not counted.get(CUT) and not counted.get(INTERRUPTED)
