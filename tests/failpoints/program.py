"""One node in a process of its own that a failpoint may end: the shipped replication, links over mutual TLS.

`python -m tests.failpoints.program DIRECTORY NODE PORT PEER PEER_PORT [POINT NTH]` prints a JSON line when it listens,
then one for each order, a JSON array of its name and arguments, that comes on standard input.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from replication.control import ControlFile
from replication.core.types import Epoch, Mode, NodeId, Refused
from replication.core.witness import (
    Claim,
    WitnessAnswer,
    WitnessRecord,
    WitnessVerdict,
    combine,
    decide_alone,
    decide_claim,
)
from replication.errors import ReplicationError
from replication.node import Node, NodeSettings
from replication.ports import Opening
from replication.store import Store, Transaction
from server.ports.cluster_port import WebSocketConnection, dialler
from server.trust import tls
from tests.bench.certificates import CLUSTER
from tests.failpoints.points import DeadlyConnection, DeadlyDisk, Points, deadly_dialler, watch_control

SEGMENT_BYTES = 128 * 1024
TABLE = "CREATE TABLE IF NOT EXISTS lines (key TEXT PRIMARY KEY, text TEXT) STRICT"


class Lines:
    """The application: keys that are written once."""

    def __init__(self) -> None:
        self.store: Store | None = None

    async def opened(self, store: Store, opening: Opening) -> None:
        """Make the table."""
        await store.write(lambda t: t.connection.execute(TABLE).close())
        self.store = store

    async def closing(self) -> None:
        """Take no more."""
        self.store = None


class SharedWitness:
    """One witness for both processes: a record in a file, under a lock, fsynced before it answers. The shipped rule."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _change(self, rule: Callable[[WitnessRecord], tuple[WitnessRecord, Any]]) -> Any:
        with open(self._path, "a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            text = file.read()
            record = WitnessRecord()
            if text:
                epoch, alone, alone_epoch, counter = json.loads(text)
                record = WitnessRecord(Epoch(*epoch), alone, Epoch(*alone_epoch), counter)
            after, answer = rule(record)
            file.seek(0)
            file.truncate()
            file.write(json.dumps([after.epoch, after.alone, after.alone_epoch, after.counter]))
            file.flush()
            os.fsync(file.fileno())
            return answer

    async def grant(self, claim: Claim) -> WitnessVerdict:
        """Answer as one configured witness does."""
        answer: WitnessAnswer = self._change(lambda record: decide_claim(record, claim))
        return combine([answer], 1)

    async def record_alone(self, epoch: Epoch, alone: NodeId | None, counter: int) -> bool:
        """Record it unless refused."""
        done: bool = self._change(lambda record: decide_alone(record, epoch, alone or "", counter))
        return done


def writing(key: str, size: int) -> Callable[[Transaction], None]:
    """One row and one object; every third key removes the object again."""

    def change(transaction: Transaction) -> None:
        transaction.connection.execute("INSERT OR IGNORE INTO lines VALUES (?, ?)", (key, os.urandom(size // 2).hex()))
        transaction.write_object(key, 0, key.encode() * 10)
        if key.endswith("3"):
            transaction.remove_object(key[:-1] + "2")

    return change


class Orders:
    """Carries out the lines of standard input."""

    def __init__(self, node: Node, lines: Lines, roster: dict[NodeId, str], points: Points) -> None:
        self._node = node
        self._lines = lines
        self._roster = roster
        self._points = points
        self._pushed: set[asyncio.Task[None]] = set()

    async def take(self) -> None:
        """Until standard input ends."""
        while line := await asyncio.to_thread(sys.stdin.readline):
            name, *words = json.loads(line)
            order: Callable[..., Awaitable[Any]] = getattr(self, f"do_{name}")
            try:
                answer = await order(*words)
            except (Refused, ReplicationError, TimeoutError) as error:
                answer = {"refused": str(error) or type(error).__name__}
            print(json.dumps(answer), flush=True)

    async def do_arm(self, point: str, nth: int) -> None:
        """From now on this process ends there."""
        self._points.arm(point, nth)

    async def do_reached(self) -> dict[str, int]:
        """Which points were reached how often since the start."""
        return self._points.reached

    async def do_found(self) -> None:
        """Be the master of a new cluster."""
        await self._node.found()
        self._node.set_peers(self._roster)

    async def do_join(self) -> None:
        """Be the standby."""
        await self._node.join(self._roster)

    async def do_status(self) -> dict[str, Any]:
        """State, whether it writes, and its place."""
        status = self._node.status()
        last, synced = self._node.journal.last, self._node.journal.synced
        place = [last.sequence, last.hash.hex(), status.checksum, status.applied_sequence, synced]
        ready = self._lines.store is not None
        return {"state": status.state.value, "writes": ready, "in_sync": status.in_sync, "place": place}

    async def do_write(self, prefix: str, count: int, size: int) -> list[str]:
        """Write keys one by one, with what they hold; the list of those acknowledged."""
        acknowledged = []
        for number in range(count):
            if self._lines.store is None:
                break
            try:
                await self._lines.store.write(writing(f"{prefix}{number}", size))
            except (ReplicationError, TimeoutError):
                break
            acknowledged.append(f"{prefix}{number}")
        return acknowledged

    async def do_push(self, prefix: str, count: int) -> None:
        """Write keys without waiting for the answers."""

        async def one(number: int) -> None:
            if self._lines.store is not None:
                await asyncio.gather(self._lines.store.write(writing(f"{prefix}{number}", 50)), return_exceptions=True)

        for number in range(count):
            task = asyncio.create_task(one(number))
            self._pushed.add(task)
            task.add_done_callback(self._pushed.discard)
        await asyncio.sleep(0.2)

    async def do_checkpoint(self) -> bool:
        """Checkpoint whatever role this is."""
        if self._lines.store is not None:
            return await self._lines.store.checkpoint()
        if not self._node.applier.copying:
            await asyncio.to_thread(self._node.applier.checkpoint)
        return True

    async def do_swap(self, timeout_s: float) -> str:
        """Hand office to the other node."""
        return await self._node.swap(next(iter(self._roster)), b"note", timeout_s)

    async def do_promote(self, allow_data_loss: bool) -> str:
        """Take office without the master."""
        return await self._node.promote(allow_data_loss, False, b"note")

    async def do_go_alone(self) -> str:
        """Write without a standby."""
        return await self._node.go_alone(b"note")

    async def do_contents(self) -> dict[str, Any]:
        """Every key, a digest of all rows, and the names and bytes of the objects."""

        def query(connection: sqlite3.Connection) -> tuple[list[str], str]:
            rows = connection.execute("SELECT key, text FROM lines ORDER BY key").fetchall()
            return [row[0] for row in rows], hashlib.sha256(repr(rows).encode()).hexdigest()

        (keys, digest), _ = await self._node.read_copy(query)
        objects = hashlib.sha256()
        for name in self._node.disk.names("objects"):
            objects.update(name.encode() + self._node.disk.path(f"objects/{name}").read_bytes())
        return {"keys": keys, "rows": digest, "objects": objects.hexdigest()}


async def main(directory: Path, name: str, port: int, peer: str, peer_port: int, point: str, nth: int) -> None:
    """Serve until standard input ends."""
    keys = (directory / f"{name}.crt", directory / f"{name}.key", directory / "ca.crt")
    settings = NodeSettings(
        CLUSTER, name, name[0], f"127.0.0.1:{port}", "0", Mode.STRICT, steady_s=0.1, segment_bytes=SEGMENT_BYTES
    )
    points, lines = Points(point, nth), Lines()
    ControlFile.update = _watched_update(points)  # type: ignore[method-assign]  # the hook of this test program
    context = tls.client_context(keys[2], keys[0], keys[1])
    dial = deadly_dialler(dialler(lambda: context), points)
    disk = DeadlyDisk(directory / f"data-{name[0]}", points)
    node = await Node.open(disk, settings, lines, SharedWitness(directory / "witness"), dial)

    async def link(request: web.Request) -> web.StreamResponse:
        found = tls.require_peer(request.transport, "node")
        socket = web.WebSocketResponse(compress=False, max_msg_size=9 << 20)
        await socket.prepare(request)
        connection = DeadlyConnection(WebSocketConnection(found.id, socket), points)
        await node.attach(connection, request.match_info["channel"])
        return socket

    app = web.Application()
    app.router.add_get("/replication/{channel}", link)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls.cluster_context(*keys), reuse_address=True).start()
    if node.control.value.peers:
        node.set_peers(node.control.value.peers)
    print(json.dumps("listening"), flush=True)
    await Orders(node, lines, {peer: f"127.0.0.1:{peer_port}"}, points).take()
    await node.close()
    await runner.cleanup()


def _watched_update(points: Points) -> Callable[..., object]:
    update = ControlFile.update

    def watched(self: ControlFile, **changes: object) -> object:
        return watch_control(lambda **given: update(self, **given), points)(**changes)

    return watched


if __name__ == "__main__":
    where, node_id, own_port, peer_id, other_port, *deadly = sys.argv[1:]
    armed, times = deadly or ("", "1")
    asyncio.run(main(Path(where), node_id, int(own_port), peer_id, int(other_port), armed, int(times)))
