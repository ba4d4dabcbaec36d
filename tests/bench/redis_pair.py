"""Redis with one replica, append-only files fsynced at every write on both, no TLS; set up by itself.

Own directories, ports and processes. Debian's package `redis-tools` is enough and starts no service: its program is
the server under another name.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.socket_clients import in_a_process
from tests.process.programs import free_port

SETTINGS = {
    "appendonly": "yes",
    "appendfsync": "always",
    "save": '""',
    "auto-aof-rewrite-percentage": "0",
    "repl-diskless-sync-delay": "0",
    "protected-mode": "no",
    "bind": "127.0.0.1",
}
STEP_S = 0.0005
SETTLE_S = 0.2


def program() -> str:
    """The server's program; installs it when it is missing."""
    for name in ("redis-server", "redis-check-rdb"):
        if found := shutil.which(name):
            return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update"], check=True, stdout=subprocess.DEVNULL)
        install = ["apt-get", "install", "-y", "--no-install-recommends", "redis-tools"]
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
    if found := shutil.which("redis-check-rdb"):
        return found
    raise SystemExit("Redis is not installed: apt-get install redis-tools, then measure again")


class Client:
    """One blocking connection that sends commands and reads the replies."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 5.0)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def call(self, *words: str) -> str:
        """One command; returns a simple reply, an integer or a bulk string as text. Errors begin with '-'."""
        self.send(words)
        return self.reply()

    def send(self, *commands: tuple[str, ...]) -> None:
        """Send commands without waiting."""
        parts = [b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in words)
                 for words in commands]  # fmt: skip
        self._socket.sendall(b"".join(parts))

    def reply(self) -> str:
        """The next reply."""
        line = self._file.readline().decode().rstrip("\r\n")
        if line.startswith("$") and line != "$-1":
            return self._file.read(int(line[1:]) + 2)[:-2].decode()
        return line

    def close(self) -> None:
        """Close it."""
        self._file.close()
        self._socket.close()


class RedisPair:
    """`ports[self.master]` is the master's."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "redis"
        self.directory.mkdir()
        self.ports = (free_port(), free_port())
        self.master = 0
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start both, the second following the first; returns when it does."""
        for number, port in enumerate(self.ports):
            data = self.directory / str(port)
            data.mkdir()
            words = ["redis-server", "--port", str(port), "--dir", str(data)]
            words += [word for name, value in SETTINGS.items() for word in (f"--{name}", value.strip('"'))]
            words += ["--replicaof", "127.0.0.1", str(self.ports[0])] if number else []
            with open(data / "log", "wb") as log:
                process = subprocess.Popen(words, executable=program(), stdout=log, stderr=log)
            self._processes.append(process)
        self.wait_in_sync()

    def wait_in_sync(self) -> None:
        """Until the master's replica is online and acknowledges a write."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                client = Client(self.ports[self.master])
                online = "state=online" in client.call("INFO", "replication")
                client.call("SET", "probe", "1")
                if online and client.call("WAIT", "1", "100") == ":1":
                    client.close()
                    return
                client.close()
            except OSError:
                pass
            time.sleep(0.05)
        raise SystemExit("Redis' replica did not come into sync")

    @property
    def pids(self) -> list[int]:
        """Both processes."""
        return [process.pid for process in self._processes]

    def measure(self, clients: int, seconds: float) -> dict[str, float]:
        """One RPUSH and WAIT 1 for each call, by `socket_clients`: writes per second, p50 and p99 in milliseconds."""
        return in_a_process("redis", self.ports[self.master], clients, seconds)

    def failover_pause_s(self) -> float:
        """FAILOVER to the replica while a client writes to the old master and another asks the new one to take a write:
        the time between the last write that the old one answered, replicated, and the first of the new one."""
        old, new = Client(self.ports[self.master]), Client(self.ports[1 - self.master])
        orders = Client(self.ports[self.master])
        answered: list[float] = []

        def keep_writing() -> None:
            while is_written(old):
                answered.append(time.monotonic())

        writing = threading.Thread(target=keep_writing)
        writing.start()
        time.sleep(SETTLE_S)
        assert orders.call("FAILOVER") == "+OK"
        while not is_written(new, replicas=0):
            time.sleep(STEP_S)
        first = time.monotonic()
        writing.join(10)
        for each in (old, new, orders):
            each.close()
        self.master = 1 - self.master
        self.wait_in_sync()
        return first - answered[-1]

    def stop(self) -> None:
        """End both by their pids."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def is_written(client: Client, replicas: int = 1) -> bool:
    """Was one write taken, and acknowledged by so many replicas within a second? The new master has none yet."""
    taken = client.call("SET", "line", "x" * 100) == "+OK"
    return taken and (not replicas or client.call("WAIT", str(replicas), "1000") == f":{replicas}")


@contextmanager
def redis_pair(directory: Path) -> Iterator[RedisPair]:
    """A running pair below `directory`; ended on the way out."""
    pair = RedisPair(directory)
    try:
        pair.start()
        yield pair
    finally:
        pair.stop()
