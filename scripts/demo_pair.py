"""The demo's processes: two nodes and two agents, each started by the command that an administrator types."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

READY_S = 60.0
STOP_S = 15.0
JOBS_END_S = 5.0
NODES = {"alpha": "127.0.0.1", "beta": "127.0.0.2"}
AGENTS = ("north", "south")
STEADY_S = "2"
"""A demo is watched: the standby counts as in sync sooner than after the usual 30 s."""


class DemoError(Exception):
    """The demo cannot go on; the text says why and where to look."""


class Pair:
    """The processes below one directory, and what is known of them."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports = _ports(data / "ports.json")
        self.password_file = data / "admin-password"
        self.token_file = data / "token"

    def url(self, node: str) -> str:
        """Where a browser goes."""
        return f"https://{NODES[node]}:{self.ports[0]}"

    def has(self, name: str) -> bool:
        """Whether this node or agent was enrolled already."""
        return (self.data / name / "identity.json").exists()

    # processes

    def start(self, name: str, *command: str, **environment: str) -> None:
        """Start one command in the background; what it says goes to a log below the directory."""
        with (self.data / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                understudy(*command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "UNDERSTUDY_STANDBY_STEADY_S": STEADY_S, **environment},
                start_new_session=True,
            )

    def serve(self, node: str) -> None:
        """Start a node: master, standby, or waiting to become one."""
        web, cluster = map(str, self.ports)
        data = str(self.data / node)
        self.start(node, "serve", "--data", data, "--host", NODES[node], "--port", web, "--cluster-port", cluster)

    def stop(self) -> None:
        """End every process: agents with their keepers, then the master, which closes while its standby listens."""
        master = self.master() if self.processes else ""
        for name in AGENTS:
            self._end(name, signal.SIGTERM)
        self._end_keepers()
        for name in sorted(NODES, key=lambda node: node != master):
            self._end(name, signal.SIGTERM)

    def _end(self, name: str, number: int) -> None:
        process = self.processes.get(name)
        if process is None or process.poll() is not None:
            return
        process.send_signal(number)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _end_keepers(self) -> None:
        """A keeper outlives its agent for the sake of its jobs: give those a moment, then end both."""
        keepers = list(self._keepers())
        end = time.monotonic() + JOBS_END_S
        while any(_children(keeper) for keeper in keepers) and time.monotonic() < end:
            time.sleep(0.1)
        ending = [process for keeper in keepers for process in (*_children(keeper), keeper)]
        for process in ending:
            _signal(process, signal.SIGTERM)
        for process in psutil.wait_procs(ending, timeout=2.0)[1]:
            _signal(process, signal.SIGKILL)

    def _keepers(self) -> Iterator[psutil.Process]:
        """The keepers of the two agents, known by their data directories."""
        places = {str(self.data / agent) for agent in AGENTS}
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if words[-2:-1] == ["server.agent.keeper"] and words[-1] in places:
                yield process

    def until(self, what: str, condition: Callable[[], Any]) -> None:
        """Wait for a condition; DemoError when a process died or time is up."""
        end = time.monotonic() + READY_S
        while not condition():
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise DemoError(f"{name} ended with code {process.returncode}:\n{self._last_words(name)}")
            if time.monotonic() > end:
                raise DemoError(f"{what} did not come within {READY_S:.0f} s")
            time.sleep(0.1)

    def _last_words(self, name: str) -> str:
        lines = (self.data / f"{name}.log").read_text(errors="replace").splitlines()
        return "\n".join("    " + line for line in lines[-5:])

    # questions

    def ask(self, *command: str, node: str) -> Any:
        """The JSON answer of a command on a node's own socket, or None when it has no answer."""
        done = subprocess.run(understudy(*command, "--json", "--data", str(self.data / node)), capture_output=True)
        answer = json.loads(done.stdout) if done.stdout.strip().startswith((b"{", b"[")) else None
        return None if isinstance(answer, dict) and set(answer) == {"error"} else answer

    def over_http(self, *command: str) -> list[str]:
        """The same command for a program that knows both addresses only."""
        servers = [part for node in NODES for part in ("--server", self.url(node))]
        authority = str(self.data / "alpha" / "ca.crt")
        return understudy(*command, *servers, "--token-file", str(self.token_file), "--ca", authority)

    def master(self) -> str:
        """The name of the node that is master now, or ""."""
        for node in NODES:
            status = self.ask("status", node=node)
            if status and status.get("role") == "master" and status.get("state") in ("MASTER", "ALONE"):
                return node
        return ""

    def is_whole(self) -> bool:
        """One master, its standby in sync."""
        statuses = [self.ask("status", node=node) for node in NODES]
        return all(status and status.get("in_sync") for status in statuses)

    def active_agents(self) -> int:
        """How many agents are connected to the master."""
        status = self.ask("status", node=self.master() or "alpha") or {}
        return int((status.get("agents") or {}).get("active") or 0)


def understudy(*command: str) -> list[str]:
    """The command line of one command."""
    return [sys.executable, "-m", "scripts.understudy", *command]


def must(*command: str) -> bytes:
    """The output of a command that has to succeed."""
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise DemoError(f"{' '.join(command[2:5])} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def write_private(path: Path, text: str) -> None:
    """A file that only this user can read."""
    path.touch(mode=0o600)
    path.write_text(text)


def new_password() -> str:
    """A password for the administrator of a demo."""
    return secrets.token_urlsafe(12)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _ports(kept: Path) -> tuple[int, int]:
    """The web and the cluster port: the usual ones when they are free on both addresses; the same the next time."""
    if kept.exists():
        web, cluster = json.loads(kept.read_text())
        return int(web), int(cluster)
    usual = all(_is_free(host, port) for host in NODES.values() for port in (8008, 8009))
    found = (8008, 8009) if usual else (_free_port(), _free_port())
    kept.write_text(json.dumps(found))
    return found


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    """A port that is free on both addresses, below those that an outgoing connection may be given."""
    while True:
        port = random.SystemRandom().randrange(12_000, 32_000)
        if all(_is_free(host, port) for host in NODES.values()):
            return port
