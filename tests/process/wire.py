"""What came over the wire, as the kernel counted it, beside what the journal says had to come."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from replication.core.request import peek
from replication.segments import HEADER_BYTES, REQUEST, parse_record
from tests.process.cluster import Node
from tests.process.programs import wait_for

ALLOWANCE = 64 * 1024
FRAMES = 1 / 64
"""Handshakes and heartbeats, and of each request its frames: what a rejoin may cost beyond the requests."""


def bytes_received(node: Node, master: Node) -> int:
    """Bytes that a node's process has received on the links it dialled to its master."""
    assert node.program.process is not None
    words = ["ss", "-tinpOH", "dst", f"{master.host}:{master.cluster_port}"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    own = [line for line in shown.splitlines() if f"pid={node.program.process.pid}," in line]
    assert own, f"{node.name} has no link to {master.name}:\n{shown}"
    return sum(int(count) for line in own for count in re.findall(r"bytes_received:(\d+)", line))


def requests_after(data: Path, sequence: int) -> tuple[int, int]:
    """How many requests behind `sequence` a node's journal holds, and their bytes."""
    lengths: dict[int, int] = {}
    for segment in sorted((data / "journal").glob("*.journal")):
        content = segment.read_bytes()
        at = HEADER_BYTES
        while (record := parse_record(content, at)) is not None:
            if record.kind == REQUEST and (number := peek(record.payload).sequence) > sequence:
                lengths[number] = len(record.payload)
            at = record.end
    return len(lengths), sum(lengths.values())


def _sequence(node: Node) -> int:
    return int(node.status()["position"]["sequence"])


def _sent_until_now(master: Node) -> int:
    """A request that is no older than any that the master has sent: it sends them before they are its position."""
    api = master.api
    api.post("/api/v1/tokens", {"name": "after what was sent"}, key=f"after-{_sequence(master)}")
    api.close()
    return _sequence(master)


def rejoin_cost(returning: Node, master: Node, handoff: int) -> str:
    """A sentence with figures; an assertion error when more came than the requests after the hand-off.

    What came may not be in the journal yet: it is read when all is there that the master had sent when the bytes were
    read.
    """
    received = bytes_received(returning, master)
    reached = _sent_until_now(master)
    wait_for("what came to be in the journal", lambda: _sequence(returning) >= reached)
    count, needed = requests_after(returning.data, handoff)
    figures = f"{received} bytes came for {count} requests of {needed} bytes after the hand-off"
    assert received <= needed * (1 + FRAMES) + ALLOWANCE, f"{returning.name}: {figures}: more than a stream"
    return figures
