"""Writes per second of one node's store, beside what the disk alone can do: `python -m tests.bench.store_writes`.

Each write inserts one row into a table with an index and updates another row, as recording a run does.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from replication.core.request import Kind
from replication.core.types import Epoch
from replication.files import Disk
from replication.redo import open_node
from replication.store import Store, Transaction
from replication.writer import Change
from tests.bench.physics import fdatasyncs_per_second

SCHEMA = """
CREATE TABLE runs (id INTEGER PRIMARY KEY, job INTEGER NOT NULL, state TEXT NOT NULL, at_us INTEGER NOT NULL) STRICT;
CREATE INDEX runs_by_job ON runs (job, at_us);
"""


def record_run(number: int) -> Change[None]:
    """Return a change that writes one row and updates one."""

    def change(transaction: Transaction) -> None:
        execute = transaction.connection.execute
        execute("INSERT INTO runs (job, state, at_us) VALUES (?, 'started', ?)", (number % 50, number))
        execute("UPDATE runs SET state = 'ended' WHERE id = (SELECT max(id) - 1 FROM runs)")

    return change


async def measure(store: Store, writers: int, seconds: float) -> tuple[float, float, float]:
    """Run `writers` loops for `seconds`; returns writes per second and the p50 and p99 latency in milliseconds."""
    latencies: list[float] = []
    end = time.monotonic() + seconds

    async def write_on(number: int) -> None:
        while (started := time.monotonic()) < end:
            await store.write(record_run(number))
            latencies.append(time.monotonic() - started)
            number += writers

    started = time.monotonic()
    await asyncio.gather(*(write_on(number) for number in range(writers)))
    passed = time.monotonic() - started
    latencies.sort()
    at = [latencies[int(len(latencies) * share)] * 1000 for share in (0.5, 0.99)]
    return len(latencies) / passed, at[0], at[1]


async def run(directory: Path, seconds: float) -> None:
    """Print the baseline and one line per number of writers."""
    baseline = fdatasyncs_per_second(directory)
    print(f"baseline: {baseline:,.0f} fdatasync/s of 4 KiB")
    disk = Disk(directory / "node")
    applier = open_node(disk)
    applier.apply_all()
    store = await Store.open(
        disk, applier.journal, applier.control, applier.sums, Epoch(1, "0" * 31 + "1"), commit=applier.applied
    )
    store.on_fsynced = store.gate.advance
    await store.append_control_request(Kind.EPOCH, b"")
    await store.write(lambda transaction: transaction.execute_script(SCHEMA))
    for writers in (1, 16, 64, 256):
        rate, p50, p99 = await measure(store, writers, seconds)
        print(f"{writers:4d} writers: {rate:8,.0f} writes/s  p50 {p50:6.2f} ms  p99 {p99:6.2f} ms")
    await store.close()
    disk.close()


def main() -> None:
    """Parse the arguments and run in a temporary directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="per number of writers")
    parser.add_argument("--directory", type=Path, help="where to write (default: the temporary directory)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        asyncio.run(run(Path(directory), arguments.seconds))


if __name__ == "__main__":
    main()
