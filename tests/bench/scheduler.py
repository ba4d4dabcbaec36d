"""What the scheduler costs with 1,000, 10,000 and 100,000 jobs: idle, and when 1,000 or very many of them are due.

The shipped scheduler over a real store of one node; no agent is connected. The jobs are put as rows that are planned
already, each with one order. `cpu_s` is of this process, so that what else the machine does counts little.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from replication.core.request import Kind
from replication.core.types import Epoch
from replication.files import Disk
from replication.redo import open_node
from replication.store import Store, Transaction
from server.clock import SystemClock
from server.core.model import DAY_US, HOUR_US, SECOND_US
from server.office.scheduler import Scheduler, look
from server.storage import migrate
from tests.bench.physics import baseline, machine

NODE, AGENTS = "a" * 32, 50
DUE = 1_000
"""As many are due, whatever exists."""
LIMITS = '{"runs_at_once":1}'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How much there is."""
    parser.add_argument("--sizes", default="1000,10000,100000", help="jobs that exist")
    parser.add_argument("--due", type=int, default=0, help="due within a minute, in the last size; 0: not measured")
    parser.add_argument("--herd", type=int, default=0, help="orders to be renewed at once, in the last size; 0: none")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Figures by number of jobs, with the machine's."""
    sizes = [int(size) for size in arguments.sizes.split(",")]
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        facts, before = machine(Path(name)), baseline(Path(name))
        figures: dict[str, Any] = {}
        for size in sizes:
            is_last = size == sizes[-1]
            due, herd = (arguments.due, arguments.herd) if is_last else (0, 0)
            directory = Path(name) / str(size)
            directory.mkdir()
            figures[f"{size} jobs"] = asyncio.run(_measure(directory, size, arguments.seconds, due, herd))
    return {**figures, "baseline": before, "machine": facts}


@asynccontextmanager
async def _office(directory: Path) -> AsyncIterator[Store]:
    disk = Disk(directory)
    applier = open_node(disk)
    applier.apply_all()
    store = await Store.open(
        disk, applier.journal, applier.control, applier.sums, Epoch(1, NODE), commit=applier.applied
    )
    store.on_fsynced = store.gate.advance
    await store.append_control_request(Kind.EPOCH, b"")
    await store.write(lambda t: migrate.migrate(t.connection))
    try:
        yield store
    finally:
        await store.close()


def _fill(first: int, until: int, now_us: int, transaction: Transaction) -> None:
    """Jobs `first` to `until`, due in the night: nothing of them is due while the benchmark runs."""
    connection = transaction.connection
    if first == 1:
        values = [(f"{n:032x}", f"agent-{n}", now_us) for n in range(AGENTS)]
        connection.executemany("INSERT INTO agents (id, name, enrolled_at_us) VALUES (?, ?, ?)", values)
    jobs, schedules, orders = [], [], []
    later_us = now_us + 3 * HOUR_US
    for n in range(first, until + 1):
        agent = f"{n % AGENTS:032x}"
        said = json.dumps({"job_id": n, "job_name": f"job-{n:06}", "command": "true"})
        renew_us = now_us + 3 * DAY_US + n % 100_000 * SECOND_US
        jobs.append((n, f"job-{n:06}", agent))
        schedules.append((n, n, "0 3 * * *", now_us))
        spans = json.dumps([[later_us, DAY_US, 7]])
        orders.append((n, n, n, agent, now_us, now_us + 7 * DAY_US, spans, said, now_us, renew_us, later_us))
    connection.executemany(
        "INSERT INTO jobs (id, name, command, agent_id, created_at_us, updated_at_us, version, planned_version)"
        " VALUES (?, ?, 'true', ?, 0, 0, 1, 1)",
        jobs,
    )
    connection.executemany(
        "INSERT INTO schedules (id, job_id, cron, zone, created_at_us) VALUES (?, ?, ?, 'UTC', ?)", schedules
    )
    connection.executemany(
        "INSERT INTO orders (id, schedule_id, job_id, agent_id, version, state, valid_from_us, valid_until_us,"
        " instants, specification, acknowledged_version, accounted_until_us, renew_at_us, next_instant_us)"
        " VALUES (?, ?, ?, ?, 1, 'active', ?, ?, ?, ?, 1, ?, ?, ?)",
        orders,
    )


