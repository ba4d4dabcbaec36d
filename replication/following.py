"""The standby's side of the bulk channel: dial the master, do what it decides, stream until told otherwise.

Runs as one task while the role machine wants a master followed. Nothing that the master never had is cut or overwritten
before it is kept as a fork.

Protocol: docs/protocol.md, sections 4, 4.2, 4.3, 4.6 and 5.4.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from replication import threads
from replication.compare import held_here
from replication.control import EpochStart
from replication.copy_target import CopyTarget, check_room
from replication.core import codec, events
from replication.core.codec import FrameError
from replication.core.events import Event
from replication.core.messages import PROTOCOL_MAX, Copied, Decide, Decision, Follow, Requests
from replication.core.request import MalformedRequest
from replication.core.types import NodeId, State
from replication.errors import ChecksumMismatch, DiskFull, MustEnd, ReplicationError
from replication.files import Disk
from replication.fork import BlockKeeper, Fork, keep_damage, keep_suffix, read_damage
from replication.fork_tip import describe_fork
from replication.journal import Journal
from replication.links import BULK
from replication.ports import Connection, Dialler, ForkReader
from replication.receiver import Receiver
from replication.redo import Applier
from replication.serving import expect, history_of
from replication.threads import finished
from replication.tickets import Tickets

RETRY_S = (0.1, 2.0)
TAIL_S = 10.0
REFUSED_S = 5.0
UNEQUAL_MAX = 2
UNEQUAL_S = 600.0


class Home(Protocol):
    """What following needs of its node."""

    disk: Disk
    applier: Applier
    cluster: str
    node: NodeId
    instance: str
    fork_reader: ForkReader | None
    compression: str

    def post(self, event: Event) -> None:
        """Give an event to the role machine."""

    async def settled(self, event: Event) -> None:
        """Give an event and return once its effects are carried out: the new state is durable."""

    def log(self, text: str, peer: NodeId) -> None:
        """A sentence for people."""

    def utc_us(self) -> int:
        """Wall clock, for display."""

    def reopen(self) -> Applier:
        """A new applier on the directory as it is now. Blocks: call it in a thread."""


class Following:
    """Follows one master. `problem` is a sentence for people while it cannot, else ""."""

    def __init__(self, home: Home, peer: NodeId, address: Callable[[], str], dial: Dialler) -> None:
        self._home = home
        self.peer = peer
        self._address = address
        self._dial = dial
        self._until = 0
        self._fork: Fork | None = None
        self._doubts = ""
        self._unequal = 0
        self._connection: Connection | None = None
        self.problem = ""
        self.receiver: Receiver | None = None
        self.copy: CopyTarget | None = None

    async def run(self) -> None:
        """Dial, follow, and begin again until cancelled. Raises MustEnd or OSError when this node's own disk fails."""
        delay = RETRY_S[0]
        while True:
            try:
                if self._doubts and not self._home.applier.copying:
                    await self._distrust_copy()
                self._connection = connection = await self._dialled()
                try:
                    self.problem = ""
                    delay = RETRY_S[0]
                    await self._follow(connection)
                finally:
                    self._connection = None
                    await connection.close()
            except (ConnectionError, TimeoutError) as error:
                self.problem = f"no stream from the master: {error}"
            except MustEnd:
                raise
            except ChecksumMismatch as error:
                delay = self._unequal_now(str(error))
            except DiskFull as error:
                self.problem = f"{error}; replication then goes on by itself"
                delay = RETRY_S[1]
            except (FrameError, MalformedRequest, ReplicationError) as error:
                self.problem = str(error)
                self._home.log(f"Begins again: {error}", self.peer)
            await asyncio.sleep(delay)
            delay = RETRY_S[1] if delay > RETRY_S[1] else min(delay * 1.5, RETRY_S[1])

    async def _dialled(self) -> Connection:
        try:
            return await self._dial(self.peer, self._address(), BULK)
        except OSError as error:
            raise ConnectionError(str(error)) from error

    def doubt(self, why: str) -> None:
        """This node's files were found damaged: end the stream and compare them with the master's anew."""
        self._doubts = why
        if self._connection is not None:
            self._closing = asyncio.ensure_future(self._connection.close())

    def _unequal_now(self, why: str) -> float:
        """What is here is not what the master wrote. Returns when to compare anew: later and later while copies that
        were finished are not equal either, because then a disk is damaged and a copy heals nothing."""
        self._doubts, self._until = why, 0
        self._home.log(f"The copy differs from the master: {why}. Compares it anew.", self.peer)
        if not self._home.applier.copying:
            return RETRY_S[0]
        self._unequal += 1
        if self._unequal <= UNEQUAL_MAX:
            return RETRY_S[0]
        wait_s = min(2.0 ** (self._unequal - UNEQUAL_MAX), UNEQUAL_S)
        self.problem = (
            f"no equal copy: {self._unequal} in a row did not have the master's checksum, so a disk is damaged, here "
            f"or there. On the master type: understudy verify. It tries again in {wait_s:.0f} s"
        )
        return wait_s

    async def _distrust_copy(self) -> None:
        """A mismatch stops the standby, never the master: its files are compared with the master's anew.

        What it replaces is kept, also after a restart: nobody knows yet which of the two is right. So the folder for it
        is durable, and the control file names it, before this node is COPYING.
        """
        self._until = 0
        await finished(self._keep_doubted)
        await self._enter(events.CopyStarted(), State.COPYING)
        self._home.applier = await finished(self._home.reopen)

    def _keep_doubted(self) -> Fork:
        """A new folder for the versions of this node that are replaced; of the copy under way from now on."""
        damage = keep_damage(self._home.disk, self._doubts, self._home.utc_us())
        self._home.applier.control.update(damage=damage.name)
        return damage

    async def _enter(self, event: Event, state: State) -> None:
        """Persist a state. Raises ConnectionError when this node's role changed meanwhile: nothing may be replaced."""
        await self._home.settled(event)
        if self._home.applier.control.value.state is not state:
            raise ConnectionError("this node takes another role")

    async def _follow(self, connection: Connection) -> None:
        while True:
            await connection.send(codec.encode(self._question()))
            decide = await expect(connection, Decide)
            await Tickets(self._home.applier.control).keep(self.peer, decide.ticket)
            self._home.log(f"The master decided {decide.decision.value}: {decide.reason}", self.peer)
            if decide.decision is Decision.STREAM:
                await self._stream(connection)
                return
            if decide.decision is Decision.REFUSE:
                self.problem = f"the master refused: {decide.reason}"
                await asyncio.sleep(REFUSED_S)
                return
            if decide.decision is Decision.CUT:
                await self._cut(decide)
            else:
                await self._compare(connection, decide)

    def _question(self, tail_only: bool = False) -> Follow:
        applier = self._home.applier
        last = applier.journal.last
        held = held_here(self._home.disk)
        return Follow(
            cluster=self._home.cluster,
            node=self._home.node,
            last=last,
            applied=applier.applied,
            checksum=applier.checksum,
            history=history_of(applier.control, applier.journal),
            empty=last.sequence == 0,
            copying=applier.copying and not self._until,
            tail_only=tail_only,
            instance=self._home.instance,
            protocol=PROTOCOL_MAX,
            database_bytes=held.database_bytes,
            objects=held.objects,
            ticket=Tickets(applier.control).held(self.peer),
            compression=self._home.compression,
        )

    async def _stream(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        if not self._home.applier.copying:
            self._home.post(events.StreamStarted())
        self.receiver = Receiver(
            connection,
            self._home.disk,
            self._home.applier,
            until=self._until,
            on_progress=lambda: None,
            on_copied=lambda: threads.wait_for_loop(loop, self._copied()),
        )
        try:
            await self.receiver.run()
        finally:
            self.receiver = None

    async def _copied(self) -> None:
        """The copy is whole and equal: durable as such before it is trusted."""
        await self._home.settled(events.StreamStarted())
        await finished(self._home.applier.checkpoint)
        await finished(self._home.applier.control.update, damage="")
        self._until, self._doubts, self._unequal = 0, "", 0

    async def _cut(self, decide: Decide) -> None:
        applier = self._home.applier
        await self._enter(events.ForkFound(), State.FORKED)
        await finished(self._keep, decide.sequence, "An unapplied tail that the master never had.")
        await finished(applier.journal.cut, decide.sequence)
        if decide.sequence < self._until:
            self._until = 0  # the blocks may be newer than what is left: compare again

    def _keep(self, after: int, why: str) -> None:
        self._fork = keep_suffix(self._home.disk, self._home.applier.journal, after, why, self._home.utc_us())
        if self._fork is None:
            return
        self._home.log(f"Kept requests {self._fork.first} to {self._fork.last} as fork {self._fork.name}.", self.peer)
        if self._home.fork_reader is not None:
            why = describe_fork(self._home.disk, self._home.applier, self._fork, after, self._home.fork_reader)
            if why:
                self._home.log(f"What fork {self._fork.name} holds could not be listed: {why}.", self.peer)

    async def _compare(self, connection: Connection, decide: Decide) -> None:
        """Make the files those of the master; what diverged is kept first, block by block."""
        home = self._home
        await asyncio.to_thread(check_room, home.disk, decide.copy_bytes)
        if not home.applier.copying:
            await self._enter(events.ForkFound(), State.FORKED)
        await finished(self._keep, decide.sequence, "A history that went another way.")
        if not home.applier.copying:
            await finished(home.applier.control.update, damage="")
            await self._enter(events.CopyStarted(), State.COPYING)
            home.applier = await finished(home.reopen)
        self._until = 0
        if self._fork is None:
            self._fork = await finished(self._damage)
        keeper = BlockKeeper(home.disk, self._fork) if self._fork is not None else None
        self.copy = CopyTarget(connection, home.disk, keeper, decide)
        try:
            self._until = await self.copy.run()
        finally:
            self.copy = None
            if keeper is not None:
                keeper.close()
        await finished(self._begin_at, decide)

    def _damage(self) -> Fork | None:
        """The folder for what this copy replaces in doubt; that of before the last interruption, if there is one."""
        name = self._home.applier.control.value.damage
        if name:
            return read_damage(self._home.disk, name)
        return self._keep_doubted() if self._doubts else None

    def _begin_at(self, decide: Decide) -> None:
        """The journal starts at the pin; the control file says so first (state COPYING protects both steps)."""
        applier = self._home.applier
        epochs = tuple(EpochStart(*entry) for entry in decide.history)
        applier.control.update(checkpoint=decide.position, epochs=epochs)
        applier.journal.restart_at(decide.position)
        self._home.applier = self._home.reopen()

    async def fetch_tail(self) -> None:
        """A resuming master: append the peer's longer tail of our last epoch and fsync it. Raises ConnectionError."""
        journal = self._home.applier.journal
        connection = await self._dial(self.peer, self._address(), BULK)
        try:
            await connection.send(codec.encode(self._question(tail_only=True)))
            parts: list[bytes] = []
            while True:
                async with asyncio.timeout(TAIL_S):
                    message = codec.decode(await connection.receive())
                if isinstance(message, Copied):
                    return
                if not isinstance(message, Requests):
                    raise FrameError("something else than requests in a tail")
                if message.more:
                    parts += message.requests
                    continue
                whole = [b"".join([*parts, *message.requests])] if parts else list(message.requests)
                parts.clear()
                await finished(append_all, journal, whole)
        finally:
            await connection.close()


def append_all(journal: Journal, requests: list[bytes]) -> None:
    """Append and fsync requests in order. Raises NotNext, DiskFull with nothing appended. Blocks."""
    journal.reserve(sum(map(len, requests)))
    for encoded in requests:
        journal.append(encoded)
    journal.sync()
