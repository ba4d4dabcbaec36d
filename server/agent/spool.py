"""The agent's durable memory: one SQLite file, one fsynced transaction for each batch of saves."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import aiosqlite
import msgspec

from server.core.agent_memory import (
    DropMonitor,
    DropOrder,
    DropReports,
    DropRequested,
    DropRuns,
    DropSeen,
    Durable,
    KeptMonitor,
    KeptOrder,
    Mark,
    MarkReports,
    Memory,
    PruneSettled,
    Requested,
    RunRecord,
    Save,
    SaveDurable,
    SaveMonitor,
    SaveNumber,
    SaveOrder,
    SaveReport,
    SaveRequested,
    SaveRun,
    SaveSeen,
    SaveSettled,
)
from server.core.agent_wire import Report
from server.core.sightings import Seen

SPOOL_FILE = "spool.db"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS durable (id INTEGER PRIMARY KEY CHECK (id = 1), body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS runs (key TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS settled (
    schedule_id INTEGER NOT NULL, instant_us INTEGER NOT NULL, began INTEGER NOT NULL,
    PRIMARY KEY (schedule_id, instant_us)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reports (id INTEGER PRIMARY KEY, body BLOB NOT NULL, mark BLOB) STRICT;
CREATE TABLE IF NOT EXISTS monitors (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS event_numbers (monitor_id INTEGER PRIMARY KEY, number INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS seen (
    monitor_id INTEGER NOT NULL, path TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (monitor_id, path)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS requested (request TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT;
"""
_pack = msgspec.msgpack.encode
Statement = tuple[str, list[tuple[Any, ...]]]


class Spool:
    """Open with `open`; `commit` returns once its saves survive a power loss. One user at a time."""

    def __init__(self, connection: aiosqlite.Connection, place: str) -> None:
        self._connection = connection
        self._place = place

    @classmethod
    async def open(cls, data: Path) -> Spool:
        """Open or create `spool.db` in the agent's data directory."""
        connection = await aiosqlite.connect(data / SPOOL_FILE, isolation_level=None)
        await connection.execute("PRAGMA journal_mode=WAL")
        await connection.execute("PRAGMA synchronous=FULL")
        await connection.executescript(_SCHEMA)
        found = os.stat(data / SPOOL_FILE)
        return cls(connection, f"{found.st_dev:x}:{found.st_ino:x}")

    @property
    def place(self) -> str:
        """Names the file itself: a copy of it, also one beside it, is another place; a moved one is not."""
        return self._place

    async def load(self) -> Memory:
        """What the last committed batch left."""
        memory = Memory()
        async for (body,) in await self._connection.execute("SELECT body FROM durable"):
            memory.durable = msgspec.msgpack.decode(body, type=Durable)
        async for (body,) in await self._connection.execute("SELECT body FROM runs"):
            memory.apply(SaveRun(msgspec.msgpack.decode(body, type=RunRecord)))
        async for (body,) in await self._connection.execute("SELECT body FROM orders ORDER BY id"):
            memory.apply(SaveOrder(msgspec.msgpack.decode(body, type=KeptOrder)))
        async for row in await self._connection.execute("SELECT schedule_id, instant_us, began FROM settled"):
            memory.apply(SaveSettled(row[0], row[1], bool(row[2])))
        async for body, mark in await self._connection.execute("SELECT body, mark FROM reports ORDER BY id"):
            report = msgspec.msgpack.decode(body, type=Report)
            memory.apply(SaveReport(report))
            if mark is not None:
                memory.apply(MarkReports((report.id,), msgspec.msgpack.decode(mark, type=Mark)))
        await self._load_monitors(memory)
        return memory

    async def _load_monitors(self, memory: Memory) -> None:
        async for (body,) in await self._connection.execute("SELECT body FROM monitors ORDER BY id"):
            memory.apply(SaveMonitor(msgspec.msgpack.decode(body, type=KeptMonitor)))
        async for row in await self._connection.execute("SELECT monitor_id, number FROM event_numbers"):
            memory.apply(SaveNumber(row[0], row[1]))
        async for monitor_id, path, body in await self._connection.execute("SELECT monitor_id, path, body FROM seen"):
            memory.apply(SaveSeen(monitor_id, path, msgspec.msgpack.decode(body, type=Seen)))
        async for request, body in await self._connection.execute("SELECT request, body FROM requested"):
            memory.apply(SaveRequested(request, msgspec.msgpack.decode(body, type=Requested)))

    async def commit(self, saves: Iterable[Save]) -> None:
        """Store a batch in one transaction. On an error nothing of it is stored and the exception is raised."""
        statements = _grouped(_coalesced(saves))
        if not statements:
            return
        await self._connection.execute("BEGIN IMMEDIATE")
        try:
            for text, rows in statements:
                await self._connection.executemany(text, rows)
            await self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                await self._connection.execute("ROLLBACK")
            raise

    async def close(self) -> None:
        """Close the file; what was committed stays."""
        await self._connection.close()


