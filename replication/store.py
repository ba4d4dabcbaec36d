"""The store of a node in office: everything that an application writes or reads goes through here.

Threads: `Store` itself lives in one event loop. A writer thread runs `Writer`; a sync thread fsyncs the journal while
the writer goes on; a few reader threads run queries. All callbacks are called in the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from replication.control import ControlFile
from replication.core.request import DATABASE_FILE, Kind
from replication.core.types import Epoch, Position
from replication.errors import Closed, DiskFull, JournalFailed, OutcomeUnknown, Unavailable
from replication.files import Disk, object_file
from replication.gate import Gate
from replication.journal import Journal
from replication.page_sums import PageSums
from replication.process import end_process
from replication.readers import READ_S, Readers
from replication.writer import Change, Group, Outcome, Transaction, Writer

__all__ = ["Store", "Transaction"]

T = TypeVar("T")
GROUP_MAX = 256
OUTCOME_S = 5.0
CONFIRM_S = 1.0
CHECKPOINT_WAL_BYTES = 8 * 1024 * 1024
TRUNCATE_WAL_BYTES = 64 * 1024 * 1024
CHECKPOINT_WAIT_S = 1.0
HURRY_S = 0.25


@dataclass(slots=True, eq=False)
class _Write:
    change: Change[Any]
    future: asyncio.Future[tuple[Any, int]]
    gated: bool
    key: str
    expires_at: float
    sequence: int = 0


@dataclass(slots=True, eq=False)
class _Task:
    """Something else to do in the writer thread, in order with the groups."""

    run: Callable[[], Any]
    future: asyncio.Future[Any]


class _Stop:
    """The last item of the queue."""


_Item = _Write | _Task | _Stop


class Store:
    """Open with `Store.open`; the caller sets the commit sequence with `gate.advance` from then on.

    `on_request(sequence, encoded, at)` is called for each request as soon as it is appended, while the fsync runs
    (`at`: monotonic seconds); `on_fsynced(sequence)` when it is durable here. `fatal` is called, in whichever thread,
    when the journal or SQLite's log cannot be trusted any more; it must end the process.
    """

    def __init__(self, disk: Disk, journal: Journal, control: ControlFile, epoch: Epoch, commit: int) -> None:
        self._disk = disk
        self._journal = journal
        self._control = control
        self.epoch = epoch
        self._loop = asyncio.get_running_loop()
        self._writer: Writer | None = None
        self.gate = Gate(commit, self._apply_objects)
        self.gate.note_captured(journal.last.sequence, self._loop.time())
        self.on_request: Callable[[int, bytes, float], None] = lambda sequence, encoded, at: None
        self.on_fsynced: Callable[[int], None] = lambda sequence: None
        self.fatal: Callable[[BaseException], None] = end_process
        self._queue: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._sync_wanted = threading.Event()
        self._stopping = False
        self._frozen = ""
        self._closed = False
        self._fsynced = journal.synced
        self._ungated: deque[tuple[int, list[tuple[_Write, Outcome]]]] = deque()
        self._open_writes: deque[_Write] = deque()
        self._ticker: asyncio.TimerHandle | None = None
        self._next_checkpoint_bytes = CHECKPOINT_WAL_BYTES
        self._readers = Readers(str(disk.path(DATABASE_FILE)))
        self._threads = [
            threading.Thread(target=self._write_loop, name="store-writer", daemon=True),
            threading.Thread(target=self._sync_loop, name="store-sync", daemon=True),
        ]

    @classmethod
    async def open(
        cls,
        disk: Disk,
        journal: Journal,
        control: ControlFile,
        sums: PageSums,
        epoch: Epoch,
        *,
        commit: int,
        on_request: Callable[[int, bytes, float], None] | None = None,
        on_fsynced: Callable[[int], None] | None = None,
        fatal: Callable[[BaseException], None] | None = None,
    ) -> Store:
        """Open SQLite on files that an Applier has just redone to the end of the journal, with its page sums.

        `commit` is the commit sequence so far. The first thing the caller writes is EPOCH, by `append_control_request`.
        """
        store = cls(disk, journal, control, epoch, commit)
        store.on_request = on_request or store.on_request
        store.on_fsynced = on_fsynced or store.on_fsynced
        store.fatal = fatal or store.fatal
        store._writer = await asyncio.to_thread(
            lambda: Writer(disk, journal, control, sums, epoch, lambda: store.gate.sequence)
        )
        for thread in store._threads:
            thread.start()
        return store

    # what an application calls

    async def write(self, change: Change[T], key: str = "") -> tuple[T, int]:
        """Run `change` in the next group; returns its value and sequence once that is committed.

        An exception of the change is raised then, its rows undone. Raises Unavailable, DiskFull and Closed with nothing
        changed; OutcomeUnknown when it is not committed after 5 s (`key`: the caller's idempotency key, for the text).
        """
        if self.gate.stalled(self._loop.time()):
            raise Unavailable("the standby does not confirm writes at the moment; nothing was changed, try again")
        return await self._submit(change, True, key)

    async def write_ungated(self, change: Change[T]) -> tuple[T, int]:
        """As `write`, but returns when the request is durable on this node. Only for sign-in, sign-out and abort."""
        return await self._submit(change, False, "")

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> tuple[T, int]:
        """Run `query` in a snapshot; returns its value and the snapshot's sequence, committed.

        Waits up to 1 s for that; then raises Unavailable. Raises ReadTimeout after 30 s, Closed.
        """
        value, sequence, confirmed = await self.read_unconfirmed(query)
        if not confirmed:
            raise Unavailable("what was read is not confirmed by the standby yet; try again")
        return value, sequence

    async def read_unconfirmed(
        self, query: Callable[[sqlite3.Connection], T], wait_s: float = CONFIRM_S
    ) -> tuple[T, int, bool]:
        """As `read`, but after `wait_s` returns anyway; the last member says whether it is committed. Never act on it
        when it is not."""
        if self._closed:
            raise Closed("this node is not in office; ask the master")
        value, sequence = await self._loop.run_in_executor(self._readers.pool, lambda: self._readers.run(query, READ_S))
        if sequence > self.gate.sequence and wait_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.gate.wait(sequence), wait_s)
        return value, sequence, sequence <= self.gate.sequence

    async def committed(self, sequence: int) -> None:
        """Return once `sequence` is committed. Raises Closed when this node leaves office first."""
        await self.gate.wait(sequence)

    async def wait_past(self, sequence: int) -> int:
        """Return the commit sequence once it is above `sequence`. Raises Closed when this node leaves office first."""
        return await self.gate.wait(sequence + 1)

    def object_path(self, name: str) -> Path:
        """Return where an object's committed bytes are, for reading only. It may not exist. Raises BadName."""
        return self._disk.path(object_file(name))

    # what the node calls

    @property
    def checksum(self) -> int:
        """The rolling checksum after the last request journaled."""
        assert self._writer is not None
        return self._writer.checksum

    @property
    def last(self) -> Position:
        """The last request journaled here."""
        return self._journal.last

    @property
    def frozen(self) -> bool:
        """Whether writes are refused until `thaw`."""
        return bool(self._frozen)

    def set_keep_from(self, sequence: int | None) -> None:
        """Keep requests from `sequence` on in the journal whatever the checkpoint says: the lowest slot."""
        assert self._writer is not None
        self._writer.keep_from = sequence

    async def append_control_request(self, kind: Kind, note: bytes) -> Position:
        """Append EPOCH, HANDOFF, ABORT or CLOSED in order with the groups; returns its place, not yet durable.

        After HANDOFF and CLOSED the store is frozen: only ABORT (then `thaw`) may follow.
        """
        if kind in (Kind.HANDOFF, Kind.CLOSED):
            await self.freeze("this node hands over office" if kind == Kind.HANDOFF else "this node is stopping")

        def append() -> Position:
            assert self._writer is not None
            position, encoded = self._writer.append_control(kind, note)
            self._announce(Group(position.sequence, encoded), [])
            return position

        return await self._in_writer(append)

    async def freeze(self, why: str = "this node hands over office") -> int:
        """Refuse new writes from now on, finish the queue, return the last sequence journaled. Idempotent."""
        self._frozen = why
        return await self._in_writer(lambda: self._journal.last.sequence)

    def thaw(self) -> None:
        """Take writes again."""
        self._frozen = ""

    async def checkpoint(self) -> bool:
        """Checkpoint now; False when the commit did not catch up within a second or a reader held SQLite back."""
        return await self._in_writer(self._checkpoint)

    async def run_in_writer(self, function: Callable[[Writer], T]) -> T:
        """Run something between two groups, in the writer thread: pinning a copy, for one."""

        def run() -> T:
            assert self._writer is not None
            return function(self._writer)

        return await self._in_writer(run)

    async def close(self) -> None:
        """Finish the queue, close readers first and the writer last, without a checkpoint. Idempotent.

        What was not committed raises OutcomeUnknown; waiters raise Closed. Then an Applier may redo the files.
        """
        if self._closed:
            return
        self._closed = True
        self._queue.put(_Stop())
        await asyncio.to_thread(self._threads[0].join)
        self._stopping = True
        self._sync_wanted.set()
        await asyncio.to_thread(self._threads[1].join)
        await asyncio.to_thread(self._readers.close)
        await asyncio.sleep(0)
        self.gate.close(Closed("this node left office; ask the master"))
        for write in self._open_writes:
            if not write.future.done():
                write.future.set_exception(OutcomeUnknown(write.sequence, write.key))
        self._open_writes.clear()
        if self._ticker is not None:
            self._ticker.cancel()
        if self._writer is not None:
            await asyncio.to_thread(self._writer.close)

    # in the loop

    async def _submit(self, change: Change[T], gated: bool, key: str) -> tuple[T, int]:
        if self._closed:
            raise Closed("this node is not in office; ask the master")
        if self._frozen:
            raise Unavailable(f"{self._frozen}; nothing was changed, try again")
        now = self._loop.time()
        write = _Write(change, self._loop.create_future(), gated, key, now + OUTCOME_S)
        self._open_writes.append(write)
        if self._ticker is None:
            self._ticker = self._loop.call_later(OUTCOME_S, self._expire)
        self._queue.put(write)
        return await write.future

    def _expire(self) -> None:
        """Answer what waited too long; runs only while something is open."""
        now = self._loop.time()
        while self._open_writes and (self._open_writes[0].future.done() or self._open_writes[0].expires_at <= now):
            write = self._open_writes.popleft()
            if not write.future.done():
                write.future.set_exception(OutcomeUnknown(write.sequence, write.key))
        self._ticker = self._loop.call_later(0.25, self._expire) if self._open_writes else None

    async def _in_writer(self, run: Callable[[], T]) -> T:
        if self._closed:
            raise Closed("this node is not in office; ask the master")
        task = _Task(run, self._loop.create_future())
        self._queue.put(task)
        result: T = await task.future
        return result

    def _journaled(self, group: Group, answers: list[tuple[_Write, Outcome]], at: float) -> None:
        sequence = group.sequence
        if group.encoded is not None:
            self.gate.note_captured(sequence, self._loop.time())
            self.on_request(sequence, group.encoded, at)
        gated = [answer for answer in answers if answer[0].gated]
        ungated = [answer for answer in answers if not answer[0].gated]
        for write, _ in answers:
            write.sequence = sequence
        if gated:
            self.gate.when(sequence, lambda: self._answer(sequence, gated))
        if ungated:
            self._ungated.append((sequence, ungated))
            self._release_ungated()

    def _answer(self, sequence: int, answers: list[tuple[_Write, Outcome]]) -> None:
        if sequence > self.gate.sequence and answers[0][0].gated:
            return
        for write, outcome in answers:
            if write.future.done():
                continue
            if outcome.error is not None:
                write.future.set_exception(outcome.error)
            else:
                write.future.set_result((outcome.value, sequence))
        while self._open_writes and self._open_writes[0].future.done():
            self._open_writes.popleft()

    def _release_ungated(self) -> None:
        while self._ungated and self._ungated[0][0] <= self._fsynced:
            sequence, answers = self._ungated.popleft()
            self._answer(sequence, answers)

    def _synced(self, sequence: int) -> None:
        self._fsynced = sequence
        self._release_ungated()
        self.on_fsynced(sequence)

    def _apply_objects(self, commit: int) -> None:
        if self._writer is not None:
            self._writer.objects.apply(commit)

    # in the writer thread

    def _write_loop(self) -> None:
        try:
            item = self._queue.get()
            while not isinstance(item, _Stop):
                if isinstance(item, _Task):
                    self._run_task(item)
                    item = self._queue.get()
                else:
                    item = self._run_writes(item)
        except BaseException as error:
            self.fatal(error)

    def _run_writes(self, first: _Write) -> _Item:
        """Run the writes that wait, as one group; returns the next item of the queue."""
        writes = [first]
        following: _Item | None = None
        while len(writes) < GROUP_MAX and following is None:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if isinstance(item, _Write):
                writes.append(item)
            else:
                following = item
        assert self._writer is not None
        try:
            group = self._writer.run_group([write.change for write in writes])
        except DiskFull as error:
            group = self._refused(writes, error)
        except sqlite3.Error as error:
            group = self._refused(writes, Unavailable(f"SQLite refused the group ({error}); nothing was changed"))
        self._announce(group, list(zip(writes, group.outcomes, strict=True)))
        if self._writer.wal_bytes > self._next_checkpoint_bytes:
            self._checkpoint()
        return following if following is not None else self._queue.get()

    def _refused(self, writes: list[_Write], error: Exception) -> Group:
        return Group(self._journal.last.sequence, None, [Outcome(None, error) for _ in writes])

    def _announce(self, group: Group, answers: list[tuple[_Write, Outcome]]) -> None:
        if group.encoded is not None:
            self._sync_wanted.set()
        self._loop.call_soon_threadsafe(self._journaled, group, answers, time.monotonic())

    def _run_task(self, task: _Task) -> None:
        try:
            result = task.run()
        except JournalFailed:
            raise
        except Exception as error:
            self._loop.call_soon_threadsafe(_set_error, task.future, error)
        else:
            self._loop.call_soon_threadsafe(_set_result, task.future, result)

    def _checkpoint(self) -> bool:
        """Pause for the commit, then checkpoint. When readers hold it back and the log grows too long, they go."""
        assert self._writer is not None
        done = False
        if self.gate.wait_in_thread(self._journal.last.sequence, CHECKPOINT_WAIT_S):
            done = self._writer.checkpoint()
            if not done and self._writer.wal_bytes > TRUNCATE_WAL_BYTES:
                try:
                    self._readers.pause(HURRY_S, CHECKPOINT_WAIT_S)
                    done = self._writer.checkpoint(truncate=True)
                finally:
                    self._readers.resume()
        grown = 0 if done else self._writer.wal_bytes
        self._next_checkpoint_bytes = grown + CHECKPOINT_WAL_BYTES
        return done

    # in the sync thread

    def _sync_loop(self) -> None:
        try:
            while not self._stopping:
                self._sync_wanted.wait()
                self._sync_wanted.clear()
                self._loop.call_soon_threadsafe(self._synced, self._journal.sync())
                with contextlib.suppress(DiskFull):
                    self._journal.prepare()
        except BaseException as error:
            self.fatal(error)


def _set_result(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _set_error(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
