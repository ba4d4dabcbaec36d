"""Read-only connections of the master's store, each in a thread of its own, each query with a deadline.

The deadline is a progress handler on the monotonic clock: SQLite asks it every thousand steps, so one lowered later (a
checkpoint that cannot wait) takes effect in a running query.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from replication import threads
from replication.errors import Closed, ReadTimeout
from replication.writer import connect

T = TypeVar("T")
READ_S = 30.0
_STEPS = 1000
_POSITION = "SELECT sequence FROM replication_position WHERE id = 1"


Dress = Callable[[sqlite3.Connection], None]
"""Prepares a connection that is kept for the queries that come with it: with temporary views, for one."""


class Reader:
    """One connection; used by one thread at a time. `deadline` (monotonic seconds) may be lowered by any thread."""

    def __init__(self, path: str, dress: Dress | None = None) -> None:
        self.connection = connect(path, read_only=True)
        self.deadline = float("inf")
        if dress is not None:
            dress(self.connection)
        self.connection.set_progress_handler(self._expired, _STEPS)

    def _expired(self) -> bool:
        return threads.monotonic() > self.deadline

    def run(self, query: Callable[[sqlite3.Connection], T], seconds: float) -> tuple[T, int]:
        """Run `query` in one snapshot; returns its value and the sequence that the snapshot holds.

        Raises ReadTimeout when the deadline passed; what the query raises otherwise.
        """
        self.deadline = threads.monotonic() + seconds
        self.connection.execute("BEGIN")
        try:
            sequence = read_sequence(self.connection)
            return query(self.connection), sequence
        except sqlite3.OperationalError as error:
            if self._expired():
                raise ReadTimeout("the query took too long and was interrupted: ask for a smaller part") from error
            raise
        finally:
            self.deadline = float("inf")
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")


def read_sequence(connection: sqlite3.Connection) -> int:
    """Return the sequence that this snapshot of the database holds; 0 before the first write."""
    try:
        row = connection.execute(_POSITION).fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return 0
        raise
    return int(row[0]) if row else 0


class Readers:
    """A small pool. `run` blocks: call it through `pool`. `pause` and `hurry` serve the checkpoint that cannot wait."""

    def __init__(self, path: str, count: int = 4) -> None:
        self._path = path
        self.pool = threads.ThreadPoolExecutor(count, thread_name_prefix="store-reader")
        self._mine = threads.local()
        self._all: list[Reader] = []
        self._state = threads.Condition()
        self._running = 0
        self._paused = False
        self._closed = False

    def run(
        self, query: Callable[[sqlite3.Connection], T], seconds: float = READ_S, dress: Dress | None = None
    ) -> tuple[T, int]:
        """Run a query in this pool thread's connection, or in the one that it keeps for `dress`.

        Raises Closed, ReadTimeout, or what the query raises.
        """
        with self._state:
            self._state.wait_for(lambda: not self._paused or self._closed, seconds)
            if self._closed:
                raise Closed("this node left office while the query waited; ask the master")
            self._running += 1
        try:
            return self._reader(dress).run(query, seconds)
        finally:
            with self._state:
                self._running -= 1
                self._state.notify_all()

    def _reader(self, dress: Dress | None) -> Reader:
        mine: dict[Dress | None, Reader] = self._mine.__dict__.setdefault("readers", {})
        reader = mine.get(dress)
        if reader is None:
            reader = mine[dress] = Reader(self._path, dress)
            with self._state:
                self._all.append(reader)
        return reader

    def pause(self, hurry_s: float, wait_s: float) -> bool:
        """Hold back new queries and give the running ones `hurry_s`; True once none runs. `resume` must follow."""
        with self._state:
            self._paused = True
            for reader in self._all:
                reader.deadline = min(reader.deadline, threads.monotonic() + hurry_s)
            return self._state.wait_for(lambda: self._running == 0, wait_s)

    def resume(self) -> None:
        """Let queries run again."""
        with self._state:
            self._paused = False
            self._state.notify_all()

    def close(self) -> None:
        """Interrupt what runs, wait for it, close the connections. Blocks; idempotent."""
        with self._state:
            self._closed = True
            for reader in self._all:
                reader.deadline = 0.0
            self._state.notify_all()
        self.pool.shutdown(wait=True, cancel_futures=True)
        for reader in self._all:
            reader.connection.close()
        self._all.clear()
