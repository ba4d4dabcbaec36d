"""`python -m tests.search [NAME ...]`: the searches of CI and the rules taken away, with their traces, printed."""

from __future__ import annotations

import sys

from tests.search.runs import all_mutated, in_parallel, summary
from tests.search.scenarios import SCENARIOS


def main() -> int:
    """Entry point; 1 when a promise broke or a missing rule was not seen."""
    wanted = [bounds for bounds in SCENARIOS if not sys.argv[1:] or bounds.name in sys.argv[1:]]
    founds = []
    for found in in_parallel(wanted):
        founds.append(found)
        print(found, *([found.broken, *found.trace] if found.broken else []), sep="\n", flush=True)
    print(summary(founds), flush=True)
    mutated = all_mutated() if not sys.argv[1:] else []
    for one in mutated:
        print(one, flush=True)
    seen = sum(bool(one.without.broken) for one in mutated)
    print(f"{seen} of {len(mutated)} missing rules were seen")
    return int(any(found.broken for found in founds) or seen < len(mutated))


if __name__ == "__main__":
    sys.exit(main())
