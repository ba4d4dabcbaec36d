"""Who came in and with what: noted here, written once a minute, so that a request writes nothing.

One per process, shared by both ports. Bounded by the number of tokens that there are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from server.actions import tokens
from server.actions.change import Change

T = TypeVar("T")


class Rows(Protocol):
    """The part of the store that is used here."""

    async def write(self, change: Change[T]) -> tuple[T, int]:
        """Carry out a change."""

    async def read_unconfirmed(self, query: Callable[[sqlite3.Connection], T], wait_s: float) -> tuple[T, int, bool]:
        """Run a query."""


class Door:
    """Notes uses. `sweep` writes them down and warns of what ends soon; call it once a minute while in office."""

    def __init__(self) -> None:
        self._token_uses: dict[int, int] = {}

    def token_used(self, token_id: int, now_us: int) -> None:
        """A request came with this token."""
        self._token_uses[token_id] = now_us

    async def sweep(self, store: Rows, now_us: int) -> None:
        """Write what was noted, where it is due. What raises is noted again by the next use."""
        uses, self._token_uses = self._token_uses, {}
        due, _, _ = await store.read_unconfirmed(lambda rows: self._due(rows, uses, now_us), 0.0)
        for change in due:
            await store.write(change)

    def _due(self, connection: sqlite3.Connection, uses: dict[int, int], now_us: int) -> list[Change[Any]]:
        """The changes that would write something: an idle minute writes nothing."""
        changes: list[Change[Any]] = []
        if tokens.is_use_due(connection, uses):
            changes.append(tokens.note_uses(uses))
        if tokens.is_warning_due(connection, now_us):
            changes.append(tokens.warn_expiring(now_us))
        return changes
