"""`python -m tests.bench NAME`: one JSON line with the figures and the physical baseline of this machine."""

from __future__ import annotations

import argparse
import importlib
import json

NAMES = (
    "writes",
    "swap",
    "memory",
    "copy",
    "restart",
    "compression",
    "jobs",
    "punctuality",
    "agents",
    "pages",
    "history",
    "scheduler",
)


def main() -> None:
    """Run one benchmark."""
    benches = {name: importlib.import_module(f"tests.bench.{name}") for name in NAMES}
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    names = parser.add_subparsers(dest="name", required=True)
    for name, bench in benches.items():
        own = names.add_parser(name, help=(bench.__doc__ or "").split("\n")[0])
        own.add_argument("--seconds", type=float, default=4.0, help="how long each figure is measured")
        own.add_argument("--directory", help="where to write: the disk that is measured (default: the temporary one)")
        if hasattr(bench, "add_arguments"):
            bench.add_arguments(own)
    arguments = parser.parse_args()
    print(json.dumps({"bench": arguments.name, **benches[arguments.name].run(arguments)}))


if __name__ == "__main__":
    main()
