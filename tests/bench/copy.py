"""P5: the first copy of a node, durable at its end, while the master takes 500 writes/s; beside pg_basebackup.

Ours: from `join` on an empty node to the state in which it may be trusted: every block written and fsynced, redone
and its checksum equal. PostgreSQL's: `pg_basebackup -X stream` over TLS, with its fsync. The same size of database, the
same run, in turns; the load runs on a master while it is copied, and only then.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.our_pair import OurPair, our_pair
from tests.bench.physics import baseline, cpu_s, machine
from tests.bench.postgres_pair import HOUSE, PostgresPair, postgres_pair

LOAD_PER_S = 500
LOAD_S = 3600


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[0.1, 1.0], help="sizes of the database")
    parser.add_argument("--rounds", type=int, default=3, help="copies of each; medians are printed")
    parser.add_argument("--no-peer", action="store_true", help="measure ours alone")


def copy_ours(pair: OurPair, size: int) -> dict[str, Any]:
    """One copy to an empty standby, which is killed and removed then."""
    pair.standby.start().hear()
    before = cpu_s([pair.master.pid])
    pair.master.ask("load", LOAD_PER_S)
    took = pair.standby.ask("join")["copied_s"]
    master, standby = cpu_s([pair.master.pid]) - before, cpu_s([pair.standby.pid])
    load = pair.master.ask("unload")
    pair.standby.kill()
    pair.master.ask("alone")
    shutil.rmtree(pair.standby.data)
    return copied(size, took, master, standby) | {key: round(load[key], 1) for key in load if key != "clients"}


def copy_theirs(pair: PostgresPair, size: int) -> dict[str, Any]:
    """One copy with pg_basebackup, which is removed then."""
    target = pair.directory / "copy"
    try:
        return _base_backup(pair, target, size)
    finally:
        shutil.rmtree(target, ignore_errors=True)


def _base_backup(pair: PostgresPair, target: Path, size: int) -> dict[str, Any]:
    load = subprocess.Popen(
        pair.pgbench(4, LOAD_S, "-R", LOAD_PER_S), **HOUSE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        time.sleep(0.5)
        servers = [pair.primary.pid]
        before, started = cpu_s(servers), time.monotonic()
        copier = subprocess.Popen(pair.base_backup(target), **HOUSE, stdout=subprocess.DEVNULL)
        usage = wait_with_usage(copier)
        took = time.monotonic() - started
        return copied(size, took, cpu_s(servers) - before, usage)
    finally:
        load.terminate()
        load.wait(10)


def wait_with_usage(process: subprocess.Popen[bytes]) -> float:
    """Wait for the end; returns the seconds of processor time that the process and its children took."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit("pg_basebackup failed; its error is above")
    return usage.ru_utime + usage.ru_stime


def copied(size: int, took_s: float, master_cpu_s: float, copier_cpu_s: float) -> dict[str, Any]:
    """One copy as figures; the processor time of the master includes that of its load."""
    return {
        "mb": round(size / 1e6),
        "seconds": round(took_s, 3),
        "mb_per_s": round(size / took_s / 1e6, 1),
        "master_cpu_s": round(master_cpu_s, 2),
        "copier_cpu_s": round(copier_cpu_s, 2),
    }


def middle(copies: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure."""
    return {key: round(median(copy[key] for copy in copies), 3) for key in copies[0]}


def measure(directory: Path, megabytes: int, rounds: int, peer: bool) -> dict[str, Any]:
    """Fill both masters, then copy them in turns."""
    ours, theirs = [], []
    with ExitStack() as stack:
        pair = stack.enter_context(our_pair(directory, standby=False))
        other = stack.enter_context(postgres_pair(directory, standby=False)) if peer else None
        size = pair.master.ask("fill", megabytes)["bytes"]
        other_size = other.fill(megabytes) if other is not None else 0
        pair.master.ask("peers")
        for _ in range(rounds):
            ours.append(copy_ours(pair, size))
            if other is not None:
                theirs.append(copy_theirs(other, other_size))
    found: dict[str, Any] = {"ours": middle(ours)}
    if theirs:
        found["pg_basebackup"] = middle(theirs)
        found["ratio"] = round(found["ours"]["mb_per_s"] / found["pg_basebackup"]["mb_per_s"], 2)
    return found


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every size."""
    sizes = []
    for gigabytes in arguments.gigabytes:
        with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
            directory = Path(name)
            facts, before = machine(directory), baseline(directory)
            found = measure(directory, int(gigabytes * 1000), arguments.rounds, not arguments.no_peer)
            sizes.append({"gigabytes": gigabytes, **found, "baseline": [before, baseline(directory)]})
    return {"rounds": arguments.rounds, "load_per_s": LOAD_PER_S, "sizes": sizes, "machine": facts}
