"""One node of a pair for benchmarks, in a process of its own: real files, real SQLite, mutual TLS on loopback.

`python -m tests.bench.pair_node DIRECTORY NODE PORT PEER PEER_PORT` prints one JSON line when its directory is redone,
and then one for each order of standard input. In any role: `found`, `peers`, `join`, `sync`, `resume`. In office:
`writes CLIENTS SECONDS`, `fill MEGABYTES`, `checkpoint`, `behind`, `load RATE`, `unload`, `listen PATH`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from replication.core.types import Epoch, NodeId, State
from replication.core.witness import Claim, WitnessVerdict
from replication.node import Node, NodeSettings
from replication.ports import Opening
from replication.store import Store, Transaction
from replication.writer import Change
from server.ports.cluster_port import WebSocketConnection, dialler
from server.trust import tls
from tests.bench.certificates import CLUSTER

TABLE = "CREATE TABLE IF NOT EXISTS lines (id INTEGER PRIMARY KEY, client INTEGER, text TEXT)"
TEXT = "x" * 100
ROW_BYTES = 1000
FILL_ROWS = 2000
READY_STATES = (State.SYNCING, State.IN_SYNC)


class Lines:
    """The application: one table."""

    def __init__(self) -> None:
        self.store: Store | None = None

    async def opened(self, store: Store, opening: Opening) -> None:
        """Make the table."""

        def migrate(transaction: Transaction) -> None:
            transaction.connection.execute(TABLE)

        await store.write(migrate)
        self.store = store

    async def closing(self) -> None:
        """Take no more."""
        self.store = None


class NoWitness:
    """No witness is configured."""

    async def grant(self, claim: Claim) -> WitnessVerdict:
        """Nobody to ask."""
        return WitnessVerdict(0, 0, 0)

    async def record_alone(self, epoch: Epoch, alone: NodeId | None, counter: int) -> bool:
        """Nobody to tell."""
        return True


def insert(client: int) -> Change[None]:
    """One row of about 100 bytes."""

    def change(transaction: Transaction) -> None:
        transaction.connection.execute("INSERT INTO lines (client, text) VALUES (?, ?)", (client, TEXT))

    return change


def figures(clients: int, latencies: list[float], passed: float) -> dict[str, float]:
    """Writes per second, p50 and p99 in milliseconds."""
    assert latencies, "nothing was written"
    latencies.sort()
    p50, p99 = (latencies[int(len(latencies) * share)] * 1000 for share in (0.5, 0.99))
    return {"clients": clients, "writes_per_s": len(latencies) / passed, "p50_ms": p50, "p99_ms": p99}


class LineServer(asyncio.Protocol):
    """One client on the Unix socket: each byte it sends is one insert, answered by one byte when it is committed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._change = insert(0)
        self._transport: asyncio.WriteTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Write one row for each byte."""
        for _ in data:
            task = asyncio.get_running_loop().create_task(self._write())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _write(self) -> None:
        await self._store.write(self._change)
        assert self._transport is not None
        self._transport.write(b".")


class Orders:
    """Carries out the lines of standard input."""

    def __init__(self, node: Node, lines: Lines, roster: dict[NodeId, str]) -> None:
        self._node = node
        self._lines = lines
        self._roster = roster
        self._load: tuple[asyncio.Task[None], list[float], float] | None = None
        self._server: asyncio.Server | None = None

    async def take(self) -> None:
        """Until standard input ends."""
        while line := await asyncio.to_thread(sys.stdin.readline):
            name, *words = line.split()
            order: Callable[..., Awaitable[dict[str, Any]]] = getattr(self, f"do_{name}")
            print(json.dumps(await order(*words)), flush=True)

    @property
    def _store(self) -> Store:
        assert self._lines.store is not None, "this node is not in office"
        return self._lines.store

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._node.wait_status()

    async def do_found(self) -> dict[str, Any]:
        """Be the master of a new cluster."""
        await self._node.found()
        return {}

    async def do_peers(self) -> dict[str, Any]:
        """Know the other node."""
        self._node.set_peers(self._roster)
        return {}

    async def do_join(self) -> dict[str, Any]:
        """Be the standby; answers when the copy is whole, equal and durable."""
        node, started = self._node, time.monotonic()

        def durable() -> bool:
            receiver = node.following.receiver if node.following is not None else None
            return receiver is not None and node.machine.state in READY_STATES and not node.following._until

        await node.join(self._roster)
        while not durable():
            await asyncio.sleep(0.002)
        return {"copied_s": time.monotonic() - started}

    async def do_sync(self) -> dict[str, Any]:
        """Wait until the standby counts."""
        await self._until(lambda: self._node.status().in_sync)
        return {}

    async def do_alone(self) -> dict[str, Any]:
        """Count on the other node no longer: it is gone."""
        await self._until(lambda: not self._node.status().in_sync)
        await self._node.go_alone(b"the standby was removed")
        return {}

    async def do_resume(self) -> dict[str, Any]:
        """After a restart: wait for office, or for the stream from whoever has it. `at`: wall clock seconds."""

        def going() -> bool:
            receiver = self._node.following.receiver if self._node.following else None
            return self._lines.store is not None or (receiver is not None and receiver.commit > 0)

        while not going():
            await asyncio.sleep(0.005)
        return {"at": time.time(), "state": self._node.machine.state.value}

    async def do_writes(self, clients: str, seconds: str) -> dict[str, Any]:
        """`clients` loops of one insert for each call, inside this process."""
        store, latencies = self._store, list[float]()
        started = time.monotonic()
        end = started + float(seconds)

        async def client(number: int) -> None:
            change = insert(number)
            while (began := time.monotonic()) < end:
                await store.write(change)
                latencies.append(time.monotonic() - began)

        await asyncio.gather(*map(client, range(int(clients))))
        return figures(int(clients), latencies, time.monotonic() - started)

    async def do_listen(self, path: str) -> dict[str, Any]:
        """Take inserts of other processes on a Unix socket."""
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: LineServer(self._store), path)
        return {}

    async def do_fill(self, megabytes: str) -> dict[str, Any]:
        """Insert random rows until the database has about this size; its WAL is checkpointed then."""
        database = self._node.disk.path("scheduler.db")

        def rows(transaction: Transaction) -> None:
            data = os.urandom(FILL_ROWS * ROW_BYTES // 2).hex()
            texts = ((0, data[at : at + ROW_BYTES]) for at in range(0, len(data), ROW_BYTES))
            transaction.connection.executemany("INSERT INTO lines (client, text) VALUES (?, ?)", texts)

        pages, size = 0, 4096
        while pages * size < int(float(megabytes) * 1e6):
            await self._store.write(rows)
            pages, _ = await self._store.read(lambda c: int(c.execute("PRAGMA page_count").fetchone()[0]))
        await self._store.checkpoint()
        return {"bytes": database.stat().st_size}

    async def do_checkpoint(self) -> dict[str, Any]:
        """Checkpoint now."""
        return {"done": await self._store.checkpoint()}

    async def do_behind(self) -> dict[str, Any]:
        """How much journal a restart would redo."""
        checkpoint = self._node.control.value.checkpoint.sequence
        return {"redo_mb": self._node.journal.bytes_behind(checkpoint) / 1e6}

    async def do_load(self, rate: str) -> dict[str, Any]:
        """Insert at `rate` per second from now on, whatever the answers take."""
        store, latencies = self._store, list[float]()

        async def one() -> None:
            began = time.monotonic()
            await store.write(insert(0))
            latencies.append(time.monotonic() - began)

        async def keep_writing() -> None:
            async with asyncio.TaskGroup() as group:
                due = time.monotonic()
                while True:
                    group.create_task(one())
                    due += 1 / float(rate)
                    await asyncio.sleep(max(due - time.monotonic(), 0))

        self._load = asyncio.create_task(keep_writing()), latencies, time.monotonic()
        return {}

    async def do_unload(self) -> dict[str, Any]:
        """End the load; what it felt."""
        assert self._load is not None
        task, latencies, started = self._load
        passed = time.monotonic() - started
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return {**figures(0, latencies, passed), "longest_ms": latencies[-1] * 1000} if latencies else {}


async def main(directory: Path, name: str, port: int, peer: str, peer_port: int) -> None:
    """Serve until standard input ends."""
    keys = (directory / f"{name}.crt", directory / f"{name}.key", directory / "ca.crt")
    context = tls.client_context(keys[2], keys[0], keys[1])
    settings = NodeSettings(CLUSTER, name, name[0], f"127.0.0.1:{port}", "0", steady_s=0.1)
    lines = Lines()
    node = await Node.open(directory / f"data-{name[0]}", settings, lines, NoWitness(), dialler(lambda: context))

    async def link(request: web.Request) -> web.StreamResponse:
        found_peer = tls.require_peer(request.transport, "node")
        socket = web.WebSocketResponse(compress=False, max_msg_size=9 << 20)
        await socket.prepare(request)
        await node.attach(WebSocketConnection(found_peer.id, socket), request.match_info["channel"])
        return socket

    app = web.Application()
    app.router.add_get("/replication/{channel}", link)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls.cluster_context(*keys)).start()
    print(json.dumps({"redone_at": time.time()}), flush=True)
    await Orders(node, lines, {peer: f"127.0.0.1:{peer_port}"}).take()
    await node.close()
    await runner.cleanup()


if __name__ == "__main__":
    where, node_id, own_port, peer_id, other_port = sys.argv[1:]
    asyncio.run(main(Path(where), node_id, int(own_port), peer_id, int(other_port)))
