"""P8: thousands of connected agents, simulated in one process with a TLS connection and a certificate each.

For each number: resident memory of the master for each agent, idle processor time, the time until `lock --all` is
acknowledged by all, runs recorded per second from their reports (P6), and a failover to which all of them reconnect
while a client writes: kill -9 of the master, the standby promoted, every agent dials it anew.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from tests.bench.many_agents import SwarmProcess, pair_with_swarm
from tests.bench.physics import baseline, machine
from tests.process.api import Api, NoAnswer
from tests.process.cluster import Node, Pair

QUIET_S = 90.0
"""A minute after the last lock each ticket has advanced, 500 a second: then nothing is left to do."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 2000, 10000], help="numbers of agents")
    parser.add_argument("--quiet", type=float, default=QUIET_S, help="seconds before the idle master is looked at")
    parser.add_argument("--no-failover", action="store_true", help="leave the failover out")


class Client(threading.Thread):
    """Writes jobs one after the other at whichever node takes them; keeps when each was acknowledged."""

    def __init__(self, nodes: list[Node], name: str) -> None:
        super().__init__(daemon=True)
        self._apis = [Api(node.host, node.port, node.data / "ca.crt", nodes[0].token, timeout_s=3) for node in nodes]
        self._prefix = name
        self.acknowledged: list[float] = []
        self.stopping = False

    def run(self) -> None:
        """Until `stopping`."""
        number = 0
        while not self.stopping:
            body = {"name": f"{self._prefix}-{number}", "command": "true", "agent": "sim-00000"}
            try:
                answer = self._apis[0].request("POST", "/api/v1/jobs", body, f"{self._prefix}-{number}")
                done = 200 <= answer.status < 300
            except NoAnswer:
                done = False
            if done:
                self.acknowledged.append(time.monotonic())
                number += 1
            else:
                self._apis.append(self._apis.pop(0))
                time.sleep(0.02)

    def longest_pause_s(self, since: float) -> float:
        """The longest time between two acknowledgements, the first one after `since` on."""
        times = [at for at in self.acknowledged if at >= since]
        return round(max((b - a for a, b in pairwise(times)), default=float("nan")), 3)


def process_of(node: Node) -> psutil.Process:
    """The node's process."""
    assert node.program.process is not None
    return psutil.Process(node.program.process.pid)


def resident_kb(node: Node) -> float:
    """What it keeps in memory, in thousands of bytes."""
    return float(process_of(node).memory_info().rss / 1000)


def idle_share(node: Node, seconds: float) -> float:
    """Processor time per second while nothing is asked of it: 1.0 is a whole core."""
    times = process_of(node).cpu_times()
    started, used = time.monotonic(), times.user + times.system
    time.sleep(seconds)
    times = process_of(node).cpu_times()
    return round((times.user + times.system - used) / (time.monotonic() - started), 3)


def lock_all_s(node: Node) -> float:
    """From the request until every agent has acknowledged, as the status says; the lock is lifted again by all."""
    took_s = _gate_s(node, "lock")
    _gate_s(node, "unlock")
    return took_s


def _gate_s(node: Node, gate: str) -> float:
    api = node.api
    started = time.monotonic()
    api.post(f"/api/v1/agents/{gate}")
    while (api.get("/api/v1/status")["queues"] or {}).get("unacknowledged") != 0:
        time.sleep(0.03)
    api.close()
    return round(time.monotonic() - started, 3)


def fail_over(pair: Pair, swarm: SwarmProcess, count: int) -> dict[str, Any]:
    """kill -9 of the master and a promotion; how long until all agents are admitted, and what a client felt."""
    master, standby = pair.wait_healthy_nodes()
    client = Client([master, standby], f"during-{count}")
    client.start()
    time.sleep(2)
    master.program.kill()
    swarm.tell("state")
    swarm.hear()
    pair.type(standby, "standby-to-master", "--yes", "--allow-data-loss")
    pair.wait("the new master", standby.is_primary)
    promoted = time.monotonic()
    back = swarm.ask("admitted", count)
    took_s = round(time.monotonic() - promoted, 3)
    time.sleep(1)
    client.stopping = True
    client.join(10)
    return {
        "all_back_s": took_s,
        "longest_pause_of_writes_s": client.longest_pause_s(promoted),
        "writes_meanwhile": sum(promoted <= at <= promoted + took_s for at in client.acknowledged),
        "dials": back["dialled"],
    }


def measure(directory: Path, count: int, seconds: float, quiet_s: float, with_failover: bool) -> dict[str, Any]:
    """One number of agents, on a pair of its own."""
    with pair_with_swarm(directory, count) as (pair, swarm):
        master, _ = pair.wait_healthy_nodes()
        before_kb = resident_kb(master)
        idle_before = idle_share(master, seconds)
        began = time.monotonic()
        joined = swarm.ask("connect", count)
        joined_s = round(time.monotonic() - began, 2)
        found: dict[str, Any] = {"agents": count, "joined_s": joined_s, "beat_s": joined["beat_s"]}
        time.sleep(seconds)
        found["resident_kb_each"] = round((resident_kb(master) - before_kb) / count, 1)
        found["idle_cores_without"] = idle_before
        found["lock_all_s"] = lock_all_s(master)
        told = swarm.ask("report", min(count, 50), 100)
        found["runs_recorded_per_s"] = round(told["runs"] / told["took_s"])
        time.sleep(quiet_s)
        found["idle_cores"] = idle_share(master, 3 * seconds)
        if with_failover:
            found["failover"] = fail_over(pair, swarm, count)
    return found


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every number, the small ones first."""
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        facts, before = machine(Path(name)), baseline(Path(name))
    sizes = []
    for count in arguments.sizes:
        print(f"{count} agents", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
            sizes.append(measure(Path(name), count, arguments.seconds, arguments.quiet, not arguments.no_failover))
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        after = baseline(Path(name))
    return {"sizes": sizes, "baseline": [before, after], "machine": facts}
