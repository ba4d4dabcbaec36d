"""`python -m tests.simulation SEED`: replay one seed and print its trace. `--count N`: run N seeds from there."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time

from tests.simulation.pair_simulation import simulate
from tests.simulation.safety_rules import RULES, switched_off


def main() -> int:
    """0 when every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--quiet", action="store_true", help="no trace")
    parser.add_argument("--without", choices=sorted(RULES), help="a safety rule to switch off")
    parser.add_argument("--focus", default="", help="of the kinds of trouble only this one, and hand-offs")
    parser.add_argument("--point", default="", help="a node ends here once, e.g. 'after sync segment'")
    arguments = parser.parse_args()
    failed = 0
    for seed in range(arguments.seed, arguments.seed + max(arguments.count, 1)):
        began = time.perf_counter()
        with switched_off(arguments.without) if arguments.without else contextlib.nullcontext():
            outcome = simulate(
                seed, show=not arguments.count and not arguments.quiet, focus=arguments.focus, point=arguments.point
            )
        took = time.perf_counter() - began
        print(
            f"seed {seed}: {outcome.acknowledged} acknowledged, {sum(outcome.faults.values())} faults, "
            f"{outcome.role_changes} role changes, {outcome.virtual_s:.0f} virtual s in {took:.2f} s, {outcome.digest}"
        )
        failed += bool(outcome.wrong)
        for text in outcome.wrong:
            print(f"  WRONG: {text}")
        if outcome.wrong:
            print(f"  again: {outcome.command}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
