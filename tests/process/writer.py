"""One client: a separate process that writes through the public API and keeps its own list of what was acknowledged.

It knows both addresses, sends an Idempotency-Key with each write, and repeats the same write at either node until it
is answered. A line is appended and fsynced for each answer that counts, before the next write begins.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

from tests.process.api import Answer, Api, NoAnswer

PATIENCE_S = 120.0
"""How long one write is repeated before the client gives up and says so."""

PAUSE_S = 0.05
AGAIN = {421, 429, 502, 503, 504}
"""Not master, busy, or outcome unknown: the same write with the same key is sent again."""


class Log:
    """An append-only file of JSON lines, fsynced line by line."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def add(self, **fields: object) -> None:
        os.write(self._file, (json.dumps(fields) + "\n").encode())
        os.fsync(self._file)


class Writer:
    """Writes one row after the other; `stopping` is set by SIGTERM and looked at between writes."""

    def __init__(self, name: str, nodes: list[Api], agent: str, log: Log) -> None:
        self.name = name
        self.nodes = nodes
        self.agent = agent
        self.log = log
        self.stopping = False

    def write(self, number: int) -> None:
        """Write one job that nothing runs; return when it is acknowledged or refused for good."""
        name = f"{self.name}-{number:06}"
        body = {"name": name, "command": "true", "agent": self.agent, "description": f"row {number}"}
        began = time.monotonic()
        tries = 0
        while time.monotonic() - began < PATIENCE_S:
            tries += 1
            answer = self._try(body, f"key-{name}")
            if answer is not None and answer.status not in AGAIN:
                self._keep(name, answer, began, tries)
                return
            self.nodes.append(self.nodes.pop(0))
            time.sleep(PAUSE_S)
        self.log.add(event="gave_up", name=name, at=time.time(), tries=tries)

    def _try(self, body: dict[str, str], key: str) -> Answer | None:
        try:
            return self.nodes[0].request("POST", "/api/v1/jobs", body, key)
        except NoAnswer:
            return None

    def _keep(self, name: str, answer: Answer, began: float, tries: int) -> None:
        good = 200 <= answer.status < 300
        self.log.add(
            event="acknowledged" if good else "refused",
            name=name,
            status=answer.status,
            node=self.nodes[0].host,
            sequence=int(answer.headers.get("understudy-sequence", 0)),
            at=time.time(),
            took_s=round(time.monotonic() - began, 4),
            tries=tries,
            detail="" if good else str(answer.value),
        )

    def run(self, rate: float) -> None:
        """Write at `rate` per second until told to stop; what could not be written in time is not caught up."""
        number = 0
        due = time.monotonic()
        while not self.stopping:
            number += 1
            self.write(number)
            due = max(due + 1 / rate, time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))


def main() -> int:
    """Entry point: arguments are the contract between the harness and its clients."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--node", action="append", required=True, help="HOST:PORT, once for each node")
    parser.add_argument("--authority", type=Path, required=True)
    parser.add_argument("--token-file", type=Path, required=True)
    parser.add_argument("--agent", required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--log", type=Path, required=True)
    given = parser.parse_args()
    token = given.token_file.read_text().strip()
    addresses = [node.rsplit(":", 1) for node in given.node]
    nodes = [Api(host, int(port), given.authority, token, timeout_s=7) for host, port in addresses]
    writer = Writer(given.name, nodes, given.agent, Log(given.log))
    signal.signal(signal.SIGTERM, lambda *_: setattr(writer, "stopping", True))
    writer.run(given.rate)
    return 0


if __name__ == "__main__":
    sys.exit(main())
