"""P10: resident memory of a master, idle with its standby, and after a number of runs."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import psutil

from tests.bench.physics import baseline, machine
from tests.process.cluster import Node, running_pair
from tests.process.workload import Workload


def resident_mb(node: Node) -> float:
    """Resident memory of a node's process, in millions of bytes."""
    assert node.program.process is not None
    return round(psutil.Process(node.program.process.pid).memory_info().rss / 1e6, 1)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure an idle master and its standby, then the master under `seconds` times 200 writes/s and running jobs."""
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name, running_pair(Path(name)) as pair:
        facts, before = machine(Path(name)), baseline(Path(name))
        master, standby = pair.wait_healthy()
        idle = {node.name: resident_mb(node) for node in (master, standby)}
        load = Workload(pair).start()
        load.wait_progress("some load", writes=int(200 * arguments.seconds))
        busy = resident_mb(master)
        verdict = load.finish()
        writes = len(load.acknowledged())
        after = baseline(Path(name))
    return {
        "idle_master_mb": idle[master.name],
        "idle_standby_mb": idle[standby.name],
        "busy_master_mb": busy,
        "writes": writes,
        "faults": len(verdict.faults),
        "baseline": [before, after],
        "machine": facts,
    }
