"""The master's side of the bulk channel: answer FOLLOW, then stream, let cut, or serve a copy.

One follower per node id. The decision is `core.decide`; this reads the journal for it and does what it says.

Protocol: docs/protocol.md, sections 4, 4.4, 4.5 and 4.6.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from replication import threads
from replication.control import ControlFile, merge_epochs
from replication.copy_source import CopySource
from replication.core import codec, tickets
from replication.core.codec import FrameError
from replication.core.compression import agreed
from replication.core.decide import History, WayOn, decide_follow
from replication.core.messages import Ack, Copied, CopyState, Decide, Decision, Follow, common_protocol
from replication.core.slots import Sight
from replication.core.tickets import NO_TICKET, Ticket
from replication.core.types import NodeId, Position, Retention, SlotStatus
from replication.errors import Closed, Forgotten, ReplicationError
from replication.files import Disk
from replication.journal import Journal
from replication.office import Office
from replication.ports import Connection
from replication.sender import Sender, read_batch
from replication.slots import Slots
from replication.tickets import Tickets

T = TypeVar("T")
OFFICE_WAIT_S = 5.0
WATCH_S = 1.0


@dataclass(slots=True)
class Follower:
    """One node that streams from this master. `progressed_at`: when its disk last kept up, or came nearer to it."""

    sender: Sender
    connection: Connection
    ack: Ack
    acked_at: float
    progressed_at: float

    def acknowledged(self, ack: Ack, last: int, now: float) -> None:
        """It reported, while request `last` was the newest here. Being alive is not progress: its disk is."""
        if ack.fsynced > self.ack.fsynced or ack.fsynced >= last:
            self.progressed_at = now
        self.ack, self.acked_at = ack, now

    def sight(self, last: int, lag_s: float, now: float) -> Sight:
        """What is seen of it, for people."""
        idle_s = now - self.progressed_at if self.ack.fsynced < last else 0.0
        return Sight(connected=True, lag_s=lag_s, idle_s=idle_s, silent_s=now - self.acked_at)


def history_of(control: ControlFile, journal: Journal) -> History:
    """Every epoch that this node's journal went through: its first request and that request's chain hash."""
    merged = merge_epochs(control.value.epochs, journal.epochs())
    return [(start.epoch, start.sequence, start.hash) for start in merged]


class Serving:
    """Serves followers while `office()` is one. `on_ack` is called in the event loop for every ACK.

    `instance` says which process of a node has the control link: an ACK of any other would prove nothing of its disk.
    """

    def __init__(
        self,
        disk: Disk,
        journal: Journal,
        control: ControlFile,
        cluster: str,
        office: Callable[[], Office | None],
        on_ack: Callable[[NodeId, Ack], None],
        log: Callable[[str, NodeId], None],
        instance: Callable[[NodeId], str],
        retention: Retention,
        copy_bytes_per_s: Callable[[], float],
    ) -> None:
        self._disk = disk
        self._journal = journal
        self._control = control
        self._cluster = cluster
        self._office = office
        self._on_ack = on_ack
        self._log = log
        self._instance = instance
        self._copy_bytes_per_s = copy_bytes_per_s
        self._connections: set[Connection] = set()
        self.followers: dict[NodeId, Follower] = {}
        self.copies: dict[NodeId, CopySource] = {}
        self._tickets = Tickets(control)
        self.slots = Slots(disk, journal, control, retention, self._keep, log)

    async def watch(self) -> None:
        """While in office: what slots need to have done each second. Until cancelled."""
        while True:
            await asyncio.sleep(WATCH_S)
            office = self._office()
            if office is None or office.store is None or not office.ready:
                continue
            for node, follower in self.followers.items():
                self.slots.progressed(node, follower.ack.fsynced)
            if await self.slots.tick():
                with contextlib.suppress(Closed):  # this office ended meanwhile; the next one begins with its own slots
                    await office.let_go()
            for copy in [copy for node, copy in self.copies.items() if self.slots.was_let_go(node)]:
                await copy.connection.close()

    def slot_statuses(self) -> tuple[SlotStatus, ...]:
        """Every slot while in office, for people."""
        return self.slots.statuses(self._sight) if self._office() is not None else ()

    def _sight(self, node: NodeId) -> Sight:
        office, follower = self._office(), self.followers.get(node)
        if follower is None or office is None:
            return Sight(copying=node in self.copies)
        now = threads.monotonic()
        meter = office.meters.get(node)
        return follower.sight(self._journal.last.sequence, meter.lag_s(now) if meter is not None else 0.0, now)

    def _keep(self, sequence: int | None) -> None:
        office = self._office()
        if office is not None and office.store is not None:
            office.store.set_keep_from(sequence)

    async def attach(self, connection: Connection) -> None:
        """Serve one bulk link until it ends; what a peer does wrong ends the link, nothing else."""
        self._connections.add(connection)
        try:
            await self._serve(connection)
        except (ConnectionError, TimeoutError):
            pass
        except (FrameError, ReplicationError) as error:
            self._log(f"Ended its bulk link: {error}", connection.peer)
        finally:
            self._connections.discard(connection)
            copy = self.copies.get(connection.peer)
            if copy is not None and copy.connection is connection:
                del self.copies[connection.peer]
            await connection.close()

    async def disconnect_all(self) -> None:
        """Close every bulk link, followers' and copies': this node leaves office."""
        for connection in list(self._connections):
            await connection.close()

    async def _serve(self, connection: Connection) -> None:
        while True:
            follow = await _expect_follow(connection)
            if follow.node != connection.peer:
                raise FrameError("a FOLLOW of another node than its certificate names")
            if follow.instance != self._instance(connection.peer):
                raise ConnectionError("its control link is not up, or belongs to another process of the same node id")
            if follow.tail_only:
                await self._send_tail(connection, follow)
                return
            office = await self._wait_for_office()
            way = await asyncio.to_thread(self._decide, follow)
            if refusal := self._refusal(way, follow):
                way = WayOn(Decision.REFUSE, 0, refusal)
            self._log(f"{way.decision.value.upper()}: {way.reason}", connection.peer)
            ticket = NO_TICKET
            if way.decision is not Decision.REFUSE:
                ticket = await self._tickets.give(connection.peer, follow.ticket, follow.protocol)
            if way.decision is Decision.COMPARE:
                await self._copy(connection, office, way, follow, ticket)
                continue
            decide = Decide(
                decision=way.decision,
                sequence=way.sequence,
                reason=way.reason,
                protocol=common_protocol(follow.protocol),
                ticket=ticket,
                compression=agreed(follow.compression),
            )
            await connection.send(codec.encode(decide))
            if way.decision is Decision.STREAM:
                await self._stream(connection, office, follow, ticket)
            if way.decision is not Decision.CUT:
                return

    def _refusal(self, way: WayOn, follow: Follow) -> str:
        """Why this follower does not get what was decided, or ""."""
        if way.decision is not Decision.REFUSE and not self._tickets.fits(follow.node, follow.ticket, follow.protocol):
            return tickets.REFUSED
        return self.slots.refusal(follow.node) if way.decision is Decision.COMPARE else ""

    async def _wait_for_office(self) -> Office:
        for _ in range(int(OFFICE_WAIT_S / 0.02)):
            office = self._office()
            if office is not None and office.store is not None:
                return office
            await asyncio.sleep(0.02)
        raise ConnectionError("this node is not in office")

    def _decide(self, follow: Follow) -> WayOn:
        journal = self._journal
        return decide_follow(
            follow,
            self._cluster,
            history_of(self._control, journal),
            journal.last,
            journal.first_sequence,
            self._position,
        )

    def _position(self, sequence: int) -> Position | None:
        try:
            return self._journal.position(sequence)
        except Forgotten:
            return None

    async def _stream(self, connection: Connection, office: Office, follow: Follow, ticket: Ticket) -> None:
        peer = connection.peer
        first_wanted = follow.last.sequence + 1
        packed = agreed(follow.compression)
        sender = Sender(connection, self._journal, office.window, first_wanted, lambda: office.rule.sequence, packed)
        first = Ack(received=0, fsynced=0, applied=0, checksum=0, disk_free_bytes=0, credit=codec.FRAME_BYTES_MAX)
        if peer in self.followers:
            await self.followers[peer].connection.close()
        now = threads.monotonic()
        follower = Follower(sender, connection, first, now, now)
        self.followers[peer] = follower
        self.slots.stream(peer, follow.last.sequence)
        office.measure(peer, follow.last.sequence)
        jobs = (sender.run(), self._read_acks(connection, follower, office, ticket))
        tasks = [asyncio.ensure_future(job) for job in jobs]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self.followers.get(peer) is follower:
                del self.followers[peer]
                office.meters.pop(peer, None)
                self.slots.progressed(peer, follower.ack.fsynced)
                self.slots.left(peer)

    async def _read_acks(self, connection: Connection, follower: Follower, office: Office, ticket: Ticket) -> None:
        """Count what it reports, for the office in which the stream began only."""
        while True:
            ack = await expect(connection, Ack)
            await self._tickets.confirm(connection.peer, ticket)
            if self._office() is not office:
                raise ConnectionError("the office of this stream is closed")
            follower.acknowledged(ack, self._journal.last.sequence, threads.monotonic())
            follower.sender.acknowledged(ack)
            self._on_ack(connection.peer, ack)

    async def _send_tail(self, connection: Connection, follow: Follow) -> None:
        """A resuming master fetches what it lost: requests behind its last one, in the same chain."""
        if self._office() is not None or self._position(follow.last.sequence) != follow.last:
            raise FrameError("a FOLLOW for a tail that does not continue the asker's journal")
        sequence = follow.last.sequence + 1
        while batch := await asyncio.to_thread(read_batch, self._journal, sequence):
            for frame in codec.encode_requests(0, batch):
                await connection.send(frame)
            sequence += len(batch)
        await connection.send(codec.encode(Copied(sequence=sequence - 1, files=[])))

    async def _copy(self, connection: Connection, office: Office, way: WayOn, follow: Follow, ticket: Ticket) -> None:
        source = CopySource(connection, self._disk, self._control, office, follow, self._copy_bytes_per_s)
        await source.pin_now()
        self.copies[connection.peer] = source
        await self.slots.pin(connection.peer, source.pin)
        pinned = Decide(
            decision=Decision.COMPARE,
            sequence=way.sequence,
            reason=way.reason,
            position=source.position,
            history=[entry for entry in history_of(self._control, self._journal) if entry[1] <= source.pin],
            protocol=common_protocol(follow.protocol),
            copy_bytes=source.bytes_total,
            ticket=ticket,
            compression=agreed(follow.compression),
        )
        await connection.send(codec.encode(pinned))
        await source.run()
        self.copies.pop(connection.peer, None)
        found = source.progress
        self._log(
            f"Sent the copy: {found.bytes_moved} bytes of {found.bytes_total}, {source.frame_bytes_sent} on the line.",
            connection.peer,
        )


async def _expect_follow(connection: Connection) -> Follow:
    """The next FOLLOW; behind a copy a last word about it may come first."""
    while isinstance(message := codec.decode(await connection.receive()), CopyState):
        pass
    if not isinstance(message, Follow):
        raise FrameError(f"a {type(message).__name__} frame where Follow was due")
    return message


async def expect(connection: Connection, kind: type[T]) -> T:
    """The next frame, which has to be of this kind. Raises FrameError, ConnectionError."""
    message = codec.decode(await connection.receive())
    if not isinstance(message, kind):
        raise FrameError(f"a {type(message).__name__} frame where {kind.__name__} was due")
    return message
