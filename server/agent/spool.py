"""The agent's durable memory: one SQLite file, one fsynced transaction for each batch of saves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite
import msgspec

from server.core.agent_memory import (
    DropChain,
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
    SaveChain,
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
from server.core.chain_messages import KeptChain
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
CREATE TABLE IF NOT EXISTS chains (workflow_run INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
"""
UNUSABLE = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
)
FREE_PAGES_KEPT = 256
SHRINK_PAGES = 1024
LOG_BYTES_KEPT = 4 * 1024 * 1024
_pack = msgspec.msgpack.encode
T = TypeVar("T")
Statement = tuple[str, list[tuple[Any, ...]]]


class SpoolUnusableError(Exception):
    """The file cannot be opened now: no room, no rights, an error of the disk. The text says which."""


class SpoolDamagedError(Exception):
    """The file is no spool any more, or not what was written into it. The text says what was found."""


class Connection(aiosqlite.Connection):
    """aiosqlite's connection and thread, given whole functions instead of single statements."""

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function in the connection's thread, in one go, also when the caller is cancelled meanwhile."""
        queue: Callable[..., Awaitable[T]] = self._execute  # what its own methods call, without types
        return await queue(function, self._conn)


class Spool:
    """Open with `open`; `commit` returns once its saves survive a power loss.

    All SQL of a call runs in one go, in the connection's thread: a call whose caller is cancelled is done all the same,
    and the next one comes after it (docs/decisions/0088).
    """

    def __init__(self, connection: Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        found = os.stat(path)
        self._place = f"{found.st_dev:x}:{found.st_ino:x}"

    @classmethod
    async def open(cls, data: Path) -> Spool:
        """Open or create `spool.db` in the agent's data directory, and look whether it is whole.

        Raises SpoolDamagedError and SpoolUnusableError.
        """
        path = data / SPOOL_FILE
        connection = Connection(lambda: _connection(path), iter_chunk_size=64)
        try:
            await asyncio.to_thread(lambda: path.open("ab").close())
            await connection
        except (OSError, sqlite3.Error) as error:
            raise SpoolUnusableError(str(error)) from error
        try:
            await connection.run(_prepare)
        except BaseException:
            await connection.close()
            raise
        return cls(connection, path)

    @property
    def place(self) -> str:
        """Names the file itself: a copy of it, also one beside it, is another place; a moved one is not."""
        return self._place

    async def load(self) -> Memory:
        """What the last committed batch left. Raises SpoolDamagedError."""
        return await self._connection.run(_load)

    async def commit(self, saves: Iterable[Save]) -> None:
        """Store a batch in one transaction. On an error nothing of it is stored and the exception is raised."""
        statements = _grouped(_coalesced(saves))
        if statements:
            await self._connection.run(lambda connection: _commit(connection, statements))

    async def close(self) -> None:
        """Close the file; what was committed stays."""
        await self._connection.close()


def _commit(connection: sqlite3.Connection, statements: list[Statement]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for text, rows in statements:
            connection.executemany(text, rows)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    if any(text.startswith("DELETE") for text, _ in statements):
        _shrink(connection)


def _shrink(connection: sqlite3.Connection) -> None:
    """Give pages back to the disk, a few at a time, above what is soon used again."""
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    if free > FREE_PAGES_KEPT:
        with contextlib.suppress(sqlite3.OperationalError):  # no room for the log of it now: at the next drop
            connection.executescript(f"PRAGMA incremental_vacuum({SHRINK_PAGES})")  # `execute` ends at the first page


def _load(connection: sqlite3.Connection) -> Memory:
    try:
        return _read(connection)
    except (msgspec.DecodeError, msgspec.ValidationError, sqlite3.Error, ValueError) as error:
        raise SpoolDamagedError(str(error)) from error


def _connection(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


def _prepare(connection: sqlite3.Connection) -> None:
    """Settings and tables; then SQLite looks whether the file is whole."""
    try:
        if not connection.execute("PRAGMA page_count").fetchone()[0]:
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA fullfsync=1")  # macOS; elsewhere it is the same as none
        connection.execute(f"PRAGMA journal_size_limit={LOG_BYTES_KEPT}")
        connection.executescript(_SCHEMA)
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except (sqlite3.Error, ValueError) as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        raise (SpoolUnusableError if code in UNUSABLE else SpoolDamagedError)(str(error)) from error
    if found != "ok":
        raise SpoolDamagedError(str(found))


def _read(connection: sqlite3.Connection) -> Memory:
    memory = Memory()
    decode = msgspec.msgpack.decode
    for (body,) in connection.execute("SELECT body FROM durable"):
        memory.durable = decode(body, type=Durable)
    for (body,) in connection.execute("SELECT body FROM runs"):
        memory.apply(SaveRun(decode(body, type=RunRecord)))
    for (body,) in connection.execute("SELECT body FROM orders ORDER BY id"):
        memory.apply(SaveOrder(decode(body, type=KeptOrder)))
    for row in connection.execute("SELECT schedule_id, instant_us, began FROM settled"):
        memory.apply(SaveSettled(row[0], row[1], bool(row[2])))
    for body, mark in connection.execute("SELECT body, mark FROM reports ORDER BY id"):
        report = decode(body, type=Report)
        memory.apply(SaveReport(report))
        if mark is not None:
            memory.apply(MarkReports((report.id,), decode(mark, type=Mark)))
    for (body,) in connection.execute("SELECT body FROM monitors ORDER BY id"):
        memory.apply(SaveMonitor(decode(body, type=KeptMonitor)))
    for row in connection.execute("SELECT monitor_id, number FROM event_numbers"):
        memory.apply(SaveNumber(row[0], row[1]))
    for monitor_id, path, body in connection.execute("SELECT monitor_id, path, body FROM seen"):
        memory.apply(SaveSeen(monitor_id, path, decode(body, type=Seen)))
    for request, body in connection.execute("SELECT request, body FROM requested"):
        memory.apply(SaveRequested(request, decode(body, type=Requested)))
    for (body,) in connection.execute("SELECT body FROM chains ORDER BY workflow_run"):
        memory.apply(SaveChain(decode(body, type=KeptChain)))
    return memory


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
        case SaveChain(kept):
            number = kept.chain.workflow_run
            return "INSERT OR REPLACE INTO chains (workflow_run, body) VALUES (?, ?)", [(number, _pack(kept))]
        case DropChain(number):
            return "DELETE FROM chains WHERE workflow_run = ?", [(number,)]
        case _:
            raise AssertionError(f"no statement for {type(save).__name__}")
