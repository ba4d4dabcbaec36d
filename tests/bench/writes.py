"""P1: durable writes acknowledged by both nodes, one insert per client call: `python -m tests.bench writes`.

Two processes on this machine, each with its own journal, mutual TLS between them.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.pair_node import make_authority
from tests.bench.store_writes import fdatasyncs_per_second

A, B = "a" * 32, "b" * 32
CLIENTS = (1, 16, 64, 256)


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(directory: Path, *arguments: object) -> subprocess.Popen[str]:
    """One node as a process; its orders go to standard input."""
    command = [sys.executable, "-m", "tests.bench.pair_node", str(directory), *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ask(node: subprocess.Popen[str], order: str) -> dict[str, float]:
    """Give one order and read its answer."""
    assert node.stdin is not None
    assert node.stdout is not None
    node.stdin.write(order + "\n")
    node.stdin.flush()
    return dict(json.loads(node.stdout.readline()))


def run(seconds: float) -> dict[str, object]:
    """Measure every number of clients; stops what it started."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        directory = Path(name)
        make_authority(directory)
        before = fdatasyncs_per_second(directory)
        ports = free_port(), free_port()
        nodes = [start(directory, A, ports[0], B, ports[1], "found"), start(directory, B, ports[1], A, ports[0])]
        try:
            for node in nodes:
                assert node.stdout is not None
                if node.stdout.readline().strip() != "ready":
                    raise SystemExit("a node did not start; its error is above")
            figures = [ask(nodes[0], f"writes {clients} {seconds}") for clients in CLIENTS]
        finally:
            for node in nodes:
                assert node.stdin is not None
                node.stdin.close()
            for node in nodes:
                try:
                    node.wait(10)
                except subprocess.TimeoutExpired:
                    node.kill()
        after = fdatasyncs_per_second(directory)
    return {"bench": "writes", "figures": figures, "fdatasync_per_s": [round(before), round(after)]}
