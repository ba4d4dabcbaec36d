"""P3: the pause that clients feel in a planned swap, under 500 acknowledged writes/s and running jobs.

The pause is the time from the last write that the old master acknowledged to the first of the new one, as the
clients' own lists say: processes that speak HTTPS to both nodes. Redis: the same with one client that sets a key and
waits for one replica, around FAILOVER of a pair without TLS.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.physics import baseline, machine
from tests.bench.redis_pair import redis_pair
from tests.process.cluster import running_pair
from tests.process.workload import Workload

WRITES_PER_S = 500.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--count", type=int, default=12, help="swaps in a row")
    parser.add_argument("--no-peer", action="store_true", help="measure ours alone")


def pause_s(load: Workload, old_host: str, since: float) -> float:
    """Seconds between the last acknowledgement of the old master and the first of the new one."""
    lines = [line for line in load.acknowledged() if line["event"] == "acknowledged" and line["at"] >= since]
    last_old = max(line["at"] for line in lines if line["node"] == old_host)
    return float(min(line["at"] for line in lines if line["node"] != old_host) - last_old)


def spread(pauses: list[float]) -> dict[str, float]:
    """Median, 95th percentile and the longest."""
    pauses = sorted(pauses)
    at95 = pauses[min(int(len(pauses) * 0.95), len(pauses) - 1)]
    return {
        "swaps": len(pauses),
        "pause_median_s": round(statistics.median(pauses), 4),
        "pause_p95_s": round(at95, 4),
        "pause_max_s": round(pauses[-1], 4),
    }


def swap_ours(directory: Path, count: int) -> dict[str, Any]:
    """Swap `count` times under load, then hold everything acknowledged against both nodes."""
    pauses: list[float] = []
    with running_pair(directory) as pair:
        load = Workload(pair, rate=WRITES_PER_S).start()
        for _ in range(count):
            master, _ = pair.wait_healthy()
            since = time.time()
            pair.type(master, "understudy", "swap", "--yes")
            pair.wait_healthy()
            load.wait_progress("load after the swap")
            pauses.append(pause_s(load, master.host, since))
        verdict = load.finish()
    return {**spread(pauses), "faults": len(verdict.faults), "counts": verdict.counts}


def swap_redis(directory: Path, count: int) -> dict[str, Any]:
    """FAILOVER there and back, `count` times."""
    with redis_pair(directory) as pair:
        return spread([pair.failover_pause_s() for _ in range(count)])


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Ours, then Redis."""
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        directory = Path(name)
        facts, before = machine(directory), baseline(directory)
        ours = swap_ours(directory, arguments.count)
        found: dict[str, Any] = {"writes_per_s_asked": WRITES_PER_S, "ours": ours}
        if not arguments.no_peer:
            found["redis_failover"] = swap_redis(directory, arguments.count)
        return {**found, "baseline": [before, baseline(directory)], "machine": facts}
