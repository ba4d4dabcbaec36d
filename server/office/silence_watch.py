"""Looks, while in office, for agents that people are to be told of because they do not answer (SKY-15)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from replication.errors import Closed, DiskFull, OutcomeUnknown, ReadTimeout, Unavailable
from replication.store import Store
from server.actions import silence_notices
from server.core.model import SECOND_US
from server.core.silence_notices import TELL_US

LOOK_EVERY_S = 5.0


class SilenceWatch:
    """One per office. `utc_us` is the node's clock."""

    def __init__(self, store: Store, utc_us: Callable[[], int]) -> None:
        self._store = store
        self._utc_us = utc_us

    async def run(self, grace_s: float = TELL_US / SECOND_US) -> None:
        """Until office ends. Agents get `grace_s` to find a new office before anybody is told."""
        await asyncio.sleep(grace_s)
        while True:
            try:
                now_us = self._utc_us()
                has_work, _ = await self._store.read(partial(silence_notices.has_work, now_us=now_us))
                if has_work:
                    await self._store.write(silence_notices.look(now_us))
            except Closed:
                return
            except (Unavailable, OutcomeUnknown, ReadTimeout, DiskFull):
                pass  # it is looked again
            await asyncio.sleep(LOOK_EVERY_S)
