"""Writes a system message when the pair's state changes in a way that people must know of, while in office."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from replication.core.types import Status
from replication.errors import Closed, DiskFull, OutcomeUnknown, ReadTimeout, Unavailable
from replication.store import Store
from server.actions import messages
from server.actions.change import Change
from server.core.notices import Notice, notices
from server.storage import nodes

LOOK_EVERY_S = 1.0


class Notices:
    """One per office. `status` is the node's; `utc_us` its clock."""

    def __init__(self, store: Store, status: Callable[[], Status], utc_us: Callable[[], int]) -> None:
        self._store = store
        self._status = status
        self._utc_us = utc_us

    async def run(self) -> None:
        """Until office ends. What cannot be written while the standby is lost is written when it can be."""
        before: Status | None = None
        while True:
            now = self._status()
            try:
                if notices(before, now, {}):
                    await self._tell(before, now)
                before = now
            except Closed:
                return
            except (Unavailable, OutcomeUnknown, ReadTimeout, DiskFull):
                pass  # told again at the next look: the same open text is not said twice
            await asyncio.sleep(LOOK_EVERY_S)

    async def _tell(self, before: Status | None, now: Status) -> None:
        found, _, _ = await self._store.read_unconfirmed(nodes.page, 0.0)
        for notice in notices(before, now, {node.id: node.name for node in found}):
            await self._store.write(self._message(notice))

    def _message(self, notice: Notice) -> Change[int]:
        return messages.add(notice.severity, notice.text, self._utc_us())
