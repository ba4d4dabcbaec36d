"""Gives the waiting runs of groups to members, as soon as one may start them. Part of the fleet: it knows who is there.

Decided by `core.groups` from committed rows; written, committed, and only then sent, by the deliverer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from replication.errors import Closed, DiskFull, OutcomeUnknown, ReadTimeout, Unavailable
from replication.store import Store
from server.actions import pools
from server.office.deliverer import PACE_S, Member

log = structlog.get_logger(__name__)

RETRY_S = 0.2
DEFECT_S = 5.0
WATCH_S = 15.0
REASONS_S = 0.5
"""Reasons of what waits are looked at this often at most: that is as much work as a pool is long."""


class Placer:
    """Of one office; `members` are the fleet's connected agents by id. `utc_us`: the node's clock."""

    def __init__(self, store: Store, members: Mapping[str, Member], utc_us: Callable[[], int]) -> None:
        self._store = store
        self._members = members
        self._utc_us = utc_us
        self._wake = asyncio.Event()
        self._looked_s = 0.0

    def wake(self) -> None:
        """Look again: rows changed, or an agent came or went."""
        self._wake.set()

    async def place_forever(self) -> None:
        """Place what there is at each wake, until the store closes."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._place()
                await asyncio.sleep(len(self._members) * PACE_S)
            except (Unavailable, OutcomeUnknown, ReadTimeout, DiskFull) as error:
                log.warning("runs of groups wait for their members", why=str(error))
                await asyncio.sleep(RETRY_S)
                self._wake.set()
            except Closed:
                return
            except Exception as error:
                log.error("a defect keeps runs of groups from their members; it is tried again", exc_info=error)
                await asyncio.sleep(DEFECT_S)
                self._wake.set()

    async def watch_forever(self) -> None:
        """SMA-7: an alarm for what waits although capacity is free, until the store closes."""
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                late, _ = await self._store.read(
                    partial(pools.overdue, connected=self._connected(), now_us=self._utc_us())
                )
                if late:
                    await self._store.write(pools.warn_overdue(self._connected(), self._utc_us()))
                    self._wake.set()
            except (Unavailable, OutcomeUnknown, ReadTimeout, DiskFull) as error:
                log.warning("nobody looks at what waits too long just now", why=str(error))
            except Closed:
                return

    def _connected(self) -> frozenset[str]:
        return frozenset(agent_id for agent_id, member in self._members.items() if member.admitted)

    async def _place(self) -> None:
        connected = self._connected()
        found, _ = await self._store.read(partial(pools.look, connected=connected))
        if not found.is_empty:
            await self._store.write(pools.place_waiting(connected, self._utc_us()))
            self._wake.set()
            return
        loop = asyncio.get_running_loop()
        if found.reasons and loop.time() < self._looked_s + REASONS_S:
            loop.call_at(self._looked_s + REASONS_S, self._wake.set)
        elif found.reasons:
            self._looked_s = loop.time()
            wrong, _ = await self._store.read(partial(pools.misnamed, reasons=found.reasons))
            if wrong:
                chosen = {group_id: found.reasons[group_id] for group_id in wrong}
                await self._store.write(pools.say_reasons(chosen, self._utc_us()))
