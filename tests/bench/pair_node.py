"""One node of a pair for benchmarks, in a process of its own: real files, real SQLite, mutual TLS on loopback.

`python -m tests.bench.pair_node DIRECTORY NODE PORT PEER PEER_PORT [found]`. The master takes lines on standard input:
`writes CLIENTS SECONDS` prints one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from replication.core.types import Epoch, NodeId
from replication.core.witness import Claim, WitnessVerdict
from replication.node import Node, NodeSettings
from replication.ports import Opening
from replication.store import Store, Transaction
from server import tls
from server.cluster_port import WebSocketConnection, dialler

CLUSTER = "c" * 32
TABLE = "CREATE TABLE IF NOT EXISTS lines (id INTEGER PRIMARY KEY, client INTEGER, text TEXT)"


def make_authority(directory: Path) -> None:
    """Write `ca.crt` and a certificate for each of the two nodes below `directory`."""
    now = datetime.now(UTC)
    authority = tls.Authority.create(CLUSTER, now)
    (directory / "ca.crt").write_bytes(authority.certificate_pem())
    for node in ("a" * 32, "b" * 32):
        key = tls.new_key()
        request = tls.certificate_request(key)
        certificate = authority.issue(request, tls.Peer("node", node), ("127.0.0.1",), now)
        (directory / f"{node}.crt").write_bytes(certificate)
        (directory / f"{node}.key").write_bytes(tls.private_pem(key))


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


async def measure(store: Store, clients: int, seconds: float) -> dict[str, float]:
    """`clients` loops of one insert per call for `seconds`: writes per second, p50 and p99 in milliseconds."""
    latencies: list[float] = []
    end = time.monotonic() + seconds

    async def client(number: int) -> None:
        def insert(transaction: Transaction) -> None:
            transaction.connection.execute("INSERT INTO lines (client, text) VALUES (?, ?)", (number, "x" * 100))

        while (started := time.monotonic()) < end:
            await store.write(insert)
            latencies.append(time.monotonic() - started)

    started = time.monotonic()
    await asyncio.gather(*map(client, range(clients)))
    passed = time.monotonic() - started
    latencies.sort()
    p50, p99 = (latencies[int(len(latencies) * share)] * 1000 for share in (0.5, 0.99))
    return {"clients": clients, "writes_per_s": len(latencies) / passed, "p50_ms": p50, "p99_ms": p99}


async def take_orders(book: Lines) -> None:
    """Carry out the lines on standard input until it ends."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        _, clients, seconds = line.split()
        assert book.store is not None
        print(json.dumps(await measure(book.store, int(clients), float(seconds))), flush=True)


async def main(directory: Path, name: str, port: int, peer: str, peer_port: int, found: bool) -> None:
    """Serve until standard input ends."""
    keys = (directory / f"{name}.crt", directory / f"{name}.key", directory / "ca.crt")
    context = tls.client_context(keys[2], keys[0], keys[1])
    settings = NodeSettings(CLUSTER, name, name[0], f"127.0.0.1:{port}", "0", steady_s=0.1)
    book = Lines()
    node = await Node.open(directory / f"data-{name[0]}", settings, book, NoWitness(), dialler(context))

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
    roster = {peer: f"127.0.0.1:{peer_port}"}
    if found:
        await node.found()
        node.set_peers(roster)
    else:
        await node.join(roster)
    while not node.status().in_sync:
        await node.wait_status()
    print("ready", flush=True)
    await take_orders(book)
    await node.close()
    await runner.cleanup()


if __name__ == "__main__":
    arguments = sys.argv[1:]
    asyncio.run(
        main(Path(arguments[0]), arguments[1], int(arguments[2]), arguments[3], int(arguments[4]), "found" in arguments)
    )
