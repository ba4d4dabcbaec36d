"""The two threads behind a store: one runs groups through `Writer`, one fsyncs the journal meanwhile.

The event loop hands over writes and tasks by a queue and hears back by `call_soon_threadsafe`, once per group.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from replication import threads
from replication.errors import DiskFull, MustEnd, Unavailable
from replication.gate import Gate
from replication.journal import Journal
from replication.readers import Readers
from replication.writer import Change, Group, Outcome, Writer

GROUP_MAX = 256
CHECKPOINT_WAL_BYTES = 8 * 1024 * 1024
TRUNCATE_WAL_BYTES = 64 * 1024 * 1024
CHECKPOINT_WAIT_S = 1.0
HURRY_S = 0.25


@dataclass(slots=True, eq=False)
class Write:
    """One change that waits for its turn and then for the commit. `sequence` is 0 while it is queued."""

    change: Change[Any]
    future: asyncio.Future[tuple[Any, int]]
    gated: bool
    key: str
    expires_at: float
    sequence: int = 0


@dataclass(slots=True, eq=False)
class Task:
    """Something else to do in the writer thread, in order with the groups."""

    run: Callable[[], Any]
    future: asyncio.Future[Any]


class Stop:
    """The last item of the queue."""


Item = Write | Task | Stop
Answers = list[tuple[Write, Outcome]]


class StoreThreads:
    """Started by `start`, ended by `stop_writer` and then `stop_sync` (both block until the thread is gone).

    In the loop: `journaled(group, answers, at)` after each group, in order (`at`: monotonic seconds), and
    `synced(sequence)`. In the thread concerned: `fatal(error)`, which must end the process.
    """

    def __init__(
        self,
        writer: Writer,
        journal: Journal,
        gate: Gate,
        readers: Readers,
        journaled: Callable[[Group, Answers, float], None],
        synced: Callable[[int], None],
        fatal: Callable[[BaseException], None],
    ) -> None:
        self._writer = writer
        self._journal = journal
        self._gate = gate
        self._readers = readers
        self._journaled = journaled
        self._synced = synced
        self._fatal = fatal
        self._loop = asyncio.get_running_loop()
        self.queue: threads.SimpleQueue[Item] = threads.SimpleQueue()
        self._sync_wanted = threads.Event()
        self._stopping = False
        self._mark = 0
        self._preparing: threads.Thread | None = None
        self._next_checkpoint_bytes = CHECKPOINT_WAL_BYTES
        self._writing = threads.Thread(target=self._write_loop, name="store-writer", daemon=True)
        self._syncing = threads.Thread(target=self._sync_loop, name="store-sync", daemon=True)

    def start(self) -> None:
        """Begin to take items from the queue."""
        self._writing.start()
        self._syncing.start()

    def mark_commit(self, sequence: int) -> None:
        """Have a commit sequence recorded and fsynced; `synced` is called then."""
        self._mark = sequence
        self._sync_wanted.set()

    def stop_writer(self) -> None:
        """Finish the queue."""
        self.queue.put(Stop())
        self._writing.join()

    def stop_sync(self) -> None:
        """Fsync once more, then end."""
        self._stopping = True
        self._sync_wanted.set()
        self._syncing.join()
        if self._preparing is not None:
            self._preparing.join()

    def _write_loop(self) -> None:
        try:
            item = self.queue.get()
            while not isinstance(item, Stop):
                if isinstance(item, Task):
                    self._run_task(item)
                    item = self.queue.get()
                else:
                    item = self._run_writes(item)
        except BaseException as error:
            self._fatal(error)

    def _run_writes(self, first: Write) -> Item:
        """Run the writes that wait, as one group; returns the next item of the queue."""
        writes = [first]
        following: Item | None = None
        while len(writes) < GROUP_MAX and following is None:
            try:
                item = self.queue.get_nowait()
            except threads.Empty:
                break
            if isinstance(item, Write):
                writes.append(item)
            else:
                following = item
        try:
            group = self._writer.run_group([write.change for write in writes])
        except DiskFull as error:
            group = self._refused(writes, error)
        except sqlite3.Error as error:
            group = self._refused(writes, Unavailable(f"SQLite refused the group ({error}); nothing was changed"))
        self.announce(group, list(zip(writes, group.outcomes, strict=True)))
        if self._writer.wal_bytes > self._next_checkpoint_bytes:
            self.checkpoint()
        return following if following is not None else self.queue.get()

    def _refused(self, writes: list[Write], error: Exception) -> Group:
        return Group(self._journal.last.sequence, None, [Outcome(None, error) for _ in writes])

    def announce(self, group: Group, answers: Answers) -> None:
        if group.encoded is not None:
            self._sync_wanted.set()
        self._loop.call_soon_threadsafe(self._journaled, group, answers, threads.monotonic())

    def _run_task(self, task: Task) -> None:
        try:
            result = task.run()
        except MustEnd:
            raise
        except Exception as error:
            self._loop.call_soon_threadsafe(_set_error, task.future, error)
        else:
            self._loop.call_soon_threadsafe(_set_result, task.future, result)

    def checkpoint(self) -> bool:
        """Pause for the commit, then checkpoint. When readers hold it back and the log grows too long, they go.

        A full disk is no reason to stop: the log grows on until there is room.
        """
        done = False
        if self._gate.wait_in_thread(self._journal.last.sequence, CHECKPOINT_WAIT_S):
            with contextlib.suppress(DiskFull):
                done = self._writer.checkpoint()
            if not done and self._writer.wal_bytes > TRUNCATE_WAL_BYTES:
                try:
                    self._readers.pause(HURRY_S, CHECKPOINT_WAIT_S)
                    with contextlib.suppress(DiskFull):
                        done = self._writer.checkpoint(truncate=True)
                finally:
                    self._readers.resume()
        grown = 0 if done else self._writer.wal_bytes
        self._next_checkpoint_bytes = grown + CHECKPOINT_WAL_BYTES
        return done

    def _sync_loop(self) -> None:
        try:
            while not self._stopping:
                self._sync_wanted.wait()
                self._sync_wanted.clear()
                self._journal.mark_commit(self._mark)
                self._loop.call_soon_threadsafe(self._synced, self._journal.sync())
                if not self._journal.is_prepared and (self._preparing is None or not self._preparing.is_alive()):
                    self._preparing = threads.Thread(target=self._prepare, name="store-prepare", daemon=True)
                    self._preparing.start()
        except BaseException as error:
            self._fatal(error)

    def _prepare(self) -> None:
        """Have the next segment ready before it is needed; a full disk is answered where it matters, at a write."""
        try:
            with contextlib.suppress(DiskFull, OSError):
                self._journal.prepare()
        except BaseException as error:
            self._fatal(error)


def _set_result(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _set_error(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
