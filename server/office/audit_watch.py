"""Verifies the audit history once a day while this node is in office, and raises an alarm when it was changed."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

import structlog

from replication.errors import Closed, DiskFull, OutcomeUnknown, ReadTimeout, Unavailable
from server.actions import audit as actions
from server.actions import messages
from server.actions.change import Change
from server.core.audit_chain import Walk
from server.core.model import DAY_US, SECOND_US, SYSTEM
from server.storage import audit

T = TypeVar("T")
log = structlog.get_logger()

LOOK_S = 600.0
"""How often it looks whether a day has passed: the wall clock may be set meanwhile."""


class Rows(Protocol):
    """The part of replication's Store that is used."""

    async def write(self, change: Change[T]) -> tuple[T, int]:
        """Run a change; returns when committed."""

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> tuple[T, int]:
        """Run a query on committed rows; returns the sequence it saw."""


class AuditWatch:
    """Lives while the node is in office. `run` ends when the store is closed or it is cancelled."""

    def __init__(self, store: Rows, utc_us: Callable[[], int]) -> None:
        self._store = store
        self._utc_us = utc_us

    async def run(self) -> None:
        """Look from time to time; what cannot be read or written now is done at the next look."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except Closed:
                return
            except (Unavailable, OutcomeUnknown, ReadTimeout, DiskFull) as error:
                log.warning("the audit history is verified later", why=str(error))

    async def look(self) -> bool:
        """Verify when the last time is a day ago; whether it did."""
        now_us = self._utc_us()
        chain, _ = await self._store.read(audit.chain_of)
        if chain.verified_at_us is not None and now_us - chain.verified_at_us < DAY_US - SECOND_US:
            return False
        walk = await self._walk()
        await self._store.write(actions.put_verified(walk, SYSTEM, now_us))
        if walk.problems:
            text = "The audit history was changed: " + " ".join(problem.text for problem in walk.problems)
            await self._store.write(messages.add("alarm", f"{text} See: understudy audit verify", now_us))
        return True

    async def _walk(self) -> Walk:
        """The whole history, piece by piece."""
        so_far: Walk | None = None
        while True:
            (walk, chain), _ = await self._store.read(partial(actions.read_on, walk=so_far))
            if chain is not None:
                return walk
            so_far = walk
