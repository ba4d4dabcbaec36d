"""The master's side of the agents while in office: admits them, writes what they report.

Rows are read at or below the commit sequence only, and whatever an agent is answered was committed first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

import structlog

from replication.core.types import Epoch, Status
from replication.errors import Closed, DiskFull, OutcomeUnknown, ReadTimeout, Unavailable
from replication.store import Store
from server.actions import reconciliation, reports
from server.actions import runs as run_actions
from server.actions import silence as silence_actions
from server.core import agent_wire as wire
from server.core.agent_beats import beat_s, silent_s
from server.core.giving_up import may_be_taken
from server.core.silence import LEASE_SLACK_US
from server.office.agent_tickets import AgentTickets
from server.office.deliverer import Deliverer, Member
from server.office.placer import Placer
from server.ports.agent_links import AgentLink, Links
from server.storage import deliveries, silence

log = structlog.get_logger(__name__)

T = TypeVar("T")
BATCH_MESSAGES = 500
BATCH_OUTPUT_BYTES = 4 * 1024 * 1024
INBOX_BYTES_MAX = 256 * 1024 * 1024
"""What one agent may have said that is not recorded yet: all reports of a long time without a master, and more."""
RETRY_S = 0.2
ADMISSIONS_MAX = 32
"""Inventories that are reconciled at once: whoever else writes stands behind so many, not behind all agents."""
SILENT_S = 15.0
SILENT_AT_ONCE = 50
SILENT_EVERY_S = 0.1
"""When a whole site falls silent that is written for 500 agents a second, and others write in between."""
GIVE_UP_LOOK_S = 5.0


class Fleet:
    """Open once the epoch is committed; `close` before the store closes. A desk of `agent_links`.

    `epoch_heard` is given the epoch that an agent obeys instead of this one. `told`: see `actions.reconciliation.Told`.
    """

    def __init__(
        self,
        store: Store,
        links: Links,
        epoch: Epoch,
        status: Callable[[], Status],
        utc_us: Callable[[], int],
        epoch_heard: Callable[[Epoch], None] = lambda epoch: None,
        told: reconciliation.Told = reconciliation.refuse_secrets,
    ) -> None:
        self._store = store
        self._epoch_heard = epoch_heard
        self._links = links
        self._epoch = epoch
        self._status = status
        self._utc_us = utc_us
        self._members: dict[str, Member] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._silent: dict[str, asyncio.TimerHandle] = {}
        self._falling: asyncio.Queue[str] = asyncio.Queue()
        self._absent: dict[str, tuple[float, int]] = {}
        """Since when no answer was given to an agent: by the loop's clock, and microseconds UTC for people."""
        self._admissions = asyncio.Semaphore(ADMISSIONS_MAX)
        self._deliverer = Deliverer(store, self._members, epoch.number, utc_us, told)
        self._placer = Placer(store, self._members, utc_us)
        self._tickets = AgentTickets(self._advance)

    async def open(self) -> None:
        """Mark what an earlier office left open, then take office at every link."""
        number = self._epoch.number
        await self._write(lambda now_us: reconciliation.open_epoch(number, now_us))
        known, _ = await self._store.read(lambda c: {*deliveries.holders(c), *silence.expected(c)})
        self._links.replicated = self._replicated
        self._links.committed = lambda: self._status().commit_sequence
        self._links.can_commit = lambda: can_commit(self._status())
        self._links.take_office(self._epoch, self)
        within_s = SILENT_S + silent_s(beat_s(len(known))) - silent_s(1.0)  # many need longer to come back
        for agent_id in known:
            if agent_id not in self._members:
                self._expect(agent_id, within_s)
        self._spawn(self._deliverer.deliver_forever())
        self._spawn(self._follow_commits())
        self._spawn(self._placer.place_forever())
        self._spawn(self._placer.watch_forever())
        self._spawn(self._give_up_forever())
        self._spawn(self._fall_silent_forever())
        self._spawn(self._tickets.advance_forever())

    async def close(self) -> None:
        """Say good-bye at every link and stop every use of the store. Reports that are not committed come again."""
        self._links.leave_office()
        for timer in self._silent.values():
            timer.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def is_active(self, agent_id: str) -> bool:
        """Whether the agent is connected, obeys this node and is reconciled."""
        member = self._members.get(agent_id)
        return member is not None and member.admitted

    def connected(self) -> list[str]:
        """The ids of the agents that are connected, obey this node and are reconciled (the swap guide asks)."""
        return [agent_id for agent_id, member in self._members.items() if member.admitted]

    def contact(self, agent_id: str) -> AgentLink | None:
        """The agent's link with what it said last: clock skew, reports it holds, why it waits; None without one."""
        return self._links.get(agent_id)

    def active_count(self) -> int:
        """How many agents are connected, obey this node and are reconciled."""
        return sum(member.admitted for member in self._members.values())

    # The desk.

    def joined(self, link: AgentLink) -> None:
        """Wait for the agent to present itself."""
        member = Member(link)
        self._members[link.agent_id] = member
        timer = self._silent.pop(link.agent_id, None)
        if timer is not None:
            timer.cancel()
        member.task = self._spawn(self._serve(member))

    def left(self, link: AgentLink) -> None:
        """Nothing more is sent; after a while what it has is `unknown`."""
        member = self._members.get(link.agent_id)
        if member is not None and member.link is link:
            del self._members[link.agent_id]
            if member.task is not None:
                member.task.cancel()
            self._tickets.forget(link.agent_id)
            self._expect(link.agent_id)
            self._placer.wake()

    def said(self, link: AgentLink, message: wire.FromAgent) -> None:
        """Queue a message for the agent's own task."""
        member = self._members.get(link.agent_id)
        if isinstance(message, wire.EpochRefused):
            self._epoch_heard(message.highest)
        if member is None or member.link is not link:
            return
        if member.inbox_bytes > INBOX_BYTES_MAX:
            log.warning("an agent says more than can be taken; its link is closed", agent=link.agent_id)
            self._spawn(link.close())
            return
        member.inbox_bytes += link.frame_bytes
        member.inbox.put_nowait((message, link.frame_bytes))

    def doubled(self, link: AgentLink, other: AgentLink) -> None:
        """Two processes with one identity: neither starts anything until an operator decides."""
        self._spawn(self._quarantine_double(link.agent_id))

    async def _follow_commits(self) -> None:
        """Wake at each commit whoever acts upon rows, until the store closes."""
        sequence = 0
        while True:
            sequence = await self._store.wait_past(sequence)
            self._placer.wake()
            self._deliverer.wake()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, Closed):
            log.error("the fleet failed at one agent; its link is closed", exc_info=error)
            for member in self._members.values():
                if member.task is task:
                    self._spawn(member.link.close())

    def _expect(self, agent_id: str, within_s: float | None = None) -> None:
        def silent() -> None:
            self._silent.pop(agent_id, None)
            self._falling.put_nowait(agent_id)

        self._absent.setdefault(agent_id, (asyncio.get_running_loop().time(), self._utc_us()))
        if agent_id not in self._silent:
            self._silent[agent_id] = asyncio.get_running_loop().call_later(within_s or SILENT_S, silent)

    def _replicated(self) -> int:
        status = self._status()
        return status.commit_sequence if is_everywhere(status) else 0

    async def _write(self, action: Callable[[int], Callable[[Any], T]]) -> tuple[T, int]:
        """Write until it is committed: every change here may be done twice. Raises Closed when office ends."""
        while True:
            try:
                return await self._store.write(action(self._utc_us()))
            except (Unavailable, OutcomeUnknown, DiskFull):
                await asyncio.sleep(RETRY_S)

    async def _fall_silent_forever(self) -> None:
        """A few at a time: after a takeover thousands may be awaited in the same second."""
        while True:
            fallen = [await self._falling.get()]
            while len(fallen) < SILENT_AT_ONCE and not self._falling.empty():
                fallen.append(self._falling.get_nowait())
            for error in await asyncio.gather(*map(self._fall_silent, fallen), return_exceptions=True):
                if error is not None and not isinstance(error, Closed):
                    log.error("what a silent agent has is not written as unknown", exc_info=error)
            await asyncio.sleep(SILENT_EVERY_S)

    async def _fall_silent(self, agent_id: str) -> None:
        absent = self._absent.get(agent_id)
        if absent is not None and agent_id not in self._members:
            await self._write(lambda now_us: reconciliation.fall_silent(agent_id, absent[1], now_us))

    async def _give_up_forever(self) -> None:
        """What a silent agent was told to give up is let go in time: from when it had no answer of this office."""
        while True:
            await asyncio.sleep(GIVE_UP_LOOK_S)
            lapsed_us = self._utc_us() - LEASE_SLACK_US
            try:
                due, _ = await self._store.read(partial(silence.to_give_up, lapsed_us=lapsed_us))
            except (Unavailable, ReadTimeout):
                continue
            for agent_id, after_s in due.items():
                await self._give_up(agent_id, after_s)

    async def _give_up(self, agent_id: str, after_s: int) -> None:
        absent = self._absent.get(agent_id)
        if absent is not None:
            silent_s = asyncio.get_running_loop().time() - absent[0]
            if after_s == 0 or may_be_taken(after_s, silent_s):
                await self._write(lambda now_us: silence_actions.give_up(agent_id, silent_s, now_us))

    async def _quarantine_double(self, agent_id: str) -> None:
        why, _ = await self._write(lambda now_us: reconciliation.quarantine_double(agent_id, now_us))
        member = self._members.get(agent_id)
        if member is not None:
            member.refuse(why)
            self._deliverer.consider(agent_id)

    # One agent.

    async def _serve(self, member: Member) -> None:
        while True:
            batch = await self._batch(member)
            recordable: list[reports.Recordable] = []
            for message in batch:
                if isinstance(message, wire.Present):
                    await self._record(member, recordable)
                    recordable = []
                    await self._present(member, message)
                elif isinstance(message, reports.Recordable):
                    recordable.append(message)
            await self._record(member, recordable)

    async def _batch(self, member: Member) -> list[wire.FromAgent]:
        batch, size = [await member.inbox.get()], 0
        while not member.inbox.empty() and len(batch) < BATCH_MESSAGES and size < BATCH_OUTPUT_BYTES:
            message, frame_bytes = member.inbox.get_nowait()
            size += len(message.data) if isinstance(message, wire.Output) else 0
            batch.append((message, frame_bytes))
        member.inbox_bytes -= sum(frame_bytes for _, frame_bytes in batch)
        return [message for message, _ in batch]

    async def _present(self, member: Member, shown: wire.Present) -> None:
        if shown.epoch != self._epoch:
            return
        link, number = member.link, self._epoch.number
        async with self._admissions:
            verdict, _ = await self._write(
                lambda now_us: reconciliation.present(link.agent_id, link.hello, shown, number, now_us)
            )
        self._deliverer.consider(link.agent_id)
        if verdict.admitted is None:
            member.refuse(verdict.refusal)
            return
        self._absent.pop(link.agent_id, None)
        member.is_let_in = True
        member.refused = bool(verdict.admitted.quarantined)
        link.send(verdict.admitted)
        for order_id, version in verdict.strays:
            link.send(wire.ReleaseOrder(order_id, version))
        for monitor_id, version in verdict.stray_monitors:
            link.send(wire.ReleaseMonitor(monitor_id, version))

    async def _record(self, member: Member, messages: list[reports.Recordable]) -> None:
        """Commit a batch, then answer it."""
        if not messages:
            return
        if not member.is_let_in:
            log.warning("what an agent says that was not let in is not taken", agent=member.link.agent_id)
            return
        agent_id, number = member.link.agent_id, self._epoch.number
        held, sequence = await self._write(lambda now_us: reports.record(agent_id, messages, number, now_us))
        kept = tuple(message.id for message in messages if isinstance(message, wire.Report))
        in_sync = bool(kept or held) and is_everywhere(self._status())
        if kept:
            member.link.send(wire.Kept(kept, sequence, in_sync))
        for key, size in held.items():
            member.link.send(wire.OutputKept(key, size, sequence, in_sync))
        is_kept = any(isinstance(message, wire.TicketKept) for message in messages)
        if is_kept and not member.refused and not member.admitted:
            member.admitted = True
            await self._write(lambda now_us: run_actions.agent_is_back(agent_id, now_us))
            self._placer.wake()
            self._deliverer.consider(agent_id)
        is_new = any(isinstance(message, reports.Remembered) for message in messages)
        if is_new and member.admitted and member.link.hello.protocol >= 2 and self._members.get(agent_id) is member:
            self._tickets.expect(agent_id)

    async def _advance(self, agent_ids: Sequence[str]) -> None:
        for error in await asyncio.gather(*map(self._next_ticket, agent_ids), return_exceptions=True):
            if error is not None and not isinstance(error, Closed):
                log.error("a ticket was not given; the agent gets it with its next connection", exc_info=error)

    async def _next_ticket(self, agent_id: str) -> None:
        member = self._members.get(agent_id)
        if member is not None and member.admitted:
            ticket, _ = await self._write(lambda _: reconciliation.next_ticket(agent_id))
            if ticket:
                member.link.send(wire.NextTicket(ticket))


def is_everywhere(status: Status) -> bool:
    """What is committed is on every node of the cluster: the standby is in sync, or none was ever enrolled."""
    return status.in_sync or not status.standby_enrolled


def can_commit(status: Status) -> bool:
    """A write would be committed now, as far as can be seen: nobody is waited for, or the standby is heard."""
    if status.alone_since is not None or not status.standby_enrolled:
        return True
    return status.in_sync and any(peer.connected and not peer.observer for peer in status.peers)