def _coalesced(saves: Iterable[Save]) -> list[Save]:
    """Of several `SaveDurable` only the last is stored: they are one row."""
    everything = list(saves)
    last = max((i for i, save in enumerate(everything) if isinstance(save, SaveDurable)), default=-1)
    return [save for i, save in enumerate(everything) if i == last or not isinstance(save, SaveDurable)]


def _grouped(saves: Iterable[Save]) -> list[Statement]:
    """One statement for many saves, since each crosses to the thread of the database and back.

    Saves of different tables may change places; those of one table stay in order.
    """
    tables: dict[str, list[Statement]] = {}
    for text, rows in chain.from_iterable(map(statements_of, saves)):
        found = tables.setdefault(_table(text), [])
        if found and found[-1][0] == text:
            found[-1][1].extend(rows)
        else:
            found.append((text, rows))
    return [one for found in tables.values() for one in found]


@cache
def _table(text: str) -> str:
    """The one table that a statement changes."""
    found = re.search(r"\b(?:INTO|FROM|UPDATE) (\w+)", text)
    assert found is not None, text
    return found[1]


def statement(save: Save) -> Statement:
    """The SQL that does to the tables what `Memory.apply` does to the values."""
    match save:
        case SaveDurable(durable):
            return "INSERT OR REPLACE INTO durable (id, body) VALUES (1, ?)", [(_pack(durable),)]
        case SaveRun(run):
            return "INSERT OR REPLACE INTO runs (key, body) VALUES (?, ?)", [(run.key, _pack(run))]
        case DropRuns(keys):
            return "DELETE FROM runs WHERE key = ?", [(key,) for key in keys]
        case SaveOrder(kept):
            return "INSERT OR REPLACE INTO orders (id, body) VALUES (?, ?)", [(kept.order.id, _pack(kept))]
        case DropOrder(order_id):
            return "DELETE FROM orders WHERE id = ?", [(order_id,)]
        case SaveSettled(schedule_id, instant_us, began):
            return "INSERT OR REPLACE INTO settled VALUES (?, ?, ?)", [(schedule_id, instant_us, int(began))]
        case PruneSettled(schedule_id, before_us):
            return "DELETE FROM settled WHERE schedule_id = ? AND instant_us < ?", [(schedule_id, before_us)]
        case SaveReport(report):
            text = "INSERT INTO reports (id, body) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body"
            return text, [(report.id, _pack(report))]
        case MarkReports(ids, mark):
            packed = _pack(mark)
            return "UPDATE reports SET mark = ? WHERE id = ?", [(packed, number) for number in ids]
        case DropReports(ids):
            return "DELETE FROM reports WHERE id = ?", [(number,) for number in ids]
        case _:
            return _monitor_statement(save)


def statements_of(save: Save) -> list[Statement]:
    """All SQL of a save, in order."""
    if isinstance(save, DropMonitor):
        return [("DELETE FROM seen WHERE monitor_id = ?", [(save.monitor_id,)]), statement(save)]
    return [statement(save)]


def _monitor_statement(save: Save) -> Statement:
    match save:
        case SaveMonitor(kept):
            return "INSERT OR REPLACE INTO monitors (id, body) VALUES (?, ?)", [(kept.monitor.id, _pack(kept))]
        case DropMonitor(monitor_id):
            return "DELETE FROM monitors WHERE id = ?", [(monitor_id,)]
        case SaveNumber(monitor_id, number):
            return "INSERT OR REPLACE INTO event_numbers VALUES (?, ?)", [(monitor_id, number)]
        case SaveSeen(monitor_id, path, seen):
            return "INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", [(monitor_id, path, _pack(seen))]
        case DropSeen(monitor_id, paths):
            return "DELETE FROM seen WHERE monitor_id = ? AND path = ?", [(monitor_id, path) for path in paths]
        case SaveRequested(request, requested):
            return "INSERT OR REPLACE INTO requested VALUES (?, ?)", [(request, _pack(requested))]
        case DropRequested(requests):
            return "DELETE FROM requested WHERE request = ?", [(request,) for request in requests]
        case _:
            raise AssertionError(f"no statement for {type(save).__name__}")
