"""Two nodes to play with: start, crash, stop and compare them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from replication.core.types import Epoch, NodeId, State
from replication.core.witness import (
    Claim,
    WitnessAnswer,
    WitnessRecord,
    WitnessVerdict,
    combine,
    decide_alone,
    decide_claim,
)
from replication.files import Disk
from replication.node import Node, NodeSettings
from replication.ports import Opening
from replication.store import Store, Transaction
from tests.pair.wire import Network

A, B = "a" * 32, "b" * 32
CLUSTER = "c" * 32


class Notebook:
    """The application: one table of lines."""

    def __init__(self) -> None:
        self.store: Store | None = None
        self.openings: list[Opening] = []
        self.is_killed = False

    async def opened(self, store: Store, opening: Opening) -> None:
        """Make the table and take lines."""

        def migrate(transaction: Transaction) -> None:
            transaction.connection.execute("CREATE TABLE IF NOT EXISTS lines (id INTEGER PRIMARY KEY, text TEXT)")

        await store.write(migrate)
        self.store = store
        self.openings.append(opening)

    async def closing(self) -> None:
        """Take no more lines."""
        self.store = None

    async def write(self, text: str) -> int:
        """Add a line; returns its sequence once it is committed."""
        assert self.store is not None, "this node is not in office"

        def insert(transaction: Transaction) -> None:
            transaction.connection.execute("INSERT INTO lines (text) VALUES (?)", (text,))

        return (await self.store.write(insert))[1]


class Witness:
    """One witness that both nodes can ask; `is_silent` makes it unreachable. The rule is the shipped one."""

    def __init__(self) -> None:
        self.record = WitnessRecord()
        self.is_silent = False

    async def grant(self, claim: Claim) -> WitnessVerdict:
        """Answer as one configured witness does."""
        answers: list[WitnessAnswer] = []
        if not self.is_silent:
            self.record, answer = decide_claim(self.record, claim)
            answers.append(answer)
        return combine(answers, 1)

    async def record_alone(self, epoch: Epoch, alone: NodeId | None, counter: int) -> bool:
        """Record it unless silent or refused."""
        if self.is_silent:
            return False
        self.record, done = decide_alone(self.record, epoch, alone or "", counter)
        return done


class Pair:
    """Nodes A and B with one witness, on directories below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.network = Network()
        self.witness = Witness()
        self.books: dict[str, Notebook] = {}
        self.more: dict[str, Any] = {}
        """Further settings of the nodes that are started from now on."""
        self.disks: dict[str, Disk] = {}
        """Disks to start nodes on, instead of plain ones."""
        self.said: list[str] = []
        """What the nodes said for people, in order."""
        self.ended: list[BaseException] = []
        """Why nodes ended their process; those that were being killed anyway are not asked."""

    @property
    def nodes(self) -> dict[str, Node]:
        """The running nodes by id."""
        return self.network.nodes

    async def start(self, name: str) -> Node:
        """Open a node on its directory, as a process would."""
        books = self.books[name] = Notebook()
        more = {"end": lambda error: self._end(books, error), **self.more}
        settings = NodeSettings(CLUSTER, name, f"node-{name[0]}", f"{name[0]}:1", "0.1.0", steady_s=0.05, **more)
        disk = self.disks.get(name, self.root / name[0])
        node = await Node.open(
            disk, settings, books, self.witness, self.network.dialler(name),
            lambda text, facts: self.said.append(text),
        )  # fmt: skip
        self.nodes[name] = node
        if node.control.value.peers:
            node.set_peers(node.control.value.peers)
        return node

    async def found(self) -> None:
        """A founds the cluster, B joins and is counted on."""
        first = await self.start(A)
        await first.found()
        second = await self.start(B)
        first.set_peers({B: "b:1"})
        await second.join({A: "a:1"})
        await self.until(lambda: first.status().in_sync and second.status().in_sync)

    async def stop(self, name: str) -> None:
        """A clean stop."""
        node = self.nodes[name]
        await node.close()
        await self.network.drop(name)
        await self.until(lambda: not any(other.machine.connected(name) for other in self.nodes.values()))

    async def crash(self, name: str) -> None:
        """Leave as a killed process does: nothing is closed in order, what was written to files stays."""
        node = self.nodes[name]
        self.books[name].is_killed = True
        await self.network.drop(name)
        await abandon(node)
        await self.until(lambda: not any(other.machine.connected(name) for other in self.nodes.values()))

    async def until(self, condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
        """Wait for a condition of the pair; fails with both states when it does not come."""
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            states = {
                n[0]: (x.machine.state, x.journal.last.sequence, x.status().waiting_for) for n, x in self.nodes.items()
            }
            raise AssertionError(f"not reached; {states}") from None

    def in_office(self, name: str) -> bool:
        """The node is master and its application runs."""
        node = self.nodes.get(name)
        return node is not None and node.office is not None and node.office.ready

    async def lines(self, name: str) -> list[str]:
        """Every line on one node, whichever role it has."""

        def query(connection: sqlite3.Connection) -> list[str]:
            return [row[0] for row in connection.execute("SELECT text FROM lines ORDER BY id")]

        return (await self.nodes[name].read_copy(query))[0]

    async def settle(self) -> None:
        """Both nodes hold and have applied the same."""
        await self.until(
            lambda: (
                len({(n.journal.last, n.status().checksum, n.status().applied_sequence) for n in self.nodes.values()})
                == 1
            )
        )

    def is_standing_by(self, name: str) -> bool:
        """The node is a standby that the master counts on."""
        return self.nodes[name].machine.state is State.IN_SYNC

    def _end(self, books: Notebook, error: BaseException) -> None:
        """A node would end its process now, from whichever thread; one whose files were taken away has to."""
        if not books.is_killed:
            self.ended.append(error)

    async def close(self) -> None:
        """Stop whatever runs; a node that ended its process by itself fails the test."""
        for name in list(self.nodes):
            await self.crash(name)
        assert self.ended == [], f"a node ended its process: {self.ended}"


async def abandon(node: Node) -> None:
    """Stop a node's tasks and close its descriptors without telling anybody or writing anything."""
    await node.links.close()
    await node._operations.stop_following()
    tasks = list(node._tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if node.office is not None:
        office = node.office
        if office._application_task is not None:
            office._application_task.cancel()
            await asyncio.gather(office._application_task, return_exceptions=True)
        if office.store is not None:
            await office.store.close()
    node.applier.close()
    node.disk.close()
