"""P11: restart of a node with journal to redo and a database, files in the page cache: seconds from the start of the
process until it is master again with its standby's leave, and until a standby streams.

A reader of another process holds SQLite's checkpoint back while the journal grows; then both nodes get kill -9. Three
restarts for each size: of the master alone, of the standby alone, of both at once. The time includes the interpreter.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.our_pair import OurNode, OurPair, our_pair
from tests.bench.physics import baseline, machine

BURST_CLIENTS = 64
BURST_S = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[0.1, 1.0], help="sizes of the database")
    parser.add_argument("--redo-mb", type=float, nargs="+", default=[4.0, 16.0, 64.0], help="journal behind it")


@contextmanager
def grown_journal(pair: OurPair, megabytes: float) -> Iterator[float]:
    """Checkpoint, then write until this much journal lies behind it; gives how much does. Kill the master inside."""
    pair.master.ask("checkpoint")
    reader = sqlite3.connect(f"file:{pair.master.data / 'scheduler.db'}?mode=ro", uri=True, isolation_level=None)
    try:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM (SELECT 1 FROM lines LIMIT 1)").fetchone()
        while (behind := float(pair.master.ask("behind")["redo_mb"])) < megabytes:
            pair.master.ask("writes", BURST_CLIENTS, BURST_S)
        yield behind
    finally:
        reader.close()


def restart(nodes: list[OurNode]) -> list[dict[str, Any]]:
    """Start what was killed; seconds until each has its role again, and until its files were redone."""
    started = time.time()
    for node in nodes:
        node.start()
    redone = [node.hear()["redone_at"] - started for node in nodes]
    for node in nodes:
        node.ask("peers")
        node.tell("resume")
    heard = [node.hear() for node in nodes]
    return [
        {"state": said["state"], "redone_s": round(done, 3), "back_s": round(said["at"] - started, 3)}
        for said, done in zip(heard, redone, strict=True)
    ]


def measure(pair: OurPair, redo_mb: float) -> dict[str, Any]:
    """Restart the master, the standby and both, each with this much journal behind the master's checkpoint."""
    found: dict[str, Any] = {"redo_mb": redo_mb}
    for name, nodes in (
        ("master", [pair.master]), ("standby", [pair.standby]), ("both", [pair.master, pair.standby])
    ):  # fmt: skip
        with grown_journal(pair, redo_mb) as behind:
            for node in nodes:
                node.kill()
        found[name] = {"journal_behind_mb": round(behind, 1), "nodes": restart(nodes)}
        pair.master.ask("sync")
    return found


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every size of database with every length of journal."""
    sizes = []
    for gigabytes in arguments.gigabytes:
        with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
            directory = Path(name)
            facts, before = machine(directory), baseline(directory)
            with our_pair(directory, standby=False) as pair:
                size = pair.master.ask("fill", int(gigabytes * 1000))["bytes"]
                pair.add_standby()
                restarts = [measure(pair, redo_mb) for redo_mb in arguments.redo_mb]
            sizes.append(
                {"database_mb": round(size / 1e6), "restarts": restarts, "baseline": [before, baseline(directory)]}
            )
    return {"sizes": sizes, "machine": facts}
