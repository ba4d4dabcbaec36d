"""Who comes in, with what, and how often somebody tries in vain.

One per process, shared by both ports. What requests used and who failed is written once a minute, so that neither a
request nor a storm of them fills the database. Bounded by the number of tokens that there are, and by the guard.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from server.actions import sessions, tokens
from server.actions.change import Change
from server.core.request_quota import Quota
from server.core.sign_in_guard import Guard, Tally
from server.errors import TooManyAttempts

T = TypeVar("T")


class Rows(Protocol):
    """The part of the store that is used here."""

    async def write(self, change: Change[T]) -> tuple[T, int]:
        """Carry out a change."""

    async def read_unconfirmed(self, query: Callable[[sqlite3.Connection], T], wait_s: float) -> tuple[T, int, bool]:
        """Run a query."""


def too_many(wait_s: float) -> TooManyAttempts:
    """The refusal of an attempt that came too early."""
    seconds = math.ceil(wait_s)
    words = f"{seconds} seconds" if seconds < 120 else f"{math.ceil(seconds / 60)} minutes"
    return TooManyAttempts(
        f"Too many sign-ins failed. Try again in {words}. An administrator can end a lock on the machine itself: "
        "understudy user unlock NAME",
        retry_after_s=seconds,
    )


class Door:
    """Guards sign-ins and notes uses. `sweep` writes them down and warns of what ends soon.

    Call `sweep` once a minute while in office.
    """

    def __init__(self) -> None:
        self.guard = Guard()
        self.joins = Guard()
        self.quota = Quota()
        self.failures = Tally()
        self._token_uses: dict[int, int] = {}
        self._sessions_seen: dict[str, int] = {}

    def token_used(self, token_id: int, now_us: int) -> None:
        """A request came with this token."""
        self._token_uses[token_id] = now_us

    def session_seen(self, token_hash: str, now_us: int) -> None:
        """Somebody used this session."""
        self._sessions_seen[token_hash] = now_us

    @contextmanager
    def entering(self, account: str, address: str, now_s: float) -> Iterator[None]:
        """Around an attempt to sign in from the network. Raises `TooManyAttempts` before anything is looked at."""
        wait_s = self.guard.wait_s(account, address, now_s)
        if wait_s > 0:
            raise too_many(wait_s)
        if not self.guard.begin(account, address):
            raise too_many(2.0)
        try:
            yield
        finally:
            self.guard.end(account, address)

    async def sweep(self, store: Rows, now_us: int) -> None:
        """Write what was noted, where it is due. What raises is noted again by the next use."""
        uses, self._token_uses = self._token_uses, {}
        seen, self._sessions_seen = self._sessions_seen, {}
        due, _, _ = await store.read_unconfirmed(lambda rows: _due(rows, uses, seen, now_us), 0.0)
        failed = self.failures.take()
        if failed:
            due.append(sessions.record_failures(failed, now_us))
        for change in due:
            await store.write(change)


def _due(connection: sqlite3.Connection, uses: dict[int, int], seen: dict[str, int], now_us: int) -> list[Change[Any]]:
    """The changes that would write something: an idle minute writes nothing."""
    changes: list[Change[Any]] = []
    if tokens.is_use_due(connection, uses):
        changes.append(tokens.note_uses(uses))
    if sessions.is_seen_due(connection, seen):
        changes.append(sessions.note_seen(seen))
    if tokens.is_warning_due(connection, now_us):
        changes.append(tokens.warn_expiring(now_us))
    return changes
