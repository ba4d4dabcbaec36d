"""The store of a node in office: everything that an application writes or reads goes through here.

Threads: `Store` itself lives in one event loop. A writer thread runs `Writer`; a sync thread fsyncs the journal while
the writer goes on; a few reader threads run queries. All callbacks are called in the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from replication.control import ControlFile
from replication.core.request import DATABASE_FILE, Kind
from replication.core.types import Epoch, Position
from replication.errors import Closed, OutcomeUnknown, ReplicationError, Unavailable
from replication.files import Disk, object_file
from replication.gate import Gate
from replication.journal import Journal
from replication.page_sums import PageSums
from replication.process import end_process
from replication.readers import READ_S, Dress, Readers
from replication.store_threads import Answers, StoreThreads, Task, Write
from replication.writer import Change, Group, Transaction, Writer

__all__ = ["Store", "Transaction"]

T = TypeVar("T")
OUTCOME_S = 5.0
CONFIRM_S = 1.0
ROOM_AGAIN_S = 0.5


class Store:
    """Open with `Store.open`; the caller sets the commit sequence with `gate.advance` from then on.

    `on_request(sequence, encoded, at)` is called for each request as soon as it is appended, while the fsync runs
    (`at`: monotonic seconds); `on_fsynced(sequence)` when it is durable here. `fatal` is called, in whichever thread,
    when the journal or SQLite's log cannot be trusted any more; it must end the process.
    """

    def __init__(
        self,
        disk: Disk,
        journal: Journal,
        writer: Writer,
        gate: Gate,
        on_request: Callable[[int, bytes, float], None],
        on_fsynced: Callable[[int], None],
        fatal: Callable[[BaseException], None],
    ) -> None:
        self._disk = disk
        self._journal = journal
        self._writer = writer
        self.epoch = writer.epoch
        self.gate = gate
        self.on_request = on_request
        self.on_fsynced = on_fsynced
        self._loop = asyncio.get_running_loop()
        self._readers = Readers(str(disk.path(DATABASE_FILE)))
        self._fatal = fatal
        self._threads = StoreThreads(writer, journal, gate, self._readers, self._journaled, self._synced, fatal)
        self._frozen = ""
        self._closed = False
        self._fsynced = journal.synced
        self._commit_wanted = 0
        self._ungated: deque[tuple[int, Answers]] = deque()
        self._open_writes: deque[Write] = deque()
        self._ticker: asyncio.TimerHandle | None = None
        self._without_room: asyncio.TimerHandle | None = None

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
        on_request: Callable[[int, bytes, float], None] = lambda sequence, encoded, at: None,
        on_fsynced: Callable[[int], None] = lambda sequence: None,
        fatal: Callable[[BaseException], None] = end_process,
    ) -> Store:
        """Open SQLite on files that an Applier has just redone to the end of the journal, with its page sums.

        `commit` is the commit sequence so far. The first thing the caller writes is EPOCH, by `append_control_request`.
        """
        gate = Gate(commit)
        writer = await asyncio.to_thread(Writer, disk, journal, control, sums, epoch, lambda: gate.sequence)
        store = cls(disk, journal, writer, gate, on_request, on_fsynced, fatal)
        gate.admit = store._admit
        gate.note_captured(journal.last.sequence, store._loop.time())
        store._threads.start()
        return store

    # what an application calls

    async def write(self, change: Change[T], key: str = "") -> tuple[T, int]:
        """Run `change` in the next group; returns its value and sequence once that is committed.

        An exception of the change is raised then, its rows undone. Raises Unavailable, DiskFull and Closed with nothing
        changed; OutcomeUnknown when it is not committed after 5 s (`key`: the caller's idempotency key, for the text).
        """
        if self.gate.stalled(self._loop.time()):
            why = "the standby does not confirm writes now"
            if self._without_room is not None:
                why = "the disk has no room for an object of an earlier change: free some"
            raise Unavailable(f"{why}; nothing was changed; `understudy status` says why")
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
        self, query: Callable[[sqlite3.Connection], T], wait_s: float = CONFIRM_S, dress: Dress | None = None
    ) -> tuple[T, int, bool]:
        """As `read`, but after `wait_s` returns anyway; the last member says whether it is committed. Never act on it
        when it is not. `dress`: on a connection that it has prepared once, before the snapshot."""
        if self._closed:
            raise Closed("this node is not in office; ask the master")
        value, sequence = await self._loop.run_in_executor(
            self._readers.pool, lambda: self._readers.run(query, READ_S, dress)
        )
        if sequence > self.gate.sequence and wait_s > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):  # wait_for of Python 3.11 can swallow a cancellation
                    await self.gate.wait(sequence)
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
        return self._writer.checksum

    @property
    def newest(self) -> tuple[Position, int]:
        """The last request journaled and the checksum after it, of one moment: the writer's thread goes on."""
        return self._writer.newest

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
        self._writer.keep_from = sequence

    async def append_control_request(self, kind: Kind, note: bytes) -> Position:
        """Append EPOCH, HANDOFF, ABORT or CLOSED in order with the groups; returns its place, not yet durable.

        After HANDOFF and CLOSED the store is frozen: only ABORT (then `thaw`) may follow.
        """
        if kind in (Kind.HANDOFF, Kind.CLOSED):
            await self.freeze("this node hands over office" if kind == Kind.HANDOFF else "this node is stopping")

        def append() -> Position:
            position, encoded = self._writer.append_control(kind, note)
            self._threads.announce(Group(position.sequence, encoded), [])
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
        return await self._in_writer(self._threads.checkpoint)

    async def run_in_writer(self, function: Callable[[Writer], T]) -> T:
        """Run something between two groups, in the writer thread: pinning a copy, for one."""

        return await self._in_writer(lambda: function(self._writer))

    async def close(self) -> None:
        """Finish the queue, close readers first and the writer last, without a checkpoint. Idempotent.

        What was not committed raises OutcomeUnknown; waiters raise Closed. Then an Applier may redo the files.
        """
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._threads.stop_writer)
        await asyncio.to_thread(self._threads.stop_sync)
        await asyncio.to_thread(self._readers.close)
        await asyncio.sleep(0)
        self.gate.close(Closed("this node left office; ask the master"))
        for write in self._open_writes:
            if not write.future.done():
                write.future.set_exception(OutcomeUnknown(write.sequence, write.key))
        self._open_writes.clear()
        for timer in (self._ticker, self._without_room):
            if timer is not None:
                timer.cancel()
        try:
            await asyncio.to_thread(self._writer.close)
        except ReplicationError as error:
            self._fatal(error)

    # in the loop

    async def _submit(self, change: Change[T], gated: bool, key: str) -> tuple[T, int]:
        if self._closed:
            raise Closed("this node is not in office; ask the master")
        if self._frozen:
            raise Unavailable(f"{self._frozen}; nothing was changed, try again")
        now = self._loop.time()
        write = Write(change, self._loop.create_future(), gated, key, now + OUTCOME_S)
        self._open_writes.append(write)
        if self._ticker is None:
            self._ticker = self._loop.call_later(OUTCOME_S, self._expire)
        self._threads.queue.put(write)
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
        task = Task(run, self._loop.create_future())
        self._threads.queue.put(task)
        result: T = await task.future
        return result

    def _journaled(self, group: Group, answers: Answers, at: float) -> None:
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

    def _answer(self, sequence: int, answers: Answers) -> None:
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
        self.gate.advance(self._commit_wanted)

    def _admit(self, commit: int) -> int:
        """Write the objects up to a new commit sequence; those whose commit is not durable yet wait for a mark.

        An object without room holds the commit back until there is some. One that cannot be written ends the process.
        """
        allowed = self._writer.objects.allowed(commit, self._journal.synced_commit)
        if allowed < commit:
            self._commit_wanted = commit
            self._threads.mark_commit(commit)
        try:
            written = self._writer.objects.apply(allowed)
        except OSError as error:
            self._fatal(error)
            raise
        if written < allowed:
            self._commit_wanted = commit
            self._without_room = self._without_room or self._loop.call_later(ROOM_AGAIN_S, self._look_for_room)
        return written

    def _look_for_room(self) -> None:
        self._without_room = None
        if not self._closed:
            self.gate.advance(self._commit_wanted)
