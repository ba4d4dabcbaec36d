"""A storage engine on one node for the tests beside this file: opened as a node in office opens it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from replication.core.request import Kind, Request, chain_hash, encode
from replication.core.types import ORIGIN, Epoch, Position
from replication.files import Disk
from replication.redo import Applier, open_node
from replication.store import Store, Transaction

EPOCH = Epoch(1, "0" * 31 + "1")
SEGMENT_BYTES = 256 * 1024


@dataclass
class Engine:
    """A store and what it stands on. `fatal` collects what would have ended the process."""

    disk: Disk
    applier: Applier
    store: Store
    requests: list[tuple[int, bytes]]
    fatal: list[BaseException] = field(default_factory=list)


@asynccontextmanager
async def opened(root: Path, *, alone: bool = True) -> AsyncIterator[Engine]:
    """Open `root` and take office in it; with `alone` a request is committed as soon as it is fsynced here."""
    disk = Disk(root)
    applier = open_node(disk, segment_bytes=SEGMENT_BYTES)
    applier.apply_all()
    requests: list[tuple[int, bytes]] = []
    fatal: list[BaseException] = []
    store = await Store.open(
        disk,
        applier.journal,
        applier.control,
        applier.sums,
        EPOCH,
        commit=applier.applied,
        on_request=lambda sequence, encoded, at: requests.append((sequence, encoded)),
        fatal=fatal.append,
    )
    if alone:
        store.on_fsynced = store.gate.advance
    try:
        yield Engine(disk, applier, store, requests, fatal)
    finally:
        await store.close()
        applier.close()
        disk.close()


def create_table(transaction: Transaction) -> None:
    """A change: one table."""
    transaction.connection.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, value TEXT) STRICT")


def insert(value: str) -> Callable[[Transaction], int | None]:
    """Return a change that inserts a row and returns its id."""
    return lambda t: t.connection.execute("INSERT INTO item (value) VALUES (?)", (value,)).lastrowid


def control_request(last: Position, *, commit: int = 0, note: bytes = b"note", epoch: Epoch = EPOCH) -> bytes:
    """Return the encoded request that follows `last` and changes no file."""
    return encode(Request(last.sequence + 1, epoch, Kind.EPOCH, last.hash, commit, 0, 1, note=note))


def chain(count: int, *, note_bytes: int = 100) -> list[bytes]:
    """Return `count` requests from the first on."""
    last = ORIGIN
    encoded = []
    for number in range(count):
        encoded.append(control_request(last, note=bytes([number % 251]) * note_bytes))
        last = Position(EPOCH, last.sequence + 1, chain_hash(encoded[-1]))
    return encoded
