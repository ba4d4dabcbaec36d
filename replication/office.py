"""What exists only while this node is in office: the open store, the commit rule, the window that feeds the senders.

Opened and closed by the node, one after the other, never twice at once. Between OfficeClosed and the next opening the
files belong to an Applier again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from replication import threads
from replication.control import ControlFile
from replication.core.backlog import BacklogMeter
from replication.core.commit import CommitRule
from replication.core.messages import Ack
from replication.core.request import Kind
from replication.core.types import Epoch, NodeId, Position
from replication.errors import Closed
from replication.files import Disk
from replication.journal import Journal
from replication.page_sums import PageSums
from replication.ports import Application, Opening
from replication.sender import Window
from replication.store import Store


class Office:
    """One term of office. `fatal` ends the process when the journal or the application breaks."""

    def __init__(
        self,
        disk: Disk,
        journal: Journal,
        control: ControlFile,
        rule: CommitRule,
        fatal: Callable[[BaseException], None],
    ) -> None:
        self._disk = disk
        self._journal = journal
        self._control = control
        self._fatal = fatal
        self._application_task: asyncio.Task[None] | None = None
        self._application: Application | None = None
        self.rule = rule
        self.window = Window()
        self.meters: dict[NodeId, BacklogMeter] = {}
        self.store: Store | None = None
        self.ready = False

    async def open(self, epoch: Epoch, note: bytes, sums: PageSums) -> Position:
        """Open the store on redone files and append EPOCH; returns its place, not yet committed."""
        self.window.restart(self._journal.last.sequence + 1)
        self.rule.restart(self._journal.recorded_commit, self._journal.synced)
        self.store = await Store.open(
            self._disk,
            self._journal,
            self._control,
            sums,
            epoch,
            commit=self.rule.sequence,
            on_request=self._journaled,
            on_fsynced=lambda sequence: self._commit(self.rule.local(sequence)),
            fatal=self._fatal,
        )
        return await self.store.append_control_request(Kind.EPOCH, note)

    def start(self, application: Application, opening: Opening, committed_from: int) -> None:
        """Open the application as soon as EPOCH is committed."""
        self._application_task = asyncio.create_task(self._start(application, opening, committed_from))

    async def _start(self, application: Application, opening: Opening, sequence: int) -> None:
        assert self.store is not None
        try:
            await self.store.committed(sequence)
            self._application = application
            await application.opened(self.store, opening)
            self.ready = True
        except Closed:
            return
        except Exception as error:
            self._fatal(error)

    async def close_application(self) -> None:
        """Stop everything that uses the store; it stays open for CLOSED. Idempotent."""
        self.ready = False
        task, self._application_task = self._application_task, None
        if task is None:
            return
        if self._application is None:
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if self._application is not None:
            await self._application.closing()

    async def close(self) -> None:
        """Close the application, then SQLite. What was not committed stays journaled and unacknowledged."""
        await self.close_application()
        if self.store is not None:
            await self.store.close()

    def acknowledged(self, peer: NodeId, ack: Ack, is_counted: bool) -> None:
        """A follower reported; if it is counted, the gate opens for what is committed by it."""
        if peer in self.meters:
            self.meters[peer].acknowledged(ack.fsynced)
        if is_counted:
            self._commit(self.rule.peer(peer, ack.fsynced))

    def require(self, nodes: frozenset[NodeId]) -> None:
        """Change whose fsync is needed."""
        self._commit(self.rule.require(nodes))

    async def let_go(self) -> None:
        """Drop what the journal keeps for nobody any more, without waiting for a checkpoint."""
        if self.store is not None:
            await self.store.run_in_writer(lambda writer: writer.forget())

    def measure(self, peer: NodeId, fsynced: int) -> None:
        """Begin to count the backlog of a follower that stands at `fsynced`."""
        meter = self.meters.setdefault(peer, BacklogMeter())
        last = self._journal.last.sequence
        meter.restart(last, fsynced, self._journal.bytes_behind(fsynced), threads.monotonic())

    def _journaled(self, sequence: int, encoded: bytes, at: float) -> None:
        self.window.append(encoded)
        for meter in self.meters.values():
            meter.journaled(sequence, len(encoded), at)

    def _commit(self, sequence: int) -> None:
        if self.store is not None and sequence > self.store.gate.sequence:
            self.store.gate.advance(sequence)
            self.window.ring()
