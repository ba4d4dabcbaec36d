"""A database with the schema, a stand-in for the store's transaction, and a store without replication, for tests."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import msgspec

from server.actions import agents, jobs
from server.actions.change import Change
from server.core.model import SYSTEM, Agent, Job, JoinToken
from server.storage import agents as agent_rows
from server.storage import migrate

T = TypeVar("T")
START_US = 1_790_000_000_000_000
"""A Monday in September 2026, 13:33:20 UTC."""


@cache
def _migrated() -> bytes:
    """An empty database with the schema: made once by all migrations, copied for each ledger."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("BEGIN")
    migrate.migrate(connection)
    connection.execute("COMMIT")
    return connection.serialize()


class Ledger:
    """Runs changes as the store does: each in a savepoint that an exception rolls back."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.connection.deserialize(_migrated())
        self.connection.execute("PRAGMA foreign_keys = ON")

    def do(self, change: Change[T]) -> T:
        """Run one change."""
        self.connection.execute("SAVEPOINT change")
        try:
            value = change(self)
        except BaseException:
            self.connection.execute("ROLLBACK TO change")
            self.connection.execute("RELEASE change")
            raise
        self.connection.execute("RELEASE change")
        return value

    def count(self, table: str, condition: str = "1") -> int:
        """How many rows of a table meet a condition."""
        return int(self.connection.execute(f"SELECT count(*) FROM {table} WHERE {condition}").fetchone()[0])

    def add_agent(self, name: str = "north", now_us: int = START_US) -> Agent:
        """Enrol an agent by a join token."""
        token = JoinToken(
            id=f"token-{name}",
            secret_hash="hash",
            name=name,
            created_by="test",
            created_at_us=now_us,
            expires_at_us=now_us + 1,
        )
        self.do(agents.invite(token, SYSTEM, now_us))
        return self.do(agents.enrol(token.id, "hash", (name * 32)[:32], now_us))

    def add_job(self, name: str = "backup", cron: str = "*/5 * * * *", now_us: int = START_US, **more: object) -> Job:
        """Create a job on the agent `north`."""
        schedules = [jobs.When(cron)] if cron else []
        spec = jobs.JobSpec(name=name, command="true", agent="north", schedules=schedules)
        spec = msgspec.structs.replace(spec, **more)
        return self.do(jobs.create(spec, SYSTEM, now_us))

    def acknowledge_gates(self, name: str, revision: int) -> None:
        """As if the agent had reported that it persisted the gates."""
        agent = agent_rows.by_name(self.connection, name)
        assert agent is not None
        agent_rows.update(self.connection, agent.id, gates_acknowledged=revision)


class LocalStore:
    """The part of Store that the scheduler uses, over a ledger; counts commits that wrote something."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.sequence = 0
        self._moved = asyncio.Condition()

    async def write(self, change: Change[T]) -> tuple[T, int]:
        """Run a change; the sequence moves only when it wrote rows, as in the real store."""
        before = self.ledger.connection.total_changes
        value = self.ledger.do(change)
        if self.ledger.connection.total_changes != before:
            async with self._moved:
                self.sequence += 1
                self._moved.notify_all()
        return value, self.sequence

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> tuple[T, int]:
        """Run a query."""
        return query(self.ledger.connection), self.sequence

    async def wait_past(self, sequence: int) -> int:
        """Wait until the sequence has moved."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.sequence > sequence)
        return self.sequence


class HandClock:
    """A clock that a test sets."""

    def __init__(self, now_us: int = START_US) -> None:
        self.now_us = now_us

    def utc_us(self) -> int:
        """The wall time that the test set."""
        return self.now_us

    def monotonic(self) -> float:
        """Seconds, moving with the wall time."""
        return self.now_us / 1e6