def _make_due(count: int, now_us: int, transaction: Transaction) -> None:
    """The first `count` are due now, and the master submits them itself: their jobs have a limit."""
    execute = transaction.connection.execute
    execute("UPDATE jobs SET limits = ? WHERE id <= ?", (LIMITS, count))
    # Every minute; the one that has just begun is not accounted for.
    minute_us = now_us // 60_000_000 * 60_000_000
    execute("UPDATE schedules SET cron = '* * * * *' WHERE id <= ?", (count,))
    values = (now_us - HOUR_US, minute_us - SECOND_US, minute_us, count)
    query = (
        "UPDATE orders SET by_master = 1, valid_from_us = ?, accounted_until_us = ?, next_instant_us = ? WHERE id <= ?"
    )
    execute(query, values)


def _settle(transaction: Transaction) -> None:
    """What was due is over: the next of it is in the night."""
    execute = transaction.connection.execute
    later = "(SELECT max(next_instant_us) FROM orders)"
    execute(f"UPDATE orders SET by_master = 0, next_instant_us = {later} WHERE by_master = 1")
    execute("UPDATE jobs SET limits = '{}' WHERE limits != '{}'")


async def _measure(directory: Path, size: int, seconds: float, due: int, herd: int) -> dict[str, Any]:
    async with _office(directory) as store:
        clock = SystemClock()
        for first in range(1, size + 1, 5_000):
            await store.write(partial(_fill, first, min(size, first + 4_999), clock.utc_us()))
        scheduler = Scheduler(store, clock)
        figures: dict[str, Any] = {"look_ms": await _look(store, clock)}
        await scheduler.turn()
        figures["idle_cpu_share"] = await _idle(scheduler, seconds)
        await store.write(partial(_make_due, min(DUE, size), clock.utc_us()))
        figures[f"{DUE} due, by the master"] = await _turn(scheduler, store)
        await store.write(_settle)
        await scheduler.turn()
        await store.write(partial(_change, min(DUE, size)))
        figures[f"{DUE} changed jobs planned"] = await _turn(scheduler, store)
        if due:
            await store.write(partial(_make_due, due, clock.utc_us()))
            figures[f"{due} due, by the master"] = await _turn(scheduler, store)
            await store.write(_settle)
            await scheduler.turn()
        if herd:
            await store.write(partial(_herd, herd, clock.utc_us()))
            figures[f"{herd} renewals at once"] = await _turn(scheduler, store)
        return figures


def _change(count: int, transaction: Transaction) -> None:
    transaction.connection.execute("UPDATE jobs SET version = version + 1 WHERE id <= ?", (count,))


def _herd(count: int, now_us: int, transaction: Transaction) -> None:
    transaction.connection.execute("UPDATE orders SET renew_at_us = ? WHERE id <= ?", (now_us, count))


async def _look(store: Store, clock: SystemClock) -> float:
    """Milliseconds of one look, the middle of 50, on the reading connection alone."""

    def query(connection: sqlite3.Connection) -> float:
        found = []
        for _ in range(50):
            began = time.thread_time()
            look(connection, clock.utc_us())
            found.append((time.thread_time() - began) * 1000)
        return sorted(found)[25]

    return round((await store.read(query))[0], 3)


async def _idle(scheduler: Scheduler, seconds: float) -> float:
    """The share of one core that the process takes while the loop of the scheduler has nothing to do."""
    loop = asyncio.create_task(scheduler.run())
    await asyncio.sleep(1)
    began, cpu = time.monotonic(), time.process_time()
    await asyncio.sleep(seconds)
    share = (time.process_time() - cpu) / (time.monotonic() - began)
    loop.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await loop
    return round(share, 4)


async def _turn(scheduler: Scheduler, store: Store) -> dict[str, Any]:
    """What one turn takes until nothing is left to do: seconds of processor and of the wall, and runs that it made."""

    def count(connection: sqlite3.Connection) -> int:
        return int(connection.execute("SELECT count(*) FROM runs").fetchone()[0])

    before = (await store.read(count))[0]
    began, cpu = time.monotonic(), time.process_time()
    await scheduler.turn()
    took = {"cpu_s": round(time.process_time() - cpu, 2), "wall_s": round(time.monotonic() - began, 2)}
    return {**took, "runs": (await store.read(count))[0] - before}
