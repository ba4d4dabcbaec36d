"""`python -m tests.bench NAME`: one JSON line with the figures and the physical baseline of this machine."""

from __future__ import annotations

import argparse
import importlib
import json

NAMES = ("writes", "swap", "memory")


def main() -> None:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each figure is measured")
    arguments = parser.parse_args()
    bench = importlib.import_module(f"tests.bench.{arguments.name}")
    print(json.dumps(bench.run(arguments.seconds)))


if __name__ == "__main__":
    main()
