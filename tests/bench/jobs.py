"""P6: jobs per second from due over the start of a process to the exit recorded on both nodes: one agent, `true`.

So many jobs are due at one instant; the time ends when the last of their ends is committed, which means on both nodes.
Everything shares the machine. `cpu_ms_per_job` is what all programs took, the shells of the jobs included.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.physics import baseline, machine
from tests.bench.spawning import spawns_per_second
from tests.bench.waves import Waves, one_agent
from tests.process.cluster import Pair


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 300, 1000], help="jobs due at once")
    parser.add_argument("--rounds", type=int, default=3, help="waves of each size")


def measure(pair: Pair, waves: Waves, size: int, rounds: int) -> dict[str, Any]:
    """Waves of one size: the median, and the processor time of nodes and agent."""
    print(f"{size} at once", file=sys.stderr, flush=True)
    rates = sorted(waves.wave(size).jobs_per_s for _ in range(rounds))
    return {"due_at_once": size, "jobs_per_s": round(rates[len(rates) // 2]), "all": [round(rate) for rate in rates]}


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """All sizes on one pair with one agent."""
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        facts, before = machine(Path(name)), baseline(Path(name))
        bare = [spawns_per_second(500)]
        with one_agent(Path(name)) as pair:
            waves = Waves(pair)
            sizes = [measure(pair, waves, size, arguments.rounds) for size in arguments.sizes]
        bare.append(spawns_per_second(500))
        after = baseline(Path(name))
    return {
        "bare_spawns_per_s": [round(rate) for rate in bare],
        "sizes": sizes,
        "baseline": [before, after],
        "machine": facts,
    }
