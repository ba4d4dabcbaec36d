"""Clients in a process of their own: `python -m tests.bench.socket_clients ours|redis ADDRESS CLIENTS SECONDS`.

One process, CLIENTS connections, each sends one write and waits for its answer before the next. ADDRESS is a Unix
socket (ours) or a port of loopback (Redis). Prints one JSON line. The same loop for both, so that both carry its cost.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
TEXT = b"x" * 100


class Language(NamedTuple):
    """What one write is: the bytes sent, and the bytes that answer it."""

    ask: bytes
    answer: bytes


def _command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


LANGUAGES = {
    "ours": Language(b".", b"."),
    "redis": Language(_command(b"RPUSH", b"lines", TEXT) + _command(b"WAIT", b"1", b"0"), b":1\r\n"),
}


def connect(kind: str, address: str) -> socket.socket:
    """One connection."""
    if kind == "ours":
        made = socket.socket(socket.AF_UNIX)
        made.connect(address)
    else:
        made = socket.create_connection(("127.0.0.1", int(address)))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def measure(kind: str, address: str, clients: int, seconds: float) -> dict[str, float]:
    """Writes per second, p50 and p99 in milliseconds."""
    language = LANGUAGES[kind]
    sockets = {made.fileno(): made for made in (connect(kind, address) for _ in range(clients))}
    poll = select.epoll()
    began: dict[int, float] = {}
    latencies: list[float] = []
    started = time.monotonic()
    end = started + seconds
    for number, made in sockets.items():
        poll.register(number, select.EPOLLIN)
        began[number] = time.monotonic()
        made.sendall(language.ask)
    while began:
        for number, _ in poll.poll():
            made = sockets[number]
            data = made.recv(256)
            if not data:
                raise SystemExit("the server closed a connection")
            if not data.endswith(language.answer):
                continue
            now = time.monotonic()
            latencies.append(now - began.pop(number))
            if now < end:
                began[number] = now
                made.send(language.ask)
    passed = time.monotonic() - started
    latencies.sort()
    p50, p99 = (latencies[int(len(latencies) * share)] * 1000 for share in (0.5, 0.99))
    return {"clients": clients, "writes_per_s": len(latencies) / passed, "p50_ms": p50, "p99_ms": p99}


def in_a_process(kind: str, address: object, clients: int, seconds: float) -> dict[str, Any]:
    """`measure` in a process of its own."""
    words = [sys.executable, "-m", "tests.bench.socket_clients", kind, str(address), str(clients), str(seconds)]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return dict(json.loads(done.stdout))


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))))
