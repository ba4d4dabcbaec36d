"""Two nodes of Understudy's replication as processes, which take orders on standard input and answer in JSON lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.certificates import A, B, make_authority
from tests.process.programs import free_port

ROOT = Path(__file__).resolve().parents[2]


class OurNode:
    """One node: `start`, then `ask`, or `tell` and later `hear`."""

    def __init__(self, directory: Path, node: str, port: int, peer: str, peer_port: int) -> None:
        self.directory = directory
        self.data = directory / f"data-{node[0]}"
        self._words = [str(directory), node, str(port), peer, str(peer_port)]
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> OurNode:
        """Start the process; the first line it prints is `hear`d by the caller."""
        command = [sys.executable, "-m", "tests.bench.pair_node", *self._words]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        return self

    @property
    def pid(self) -> int:
        """Its process."""
        assert self.process is not None
        return self.process.pid

    def tell(self, *order: object) -> None:
        """Give an order."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, order)) + "\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """The next answer."""
        assert self.process is not None
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a node ended by itself; its error is above")
        return dict(json.loads(line))

    def ask(self, *order: object) -> dict[str, Any]:
        """Give an order and wait for its answer."""
        self.tell(*order)
        return self.hear()

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        assert self.process is not None
        os.kill(self.pid, signal.SIGKILL)
        self._reaped()

    def stop(self) -> None:
        """End it by the end of its input; bounded."""
        if self.process is None or self.process.poll() is not None:
            return
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._reaped()

    def _reaped(self) -> None:
        assert self.process is not None
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


class OurPair:
    """`master` and `standby`, the latter started by `add_standby`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "ours"
        self.directory.mkdir()
        make_authority(self.directory)
        ports = free_port(), free_port()
        self.master = OurNode(self.directory, A, ports[0], B, ports[1])
        self.standby = OurNode(self.directory, B, ports[1], A, ports[0])

    def found(self) -> None:
        """Start the master, alone."""
        self.master.start().hear()
        self.master.ask("found")

    def add_standby(self) -> None:
        """Start the standby, copy, and wait until both say that it is in sync."""
        self.standby.start().hear()
        self.master.ask("peers")
        self.standby.tell("join")
        self.master.ask("sync")
        self.master.ask("writes", 1, 0.1)
        self.standby.hear()
        self.standby.ask("sync")

    @property
    def pids(self) -> list[int]:
        """Both processes."""
        return [self.master.pid, self.standby.pid]

    def stop(self) -> None:
        """End both."""
        self.master.stop()
        self.standby.stop()


@contextmanager
def our_pair(directory: Path, *, standby: bool = True) -> Iterator[OurPair]:
    """A running pair below `directory`; ended on the way out."""
    pair = OurPair(directory)
    try:
        pair.found()
        if standby:
            pair.add_standby()
        yield pair
    finally:
        pair.stop()
