"""P7: how long after its due time a process starts, of 1, 50 and 1,000 jobs due in the same second on one agent.

Job History's own times: the keeper's, at the start of the process, minus the scheduled one. Bare `posix_spawn` of the
same shell is measured before and after, in the same run. All share the machine: nodes, agent, keeper, jobs. It takes
about `--budget` seconds: then no wave begins.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.physics import baseline, machine
from tests.bench.spawning import percentiles_ms, spawns_per_second
from tests.bench.waves import Wave, Waves, cpu_ms_per_job, middle, one_agent

BARE = 500
TRAIN = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 50, 250, 1000], help="jobs due at once")
    parser.add_argument("--rounds", type=int, default=2, help="waves of each size; of those below 100 trains of ten")
    parser.add_argument("--budget", type=float, default=70.0, help="seconds after which no wave begins")


def measure(waves: Waves, size: int, rounds: int) -> dict[str, Any]:
    """Waves of one size; of small ones the same jobs are due ten times, a few seconds apart."""
    print(f"{size} at once", file=sys.stderr, flush=True)
    train = 1 if size >= 100 else TRAIN
    found: list[Wave] = []
    while not found or (len(found) < rounds and waves.has_time(size, train)):
        found.append(waves.train(size, train))
    late = [late_us for wave in found for late_us in wave.late_us]
    shown: dict[str, Any] = {"at_once": size, "waves": len(late) // size, **percentiles_ms(late)}
    shown |= {"cpu_ms_per_job": cpu_ms_per_job(found), "load_after": round(os.getloadavg()[0], 2)}
    return shown | ({"starts_per_s": round(middle([wave.starts_per_s for wave in found]))} if train == 1 else {})


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """All sizes on one pair with one agent."""
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        facts, before = machine(Path(name)), baseline(Path(name))
        bare = [spawns_per_second(BARE)]
        with one_agent(Path(name)) as pair:
            waves = Waves(pair, arguments.budget)
            sizes = [measure(waves, size, arguments.rounds) for size in arguments.sizes]
        bare.append(spawns_per_second(BARE))
        after = baseline(Path(name))
    best = sum(bare) / len(bare)
    for size in sizes:
        if "starts_per_s" in size:
            size["of_bare"] = round(size["starts_per_s"] / best, 2)
    return {
        "bare_spawns_per_s": [round(rate) for rate in bare],
        "sizes": sizes,
        "baseline": [before, after],
        "machine": facts,
    }
