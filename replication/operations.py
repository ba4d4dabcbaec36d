"""The slow effects of the role machine, strictly one after the other: following, opening office, handing over.

The node's inbox never waits for them; what they find out comes back as events.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from replication.core import effects, events
from replication.core.codec import FrameError
from replication.core.effects import Effect
from replication.core.request import Kind, MalformedRequest, decode, peek
from replication.core.types import NodeId
from replication.errors import Closed, DiskFull, MustEnd, ReplicationError
from replication.following import Following
from replication.office import Office
from replication.ports import Application, Dialler, Opening

if TYPE_CHECKING:
    from replication.node import Node


class Operations:
    """One queue per node. An exception of an operation ends the process: the next start redoes."""

    def __init__(self, node: Node, application: Application, dial: Dialler) -> None:
        self._node = node
        self._application = application
        self._dial = dial
        self._queue: asyncio.Queue[Effect] = asyncio.Queue()
        self._following_task: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    def put(self, effect: Effect) -> None:
        """Do it after everything that was put before."""
        self._queue.put_nowait(effect)

    async def run(self) -> None:
        """Carry out effects until cancelled."""
        while True:
            await self._do(await self._queue.get())
            self._node.links.announce()
            self._node.notify()

    async def _do(self, effect: Effect) -> None:
        match effect:
            case effects.FollowPeer():
                await self._follow(effect.peer)
            case effects.Unfollow():
                await self.stop_following()
            case effects.OpenOffice():
                await self._open_office(effect)
            case effects.CloseOffice():
                await self._close_store()
                self._node.post(events.OfficeClosed())
            case effects.HandOff():
                await self._hand_off(effect)
            case effects.AbortHandOff():
                await self._abort_hand_off(effect)
            case effects.FetchTail():
                await self._fetch_tail(effect.peer)

    async def _follow(self, peer: NodeId) -> None:
        node = self._node
        if node.office is not None or (node.following is not None and node.following.peer == peer):
            return
        await self.stop_following()
        node.following = Following(node, peer, lambda: node.links.address(peer), self._dial)
        self._following_task = node.spawn(node.following.run())

    async def stop_following(self) -> None:
        """Cancel it and wait until its threads are done with the files."""
        node = self._node
        task, self._following_task, node.following = self._following_task, None, None
        if task is not None:
            self._ending = task
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._ending = None

    async def unfollowed(self) -> None:
        """Return once nothing is followed and no thread applies any more: the caller has put Unfollow before."""
        while self._node.following is not None or self._ending is not None:
            await self._node.wait_status()

    async def _open_office(self, effect: effects.OpenOffice) -> None:
        node = self._node
        await self.stop_following()
        await self._close_store()
        note = self._note_of_handoff() if effect.kind == "handoff" else effect.note
        await asyncio.to_thread(node.applier.apply_all)
        await asyncio.to_thread(node.applier.retire)
        node.office = Office(node.disk, node.journal, node.control, node.rule, node.fatal)
        reason = msgspec.msgpack.encode({"kind": effect.kind, "node": node.node})
        position = await node.office.open(effect.epoch, reason, node.applier.sums)
        heard = {name: peer.hello.last.sequence for name, peer in node.machine.peers.items()}
        node.serving.slots.begin_office({name: heard.get(name) for name in node.control.value.peers})
        node.office.start(self._application, Opening(effect.epoch, effect.kind, note, effect.report), position.sequence)
        node.post(events.OfficeOpened())

    def _note_of_handoff(self) -> bytes:
        journal = self._node.journal
        encoded = next(journal.read(journal.last.sequence), None)
        return decode(encoded).note if encoded is not None and peek(encoded).kind is Kind.HANDOFF else b""

    async def _close_store(self) -> None:
        node = self._node
        office, node.office = node.office, None
        if office is None:
            return
        await node.serving.disconnect_all()
        await office.close()
        node.applier = await asyncio.to_thread(node.reopen)

    async def _hand_off(self, effect: effects.HandOff) -> None:
        """Without room for HANDOFF nothing is handed over: the deadline of the hand-off takes writes again."""
        node = self._node
        if node.office is None or node.office.store is None:
            return
        store = node.office.store
        try:
            position = await store.append_control_request(Kind.HANDOFF, effect.note)
        except (DiskFull, Closed) as error:
            node.log(f"Cannot hand over: {error}", effect.target)
        else:
            node.post(events.HandoffAppended(effect.epoch, position, store.checksum))

    async def _abort_hand_off(self, effect: effects.AbortHandOff) -> None:
        """ABORT is for people: HANDOFF alone entitles nobody, so writes go on also when there is no room for it."""
        node = self._node
        if node.office is None or node.office.store is None:
            return
        try:
            await node.office.store.append_control_request(Kind.ABORT, effect.reason.encode())
        except (DiskFull, Closed) as error:
            node.log(f"The aborted hand-off is not noted in the journal: {error}", "")
        node.office.store.thaw()

    async def _fetch_tail(self, peer: NodeId) -> None:
        node = self._node
        following = Following(node, peer, lambda: node.links.address(peer), self._dial)
        try:
            await following.fetch_tail()
        except MustEnd:
            raise
        except (OSError, FrameError, MalformedRequest, ReplicationError) as error:
            node.log(f"Could not fetch the standby's longer tail: {error}", peer)
        else:
            node.post(events.TailFetched())
