"""What compression saves and costs: batches of requests and blocks of a copy as a pair makes them, zstd beside zlib.

The requests are changes of the product as a node journaled them; the blocks are those of its database. CPU is of this
process, for one side's work each; `off` is what a LAN gets.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from replication.compare import BLOCK_BYTES
from replication.core import codec
from replication.core.compression import OFF, ZSTD
from replication.core.messages import Block
from replication.files import Disk
from replication.redo import open_node
from tests.bench.physics import baseline, machine
from tests.process.cluster import Pair, start_master

BATCHES = (1, 8, 64)
"""Requests in one frame: a quiet pair, a busy one, one that catches up."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--changes", type=int, default=1000, help="changes that the node takes first")


def measured(frames: Callable[[str], list[bytes]], rounds: int = 3) -> dict[str, Any]:
    """Ratio, and CPU for each megabyte of what was to be sent: packed here, unpacked there; zlib for comparison."""
    plain = frames(OFF)
    size = sum(map(len, plain))
    found: dict[str, Any] = {"plain_bytes": size}
    for name, pack, unpack in (
        (ZSTD, lambda: frames(ZSTD), lambda frame: codec.decode(frame)),
        ("zlib", lambda: [zlib.compress(frame, 1) for frame in frames(OFF)], lambda frame: zlib.decompress(frame)),
        (OFF, lambda: frames(OFF), lambda frame: codec.decode(frame)),
    ):
        began = time.process_time()
        for _ in range(rounds):
            packed = pack()
        packing = (time.process_time() - began) / rounds
        began = time.process_time()
        for frame in packed:
            unpack(frame)
        unpacking = time.process_time() - began
        found[name] = {
            "ratio": round(size / sum(map(len, packed)), 2),
            "master_cpu_ms_per_mb": round(1e9 * packing / size, 2),
            "standby_cpu_ms_per_mb": round(1e9 * unpacking / size, 2),
        }
    return found


def requests_of(data: Path) -> list[bytes]:
    """Every request that the journal of a stopped node holds."""
    disk = Disk(data)
    applier = open_node(disk)
    try:
        return list(applier.journal.read(applier.journal.first_sequence))
    finally:
        applier.close()
        disk.close()


def blocks_of(database: Path) -> list[Block]:
    """The blocks that a first copy sends."""
    data = database.read_bytes()
    cut = [data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES)]
    return [Block(file="scheduler.db", number=n, size=len(data), data=block) for n, block in enumerate(cut)]


def frames_of(requests: list[bytes], count: int, compression: str = OFF) -> list[bytes]:
    """`count` requests to a frame."""
    groups = [requests[at : at + count] for at in range(0, len(requests), count)]
    return [frame for group in groups for frame in codec.encode_requests(1, group, compression)]


def fill(pair: Pair, rows: int) -> Path:
    """A node by the commands that an operator types, with as many changes; its directory, once it is stopped."""
    north = start_master(pair)
    api = north.api
    for number in range(rows):
        api.post("/api/v1/tokens", {"name": f"program-{number}"}, key=f"key-{number}")
    api.close()
    north.program.stop()
    return north.data


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """One node gives the material."""
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        pair = Pair(Path(directory))
        try:
            data = fill(pair, arguments.changes)
        finally:
            pair.stop()
        requests, blocks = requests_of(data), blocks_of(data / "scheduler.db")
        figures: dict[str, Any] = {"requests": len(requests), "database_bytes": blocks[0].size}
        for count in BATCHES:
            figures[f"{count}_a_frame"] = measured(partial(frames_of, requests, count))
        figures["copy"] = measured(lambda kind: [codec.encode(block, kind) for block in blocks])
        return {**figures, **machine(Path(directory)), **baseline(Path(directory))}
