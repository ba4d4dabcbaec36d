"""`./scripts/soak agent-search --count N`: the searches with more of everything, N thousand states each at most."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.agent_search.runs import all_without, in_parallel, summary
from tests.agent_search.scenarios import SCENARIOS, deep
from tests.process.checker import Verdict


def soak(directory: Path, count: int, say: Callable[[str], None]) -> Verdict:
    """Search, take every rule away, print it all. Needs about 1 GB of memory for each 100,000 states of one search."""
    founds, faults = [], []
    for found in in_parallel([deep(bounds, count * 1000) for bounds in SCENARIOS], every=20):
        founds.append(found)
        say(str(found))
        if found.broken:
            faults.append("\n".join([found.broken, *found.trace]))
    say(summary(founds))
    less = all_without()
    for one in less:
        say(str(one))
    faults += [f"nobody missed the rule: {one.name}" for one in less if not one.without.broken]
    faults += [f"broken with the rule in place: {one.name}: {one.with_rule}" for one in less if one.with_rule]
    counts = {
        "states": sum(found.states for found in founds),
        "brought to rest": sum(found.quieted for found in founds),
        "rules taken away": len(less),
    }
    return Verdict(counts, tuple(faults))
