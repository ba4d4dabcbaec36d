"""Who works meanwhile: an honest client that must be answered, the memory of a node, and what its log says."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.process.api import NoAnswer
from tests.process.cluster import Node
from tests.process.programs import command

SLOW_S = 10.0
GROWTH_BYTES_MAX = 400 << 20
PAUSE_S = 0.3


def by_socket(data: Path, path: str) -> int:
    """The status that the local socket answers."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(SLOW_S)
    connection.connect(str(data / "understudy.sock"))
    asks = http.client.HTTPConnection("localhost")
    asks.sock = connection
    try:
        asks.request("GET", path)
        return asks.getresponse().status
    finally:
        asks.close()


@dataclass
class Honest:
    """Asks a node again and again, on a new connection each time and by its socket, until `stop`."""

    node: Node
    web_s: list[float] = field(default_factory=list)
    socket_s: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> Honest:
        """Begin."""
        self._thread.start()
        return self

    def stop(self) -> list[str]:
        """End; what was wrong, as sentences."""
        self._over.set()
        self._thread.join(60)
        slow = [f"{name} took {max(times):.1f} s" for name, times in self._times() if times and max(times) > SLOW_S]
        none = [f"{name} was never answered" for name, times in self._times() if not times]
        return [f"honest client: {text}" for text in (*self.refused, *slow, *none)]

    def __str__(self) -> str:
        said = [_figures(name, sorted(times)) for name, times in self._times() if times]
        return "honest client meanwhile: " + "; ".join(said)

    def _times(self) -> list[tuple[str, list[float]]]:
        return [("web", self.web_s), ("socket", self.socket_s)]

    def _run(self) -> None:
        while not self._over.wait(PAUSE_S):
            api, began = self.node.api, time.monotonic()
            try:
                answer = api.request("GET", "/api/v1/status")
                if answer.status == 200:
                    self.web_s.append(time.monotonic() - began)
                else:
                    self.refused.append(f"web answered {answer.status} {answer.code}")
            except NoAnswer as error:
                self.refused.append(f"web: {error}")
            finally:
                api.close()
            began = time.monotonic()
            status = by_socket(self.node.data, "/api/v1/status")
            self.socket_s.append(time.monotonic() - began)
            if status != 200:
                self.refused.append(f"socket answered {status}")


def _figures(name: str, times: list[float]) -> str:
    middle_ms = 1000 * times[len(times) // 2]
    return f"{name} {len(times)} answers, median {middle_ms:.0f} ms, longest {times[-1]:.2f} s"


@dataclass
class Memory:
    """The memory of a node's process, looked at every half second until `stop`."""

    node: Node

    def __post_init__(self) -> None:
        assert self.node.program.process is not None
        self._process = psutil.Process(self.node.program.process.pid)
        self.before = self.most = self._process.memory_info().rss
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.5):
            self.most = max(self.most, self._process.memory_info().rss)

    def stop(self) -> list[str]:
        """End; a sentence when it grew too much."""
        self._over.set()
        self._thread.join(10)
        grown = self.most - self.before
        return [f"the node's memory grew by {grown >> 20} MiB"] if grown > GROWTH_BYTES_MAX else []

    def __str__(self) -> str:
        return f"memory of {self.node.name}: {self.before >> 20} MiB before, {self.most >> 20} MiB at most"


def defects(node: Node) -> list[str]:
    """What the node's log calls an error: nothing that comes from outside may be one."""
    found = []
    for line in node.program.log.read_text(errors="replace").splitlines():
        if '"level": "error"' in line or "Traceback" in line or "never retrieved" in line:
            found.append(f"{node.name} logged: {line[:400]}")
    return found[:5]


def said_times(node: Node, text: str) -> int:
    """How often the node's log has this."""
    return node.program.log.read_text(errors="replace").count(text)


def hostile_agent(master: Node, directory: Path, name: str) -> Path:
    """Enrol an agent whose program never runs; its directory has a valid certificate."""
    done = command("understudy", "agent", "invite", "--name", name, "--json", "--data", str(master.data))
    assert done.returncode == 0, done.stderr
    data = directory / name
    token = json.loads(done.stdout)["token"]
    joined = command("understudy", "agent", "--data", str(data), "--join", token, "--enrol-only")
    assert joined.returncode == 0, joined.stderr
    return data


def hostile_node(master: Node, directory: Path, fingerprint: str, password_file: Path) -> Path:
    """Enrol a node whose program never runs; its directory has a valid certificate."""
    data = directory / "west"
    data.mkdir()
    (data / "understudy.toml").write_text('host = "127.0.0.3"\nport = 18008\ncluster_port = 18009\n')
    words = ["--master", master.host, "--port", str(master.port), "--fingerprint", fingerprint, "--name", "west"]
    done = command("master-to-standby", "--yes", "--data", str(data), *words, "--password-file", str(password_file))
    assert done.returncode == 0, done.stderr
    return data
