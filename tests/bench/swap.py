"""P3: the pause that clients feel in a planned swap, under 500 acknowledged writes/s and running jobs.

The pause is the time from the last write that the old master acknowledged to the first of the new one, as
the clients' own lists say.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from tests.bench.store_writes import fdatasyncs_per_second
from tests.process.cluster import running_pair
from tests.process.workload import Workload

WRITES_PER_S = 500.0


def pause_s(load: Workload, old_host: str, since: float) -> float:
    """Seconds between the last acknowledgement of the old master and the first of the new one."""
    lines = [line for line in load.acknowledged() if line["event"] == "acknowledged" and line["at"] >= since]
    last_old = max(line["at"] for line in lines if line["node"] == old_host)
    return float(min(line["at"] for line in lines if line["node"] != old_host) - last_old)


def run(seconds: float) -> dict[str, object]:
    """Swap about every second for `seconds` times three; prints nothing but figures."""
    pauses: list[float] = []
    with tempfile.TemporaryDirectory() as name, running_pair(Path(name)) as pair:
        before = fdatasyncs_per_second(Path(name))
        load = Workload(pair, rate=WRITES_PER_S).start()
        for _ in range(max(int(seconds * 3), 3)):
            master, _ = pair.wait_healthy()
            since = time.time()
            pair.type(master, "understudy", "swap", "--yes")
            pair.wait_healthy()
            load.wait_progress("load after the swap")
            pauses.append(pause_s(load, master.host, since))
        verdict = load.finish()
        after = fdatasyncs_per_second(Path(name))
    pauses.sort()
    return {
        "bench": "swap",
        "swaps": len(pauses),
        "pause_median_s": round(statistics.median(pauses), 3),
        "pause_p95_s": round(pauses[min(int(len(pauses) * 0.95), len(pauses) - 1)], 3),
        "faults": len(verdict.faults),
        "fdatasync_per_s": [round(before), round(after)],
    }
