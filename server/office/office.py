"""What exists only while this node is master: migrations, the scheduler, the fleet, the swap guide,
what ends a change of witnesses, and what tells people of changes of the pair."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import structlog

from replication.errors import OutcomeUnknown, Unavailable
from replication.ports import Opening
from replication.process import end_process
from server.actions import audit, debts, gates, nodes, swap
from server.actions.change import Change, Transaction
from server.clock import Clock
from server.core.model import SYSTEM, NodeRow, Principal
from server.core.role_requests import PromotionNote
from server.office.audit_watch import AuditWatch
from server.office.fleet import Fleet
from server.office.notices import Notices
from server.office.notifier import Notifier
from server.office.scheduler import Scheduler
from server.office.silence_watch import SilenceWatch
from server.office.swap import Guide, Keys
from server.office.witnesses import Changeover
from server.ports.agent_links import Links
from server.ports.witness_links import WitnessLinks
from server.storage import migrate
from server.trust.sealing import Seal

if TYPE_CHECKING:
    from replication.node import Node
    from replication.store import Store

RETRY_S = 0.2
log = structlog.get_logger()


class Office:
    """The application that replication opens and closes (`replication.ports.Application`).

    `own` gives this node's row of the roster; `founding` writes the first rows of a new cluster and is None
    otherwise. `seal` opens what is secret for agents and receivers.
    """

    def __init__(
        self,
        clock: Clock,
        own: Callable[[], NodeRow],
        links: Links,
        asked: WitnessLinks,
        node: Callable[[], Node],
        seal: Seal,
        keys: Keys,
        founding: Change[None] | None = None,
    ) -> None:
        self._clock = clock
        self._own = own
        self._links = links
        self._asked = asked
        self._node = node
        self._seal = seal
        self._keys = keys
        self._founding = founding
        self._loops: list[asyncio.Task[None]] = []
        self.store: Store | None = None
        self.fleet: Fleet | None = None
        self._guide_task: asyncio.Task[None] | None = None
        self.guide: Guide | None = None

    async def opened(self, store: Store, opening: Opening) -> None:
        """Migrate, write what the opening asks for in the same change, then start the loops."""
        before, after = await self._write_first(store, opening)
        log.info("office opened", epoch=str(opening.epoch), how=opening.kind, schema_before=before, schema=after)
        node = self._node()
        node.releases.opened(after)
        clock, heard = self._clock.utc_us, node.epoch_heard
        self.fleet = Fleet(store, self._links, opening.epoch, node.status, clock, heard, self._seal.told)
        await self.fleet.open()
        self.guide = Guide(store, node, self.fleet, self._clock, self._keys)
        changeover = Changeover(store, self._asked, node.status, self._clock.utc_us)
        self._loops = [
            _loop(Scheduler(store, self._clock).run()),
            _loop(self.guide.run(opening)),
            _loop(changeover.run()),
            _loop(AuditWatch(store, clock).run()),
            _loop(Notices(store, node.status, clock).run()),
            _loop(SilenceWatch(store, clock).run()),
            _loop(Notifier(store, self._seal.opened, lambda: node.status().cluster, clock).run()),
        ]
        self.store = store

    async def closing(self) -> None:
        """Stop every loop and forget the store."""
        self.store = self.guide = None
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        self._loops = []
        if self.fleet is not None:
            await self.fleet.close()
            self.fleet = None
        log.info("office closed")

    async def _write_first(self, store: Store, opening: Opening) -> tuple[int, int]:
        """The first change of this office, until it is committed: the standby may be slow or gone just now.

        Written twice it is the same, so an unknown outcome is no reason to stop. Raises `Closed` when office
        ends first.
        """
        while True:
            try:
                versions, _ = await store.write(lambda transaction: self._first_change(transaction, opening))
                return versions
            except (Unavailable, OutcomeUnknown) as error:
                log.warning("office waits for its first change", why=str(error))
                await asyncio.sleep(RETRY_S)

    def _first_change(self, transaction: Transaction, opening: Opening) -> tuple[int, int]:
        versions = migrate.migrate(transaction.connection)
        now_us = self._clock.utc_us()
        if opening.kind == "init" and self._founding is not None:
            self._founding(transaction)
        nodes.put(self._own(), SYSTEM, now_us)(transaction)
        note = PromotionNote.decode(opening.note)
        if opening.kind in ("promotion", "go_alone") and note.allow_data_loss:
            debts.incur(transaction.connection, now_us)
        if opening.kind == "promotion":
            by = Principal(note.by, "administrator")
            if note.hold:
                gates.stop_scheduler(by, now_us, "standby-to-master --hold")(transaction)
                gates.lock_all(by, now_us, "standby-to-master --hold")(transaction)
            own, report = self._own(), f"{opening.report} This node is master in epoch {opening.epoch.number}.".lstrip()
            audit.note("node.promote", own.name, by, now_us, note.encode().decode(), report)(transaction)
            accepted = ["--allow-data-loss"] if note.allow_data_loss else []
            swap.record_takeover(own.id, report, accepted, by, now_us)(transaction)
        return versions


def _loop(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    task = asyncio.create_task(work)
    task.add_done_callback(_stop_on_defect)
    return task


def _stop_on_defect(task: asyncio.Task[None]) -> None:
    """A loop that ends by an exception is a broken invariant: the node stops, its standby is behind it."""
    if not task.cancelled() and (error := task.exception()) is not None:
        end_process(error)
