"""P6: jobs per second from due over the start of a process to the exit recorded on both nodes: one agent, `true`.

So many jobs are due at one instant; the time ends when the last of their ends is committed, which means on both nodes.
Everything shares the machine. `cpu_ms_per_job` is the processor time of each program, that of the jobs' shells too: it
moves less than the rates do when others use the machine. It takes about `--budget` seconds: then no wave begins.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.physics import baseline, machine
from tests.bench.spawning import spawns_per_second
from tests.bench.waves import Wave, Waves, cpu_ms_per_job, middle, one_agent


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 300, 1000], help="jobs due at once")
    parser.add_argument("--rounds", type=int, default=3, help="waves of each size, while there is time")
    parser.add_argument("--budget", type=float, default=70.0, help="seconds after which no wave begins")


def measure(waves: Waves, size: int, rounds: int) -> dict[str, Any]:
    """Waves of one size: medians, and the load of the machine when they were over."""
    print(f"{size} at once", file=sys.stderr, flush=True)
    found: list[Wave] = []
    while not found or (len(found) < rounds and waves.has_time(size)):
        found.append(waves.wave(size))
    return {
        "due_at_once": size,
        "jobs_per_s": round(middle([wave.jobs_per_s for wave in found])),
        "all": sorted(round(wave.jobs_per_s) for wave in found),
        "cpu_ms_per_job": cpu_ms_per_job(found),
        "load_after": round(os.getloadavg()[0], 2),
    }


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """All sizes on one pair with one agent."""
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        facts, before = machine(Path(name)), baseline(Path(name))
        bare = [spawns_per_second(500)]
        with one_agent(Path(name)) as pair:
            waves = Waves(pair, arguments.budget)
            sizes = [measure(waves, size, arguments.rounds) for size in arguments.sizes]
        bare.append(spawns_per_second(500))
        after = baseline(Path(name))
    return {
        "bare_spawns_per_s": [round(rate) for rate in bare],
        "sizes": sizes,
        "baseline": [before, after],
        "machine": facts,
    }
