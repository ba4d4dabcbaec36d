"""P7: how long after its due time a process starts, of 1, 50 and 1,000 jobs due in the same second on one agent.

Job History's own times: the keeper's, at the start of the process, minus the scheduled one. Bare `posix_spawn` of the
same shell is measured before and after, in the same run. All share the machine: nodes, agent, keeper, jobs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.physics import baseline, machine
from tests.bench.spawning import percentiles_ms, spawns_per_second
from tests.bench.waves import Waves, one_agent

BARE = 500
TRAIN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 50, 250, 1000], help="jobs due at once")
    parser.add_argument("--rounds", type=int, default=3, help="waves of each size; of those below 100 trains of ten")


def measure(waves: Waves, size: int, rounds: int) -> dict[str, Any]:
    """Waves of one size; of small ones the same jobs are due ten times, 3 s apart."""
    print(f"{size} at once", file=sys.stderr, flush=True)
    found = [waves.wave(size) if size >= 100 else waves.train(size, TRAIN) for _ in range(rounds)]
    late = [late_us for wave in found for late_us in wave.late_us]
    rates = sorted(wave.starts_per_s for wave in found)
    shown: dict[str, Any] = {"at_once": size, "waves": len(late) // size, **percentiles_ms(late)}
    return shown | ({"starts_per_s": round(rates[len(rates) // 2])} if size >= 100 else {})


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """All sizes on one pair with one agent."""
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        facts, before = machine(Path(name)), baseline(Path(name))
        bare = [spawns_per_second(BARE)]
        with one_agent(Path(name)) as pair:
            waves = Waves(pair)
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
