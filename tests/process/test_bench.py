"""The benchmarks run and print what they promise; how fast is nobody's business here."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial

import pytest

from tests.bench.compression import frames_of, measured
from tests.process.programs import ROOT
from tests.unit.engine import chain


def bench(*words: str) -> dict[str, object]:
    """Run one benchmark; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *words], cwd=ROOT, capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1
    return dict(json.loads(lines[0]))


def test_writes_are_measured_with_the_machines_limits() -> None:
    """One JSON line: a figure for each number of clients in both ways of writing, and the limits before and after."""
    shown = bench("writes", "--only", "in_process", "ours", "--clients", "1", "4", "--rounds", "1", "--seconds", "0.3")
    for kind in ("in_process", "ours"):
        figures = shown[kind]
        assert isinstance(figures, list)
        assert [figure["clients"] for figure in figures] == [1, 4]
        assert all(figure["writes_per_s"] > 0 and figure["p99_ms"] >= figure["p50_ms"] > 0 for figure in figures)
    assert isinstance(shown["baseline"], list)
    assert all(limit["fdatasync_4k_per_s"] > 0 for limit in shown["baseline"])


@pytest.mark.timeout(200)
def test_simulated_agents_are_measured_over_a_failover() -> None:
    """Memory, idle time, the lock of all, runs recorded, and all of them back at the promoted node."""
    shown = bench("agents", "--sizes", "5", "--seconds", "0.2", "--quiet", "0")
    assert isinstance(shown["sizes"], list)
    (found,) = shown["sizes"]
    assert (found["agents"], found["beat_s"]) == (5, 1.0)
    assert all(found[name] > 0 for name in ("lock_all_s", "runs_recorded_per_s"))
    assert found["failover"]["writes_meanwhile"] >= 0
    assert found["failover"]["dials"] >= 10


def test_compression_is_measured_beside_what_it_was_chosen_over() -> None:
    """Each has a ratio and both sides' CPU: zstd, zlib, and sending it plain."""
    figures = measured(partial(frames_of, chain(40, note_bytes=2000), 8))
    assert figures["off"]["ratio"] == 1.0
    assert min(figures["zstd"]["ratio"], figures["zlib"]["ratio"]) > 2
    assert {"ratio", "master_cpu_ms_per_mb", "standby_cpu_ms_per_mb"} == set(figures["zstd"])
