"""Makes the database of a stopped master large, by the shipped store: all of it is journaled and checkpointed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from replication.core.types import Epoch, NodeId
from replication.core.witness import Claim, WitnessVerdict
from replication.node import Node, NodeSettings
from replication.ports import Connection, Opening
from replication.store import Store, Transaction
from server.trust.identity import load_identity

ROW_BYTES = 64 * 1024
ROWS = 64


class Ballast:
    """The application: one table of random bytes."""

    def __init__(self) -> None:
        self.store: asyncio.Future[Store] = asyncio.get_running_loop().create_future()

    async def opened(self, store: Store, opening: Opening) -> None:
        """Make the table."""

        def migrate(transaction: Transaction) -> None:
            transaction.connection.execute("CREATE TABLE IF NOT EXISTS ballast (id INTEGER PRIMARY KEY, data BLOB)")

        await store.write(migrate)
        self.store.set_result(store)

    async def closing(self) -> None:
        """Nothing runs."""


class Nobody:
    """No witness is asked: the node never had a standby."""

    async def grant(self, claim: Claim) -> WitnessVerdict:
        """Nobody to ask."""
        return WitnessVerdict(0, 0, 0)

    async def record_alone(self, epoch: Epoch, alone: NodeId | None, counter: int) -> bool:
        """Nobody to tell."""
        return True


async def _dial(peer: NodeId, address: str, channel: str) -> Connection:
    raise ConnectionError("nobody is dialled")


async def _fill(data: Path, size: int) -> None:
    identity = load_identity(data)
    assert identity is not None
    settings = NodeSettings(identity.cluster, identity.id, identity.name, "127.0.0.1:1", "ballast")
    application = Ballast()
    node = await Node.open(data, settings, application, Nobody(), _dial)
    store = await application.store

    def insert(transaction: Transaction) -> None:
        rows = ((os.urandom(ROW_BYTES),) for _ in range(ROWS))
        transaction.connection.executemany("INSERT INTO ballast (data) VALUES (?)", rows)

    for _ in range(-(-size // (ROW_BYTES * ROWS))):
        await store.write(insert)
    await node.close()


def fill(data: Path, size: int) -> None:
    """Add about `size` bytes to the database of a stopped node that was master and never had a standby."""
    asyncio.run(_fill(data, size))
