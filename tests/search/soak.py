"""`./scripts/soak search --count N`: the searches with wider bounds, N million states in all, more of them healed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.process.checker import Verdict
from tests.search.runs import OF_THREE_NODES, all_mutated, in_parallel, rows_of, summary
from tests.search.scenarios import SCENARIOS, deep

HEALED = 5_000


def soak(directory: Path, count: int, say: Callable[[str], None]) -> Verdict:
    """Search, take every rule away, print it all. Needs about 2 GB of memory for each million states of one search."""
    founds, faults = [], []
    for found in in_parallel([deep(bounds, count * 1_000_000 // len(SCENARIOS)) for bounds in SCENARIOS], HEALED):
        founds.append(found)
        say(str(found))
        if found.broken:
            faults.append("\n".join([found.broken, *found.trace]))
    say(summary(founds))
    missed = [number for number, steps in rows_of(founds).items() if not steps and number not in OF_THREE_NODES]
    faults += [f"no search takes row {number}" for number in missed]
    mutated = all_mutated(deep=True)
    for one in mutated:
        say(str(one))
    faults += [f"nobody missed the rule: {one.name}" for one in mutated if not one.without.broken]
    faults += [f"broken with the rule in place: {one.name}: {one.with_rule}" for one in mutated if one.with_rule]
    counts = {
        "states": sum(found.states for found in founds),
        "healed": sum(found.healed for found in founds),
        "rules taken away": len(mutated),
    }
    return Verdict(counts, tuple(faults))
