"""The application of the simulated pair, and its clients: keyed entries, retried until they are acknowledged."""

from __future__ import annotations

import asyncio
import hashlib
import random
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from replication.core.types import Epoch
from replication.errors import Closed, DiskFull, OutcomeUnknown, Unavailable
from replication.node import Node
from replication.ports import Opening
from replication.store import Store, Transaction
from tests.simulation.cooperative import Process
from tests.simulation.virtual_loop import VirtualLoop

PATIENCE_S = 12.0


def content(key: str) -> bytes:
    """What the object of an entry holds."""
    digest = hashlib.sha256(key.encode()).digest()
    return digest * (1 + digest[0] % 60)


def has_object(key: str) -> bool:
    """Every fifth entry, or so, has one."""
    return hashlib.sha256(key.encode()).digest()[1] % 5 == 0


def enter(key: str) -> Callable[[Transaction], bool]:
    """The change that adds an entry unless it is there; returns whether it did."""

    def change(transaction: Transaction) -> bool:
        rows = transaction.connection
        if rows.execute("SELECT count(*) FROM entry WHERE key = ?", (key,)).fetchone()[0]:
            return False
        size = 20 + len(key) * 37 % 900
        rows.execute("INSERT INTO entry (key, value) VALUES (?, ?)", (key, content(key)[:1] * size))
        rows.execute("UPDATE total SET entries = entries + 1")
        if has_object(key):
            half = len(content(key)) // 2
            transaction.write_object(f"out-{key}", 0, content(key)[:half])
            transaction.write_object(f"out-{key}", half, content(key)[half:])
        return True

    return change


class Ledger:
    """One life of the application on one node. `opened_here` is told of each office."""

    def __init__(self, opened_here: Callable[[Opening], None]) -> None:
        self.store: Store | None = None
        self._opened_here = opened_here

    async def opened(self, store: Store, opening: Opening) -> None:
        """Make the tables and take entries."""

        def migrate(transaction: Transaction) -> None:
            rows = transaction.connection
            rows.execute("CREATE TABLE IF NOT EXISTS entry (id INTEGER PRIMARY KEY, key TEXT, value BLOB) STRICT")
            rows.execute("CREATE INDEX IF NOT EXISTS entry_by_key ON entry (key)")
            rows.execute("CREATE TABLE IF NOT EXISTS total (id INTEGER PRIMARY KEY, entries INTEGER) STRICT")
            rows.execute("INSERT OR IGNORE INTO total VALUES (1, 0)")

        self._opened_here(opening)
        await store.write(migrate)
        self.store = store

    async def closing(self) -> None:
        """Take no more."""
        self.store = None


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """One entry that a client was told is safe."""

    key: str
    sequence: int
    epoch: Epoch
    at: float


class Masters(Protocol):
    """Where a client finds whoever is in office."""

    def in_office(self) -> list[tuple[Process, Ledger]]:
        """Every running node whose application is open."""


@dataclass
class Clients:
    """Everything that was asked for and promised."""

    loop: VirtualLoop
    masters: Masters
    seed: int
    note: Callable[[str], None]
    acknowledged: list[Acknowledged] = field(default_factory=list)
    tried: set[str] = field(default_factory=set)
    refusals: int = 0
    shown: set[str] = field(default_factory=set)
    stopping: bool = False

    async def look(self, nodes: Callable[[], list[tuple[Process, Node]]]) -> None:
        """A reader: what either node shows as confirmed must never vanish."""
        rng = random.Random(f"reader/{self.seed}")
        while not self.stopping:
            await asyncio.sleep(0.1 + rng.random() * 1.5)
            if found := nodes():
                process, node = rng.choice(found)
                task = self.loop.run_for(process, self._look(node))
                await asyncio.wait([task], timeout=PATIENCE_S)

    async def _look(self, node: Node) -> None:
        store = node.office.store if node.office is not None else None
        try:
            (keys, _), sequence = await (store.read(entries) if store is not None else node.read_copy(entries))
        except (Unavailable, Closed):
            return
        if node.office is None or node.office.store is store:
            self.note(f"reader: {len(keys)} entries at {sequence} of {node.node[0]}")
            self.shown.update(keys)

    async def run(self, number: int) -> None:
        """One client: an entry at a time, each retried with its key until it is acknowledged."""
        rng = random.Random(f"client/{self.seed}/{number}")
        count = 0
        while not self.stopping:
            count += 1
            key = f"{number}-{count}"
            while not self.stopping and not await self._try(key, rng):
                await asyncio.sleep(0.3 + rng.random())
            await asyncio.sleep(rng.random() * rng.choice((0.05, 0.5, 2.0)))

    async def _try(self, key: str, rng: random.Random) -> bool:
        found = self.masters.in_office()
        if not found:
            return False
        process, ledger = rng.choice(found)
        if ledger.store is None:
            return False
        epoch = ledger.store.epoch
        task = self.loop.run_for(process, ledger.store.write(enter(key), key))
        self.tried.add(key)
        await asyncio.wait([task], timeout=PATIENCE_S)
        if not task.done():
            return False
        try:
            _, sequence = task.result()
        except (Unavailable, OutcomeUnknown, Closed, DiskFull) as error:
            self.refusals += 1
            self.note(f"client: {key} {type(error).__name__}")
            return False
        self.acknowledged.append(Acknowledged(key, sequence, epoch, self.loop.time()))
        self.note(f"client: {key} acknowledged at {sequence} of {epoch}")
        return True


def entries(connection: sqlite3.Connection) -> tuple[list[str], int]:
    """Every entry's key, as often as it is there, and the total that the entries kept."""
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'total'").fetchone():
        return [], 0
    keys = [row[0] for row in connection.execute("SELECT key FROM entry ORDER BY id")]
    return keys, connection.execute("SELECT entries FROM total").fetchone()[0]
