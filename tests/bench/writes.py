"""P1: durable writes acknowledged by both nodes, one row for each call, beside PostgreSQL and Redis in the same run.

All pairs are up at once and take turns, `--rounds` times; medians are printed. What a figure includes:
`in_process`: loops in the master's own process call the store, as the product's API does; no client, no socket.
`ours`: a client process with as many connections on a Unix socket of the master, answered byte by byte.
`postgres`: pgbench (C), one insert for each transaction, prepared, on a Unix socket; a synchronous standby over TLS.
`redis`: the client process of `ours`, RPUSH and WAIT 1, appendfsync always on both; TCP on loopback, no TLS.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.our_pair import OurPair, our_pair
from tests.bench.physics import SyncCount, baseline, cpu_s, machine
from tests.bench.postgres_pair import postgres_pair
from tests.bench.redis_pair import SETTINGS as REDIS_SETTINGS
from tests.bench.redis_pair import redis_pair
from tests.bench.socket_clients import in_a_process

CLIENTS = (1, 16, 64, 256)
KINDS = ("in_process", "ours", "postgres", "redis")

Measure = Callable[[int, float], dict[str, Any]]
Pair = tuple[Measure, list[int]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--rounds", type=int, default=5, help="turns of each; medians are printed")
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS, help="how many at the same time")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="which of them")


def start_pairs(
    stack: ExitStack, directory: Path, wanted: list[str]
) -> tuple[dict[str, Pair], dict[str, dict[str, str]]]:
    """Start what is to be measured: how to measure it and its processes; and the settings of the peers."""
    found: dict[str, Pair] = {}
    settings: dict[str, dict[str, str]] = {}
    if {"in_process", "ours"} & set(wanted):
        pair = stack.enter_context(our_pair(directory))
        found |= {name: entry for name, entry in _ours(pair).items() if name in wanted}
    if "postgres" in wanted:
        peer = stack.enter_context(postgres_pair(directory))
        found["postgres"], settings["postgres"] = (peer.measure, peer.pids), peer.shown_settings()
    if "redis" in wanted:
        other = stack.enter_context(redis_pair(directory))
        found["redis"], settings["redis"] = (other.measure, other.pids), REDIS_SETTINGS
    return found, settings


def _ours(pair: OurPair) -> dict[str, Pair]:
    path = pair.directory / "clients.sock"
    pair.master.ask("listen", path)
    return {
        "in_process": (lambda clients, seconds: pair.master.ask("writes", clients, seconds), pair.pids),
        "ours": (lambda clients, seconds: in_a_process("ours", path, clients, seconds), pair.pids),
    }


def take_turn(measure: Measure, pids: list[int], clients: int, seconds: float, directory: Path) -> dict[str, Any]:
    """One figure, with how many fsyncs and how much processor time of the servers it took for each write."""
    before = cpu_s(pids)
    with SyncCount(pids, directory) as syncs:
        figure = measure(clients, seconds)
    writes = figure["writes_per_s"] * seconds
    figure["cpu_us_per_write"] = (cpu_s(pids) - before) / writes * 1e6
    if syncs.calls is not None:
        figure["syncs_per_write"] = syncs.calls / writes
    return figure


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every number of clients, every pair, in turns."""
    taken: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name, ExitStack() as stack:
        directory = Path(name)
        facts, before = machine(directory), baseline(directory)
        pairs, settings = start_pairs(stack, directory, arguments.only)
        for _ in range(arguments.rounds):
            for clients in arguments.clients:
                for kind, (measure, pids) in pairs.items():
                    taken[kind, clients].append(take_turn(measure, pids, clients, arguments.seconds, directory))
        stack.close()
        after = baseline(directory)
    figures: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for (kind, _), turns in taken.items():
        figures[kind].append(middle(turns))
    return {**figures, "rounds": arguments.rounds, "settings": settings, "baseline": [before, after], "machine": facts}


def middle(turns: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure, and the slowest and fastest rate."""
    rates = [round(turn["writes_per_s"]) for turn in turns]
    return {
        **{key: round(median(turn[key] for turn in turns), 2) for key in turns[0]},
        "range": [min(rates), max(rates)],
    }
