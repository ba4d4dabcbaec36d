"""The standby's half of a stream: append, fsync, acknowledge, then apply up to the commit sequence.

Takes a connection on which the master decided STREAM. Threads: one for journal appends and fsyncs, one for applying;
the event loop only moves frames. Nothing reaches a file before the commit sequence that allows it is durable here
(invariant 7), and nothing is acknowledged before its fsync (invariant 6).

Memory is bounded whatever this node's disk or the master does: beyond CREDIT_BYTES nothing more is read from the link,
and what waits to be applied is read back from the journal.

Protocol: docs/protocol.md, section 4.1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from replication import threads
from replication.core import codec
from replication.core.codec import FrameError
from replication.core.messages import Ack, Requests
from replication.core.request import peek
from replication.files import Disk
from replication.journal_thread import JournalThread
from replication.ports import Connection
from replication.redo import Applier
from replication.unapplied import Unapplied

ACK_INTERVAL_S = 1.0
CREDIT_BYTES = 32 * 1024 * 1024
CHECKPOINT_BYTES = 16 * 1024 * 1024
APPLY_S = 0.005
"""Applying waits for more so long: one turn of the thread for many small requests."""


class Receiver:
    """Runs until the connection ends. `on_progress` is called in the event loop after every fsync and every apply.

    `until` matters only while the applier is copying: when the journal durably holds it, redo runs from the pin and
    `on_copied` is called, in the apply thread.
    """

    def __init__(
        self,
        connection: Connection,
        disk: Disk,
        applier: Applier,
        *,
        until: int,
        on_progress: Callable[[], None],
        on_copied: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._disk = disk
        self._journal = applier.journal
        self._applier = applier
        self._until = until
        self._on_progress = on_progress
        self._on_copied = on_copied
        self._since_checkpoint = 0
        self._unsynced_bytes = 0
        self._parts: list[bytes] = []
        self._room = asyncio.Event()
        self._unapplied = Unapplied(self._journal)
        self._appliable = asyncio.Event()
        self._to_tell = asyncio.Event()
        self._free_bytes = disk.free_bytes()
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._apply_thread = threads.ThreadPoolExecutor(1, "apply")
        self._received = self._journal.last.sequence
        self.commit = 0
        self.bytes_received = 0
        self._journaling = JournalThread(self._journal, self._journaled, self._fail)

    async def run(self) -> None:
        """Receive until cancelled, or raise ConnectionError, ReplicationError or FrameError. Call it once."""
        jobs = [self._read_frames(), self._apply(), self._acknowledge(), self._tick(), self._measure()]
        tasks = [asyncio.ensure_future(job) for job in jobs]
        try:
            done, _ = await asyncio.wait([*tasks, self._failure], return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            try:
                await threads.ended(tasks)
            finally:
                await threads.finished(self._stop_threads)
                if not self._failure.cancel():
                    self._failure.exception()  # a second failure while this one ends the stream is not left unasked

    def _stop_threads(self) -> None:
        self._journaling.stop()
        self._apply_thread.shutdown()

    def _fail(self, error: BaseException) -> None:
        if not self._failure.done():
            self._failure.set_exception(error)

    async def _read_frames(self) -> None:
        while True:
            message = codec.decode(await self._connection.receive())
            if not isinstance(message, Requests):
                raise FrameError(f"a {type(message).__name__} frame in a stream of requests")
            self._take(message)
            while self._unsynced_bytes >= CREDIT_BYTES:
                self._room.clear()
                await self._room.wait()

    def _take(self, message: Requests) -> None:
        self.commit = self._journaling.commit = max(self.commit, message.commit)
        self.bytes_received += sum(map(len, message.requests))
        if message.more:
            self._parts += message.requests
        elif self._parts:
            self._put([b"".join([*self._parts, *message.requests])])
            self._parts.clear()
        elif message.requests:
            self._put(message.requests)
        else:
            self._journaling.put_commit()

    def _put(self, requests: Sequence[bytes]) -> None:
        self._received = peek(requests[-1]).sequence
        for request in requests:
            self._unsynced_bytes += len(request)
            self._journaling.put(request)

    def _journaled(self, batch: list[bytes], last: int) -> None:
        """These requests, and the commit sequence that came with them, are durable here."""
        self._unsynced_bytes -= sum(map(len, batch))
        self._room.set()
        if batch:
            self._unapplied.add([] if self._applier.copying else batch, last)
            self._to_tell.set()
        self._appliable.set()

    async def _apply(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._appliable.wait()
            self._appliable.clear()
            applied, upto = self._applier.applied, min(self._journal.synced_commit, self._journal.synced)
            if applied < upto or self._applier.copying:
                ready = self._unapplied.take(applied, upto)
                await loop.run_in_executor(self._apply_thread, self._apply_now, upto, ready)
                self._to_tell.set()
                if applied < self._applier.applied < upto:
                    self._appliable.set()
                else:
                    await asyncio.sleep(APPLY_S)

    def _apply_now(self, upto: int, ready: list[bytes]) -> None:
        """In the apply thread: some of what is due. A finished copy first redoes from its pin, and `on_copied` persists
        the state."""
        if self._applier.copying:
            if upto < self._until:
                return
            self._applier.finish_copy(self._until)
            self._on_copied()
        ready = ready or self._unapplied.read_back(self._applier.applied, upto)
        if not ready:
            return
        self._applier.apply(ready, min(self._applier.applied + len(ready), upto))
        self._since_checkpoint += sum(map(len, ready))
        if self._since_checkpoint >= CHECKPOINT_BYTES:
            self._since_checkpoint = 0
            self._applier.checkpoint()

    async def _tick(self) -> None:
        """An acknowledgement at least each second."""
        while True:
            self._to_tell.set()
            await asyncio.sleep(ACK_INTERVAL_S)

    async def _measure(self) -> None:
        """Beside the acknowledgements: a disk that hangs must not silence them."""
        while True:
            self._free_bytes = await asyncio.to_thread(self._disk.free_bytes)
            await asyncio.sleep(ACK_INTERVAL_S)

    async def _acknowledge(self) -> None:
        """Tell what is durable and applied, once for all that happened since the last time."""
        while True:
            await self._to_tell.wait()
            self._to_tell.clear()
            ack = Ack(
                received=self._received,
                fsynced=self._journal.synced,
                applied=self._applier.applied,
                checksum=self._applier.checksum,
                disk_free_bytes=self._free_bytes,
                credit=CREDIT_BYTES - self._unapplied.bytes,
            )
            await self._connection.send(codec.encode(ack))
            self._on_progress()
