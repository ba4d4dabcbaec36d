"""`python -m tests.agent_search [NAME ...]`: CI's searches and the rules taken away, with traces, printed."""

from __future__ import annotations

import sys

from tests.agent_search.runs import all_without, in_parallel, summary
from tests.agent_search.scenarios import SCENARIOS


def main() -> int:
    """Entry point; 1 when a promise broke or a missing rule was not seen."""
    wanted = [bounds for bounds in SCENARIOS if not sys.argv[1:] or bounds.name in sys.argv[1:]]
    founds = []
    for found in in_parallel(wanted):
        founds.append(found)
        print(found, *([found.broken, *found.trace] if found.broken else []), sep="\n", flush=True)
    print(summary(founds), flush=True)
    less = all_without() if not sys.argv[1:] else []
    for one in less:
        print(one, flush=True)
    seen = sum(bool(one.without.broken) for one in less)
    print(f"{seen} of {len(less)} missing rules were seen")
    return int(any(found.broken for found in founds) or seen < len(less) or any(one.with_rule for one in less))


if __name__ == "__main__":
    sys.exit(main())
