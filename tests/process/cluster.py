"""A real pair on loopback with real agents, made by the commands that an operator types."""

from __future__ import annotations

import hashlib
import json
import secrets
import signal
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.process.api import Api, NoAnswer
from tests.process.namespaces import Namespaces
from tests.process.programs import BIN, Program, TimedOut, command, end_everything_in, free_port, wait_for

NODES = {"north": "127.0.0.1", "south": "127.0.0.2", "west": "127.0.0.3"}
AGENTS = ("alpha", "beta")
SETTINGS = {"UNDERSTUDY_STANDBY_STEADY_S": "1"}
"""A standby counts after a second of steadiness instead of 30: many rounds in little time."""

T = TypeVar("T")


@dataclass
class Node:
    """One node: its directory, its process, its address."""

    name: str
    data: Path
    host: str
    port: int
    cluster_port: int
    program: Program
    token: str = ""
    asker: Api | None = None
    """Keeps its connection for `status`, which is asked for twenty times a second; None: a fresh one for each."""

    @property
    def api(self) -> Api:
        """A fresh client of this node."""
        return Api(self.host, self.port, self.data / "ca.crt", self.token)

    def status(self) -> dict[str, Any]:
        """What this node says of itself; {} when it does not answer."""
        if not (self.data / "ca.crt").exists():
            return {}
        if self.asker is not None:
            self.asker.token = self.token
            return self.asker.status() or self.asker.status() or {}  # the first closes what a restart has cut
        api = self.api
        try:
            return api.status() or {}
        finally:
            api.close()

    def is_primary(self) -> bool:
        """Does it say so without sign-in, as load balancers ask? From another machine its status needs a token."""
        if not (self.data / "ca.crt").exists():
            return False
        api = self.api
        try:
            return api.request("GET", "/primary").status == 200
        except NoAnswer:
            return False
        finally:
            api.close()

    def is_master(self) -> bool:
        """Does it say that it is in office?"""
        return self.status().get("role") == "master"


@dataclass
class Agent:
    """One agent and its process."""

    name: str
    data: Path
    program: Program


@dataclass
class Pair:
    """Two nodes and their agents. Made by `running_pair`, which ends all that it started."""

    directory: Path
    nodes: dict[str, Node] = field(default_factory=dict)
    agents: dict[str, Agent] = field(default_factory=dict)
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    token: str = ""
    settings: dict[str, str] = field(default_factory=lambda: dict(SETTINGS))
    network: Namespaces | None = None
    """Machines of their own; None: everything on loopback."""

    @property
    def cables(self) -> Namespaces:
        """The machines, where there are some."""
        assert self.network is not None
        return self.network

    @property
    def password_file(self) -> Path:
        return self.directory / "password"

    def node(self, role: str) -> Node:
        """The node that says it has this role; waits until exactly one does."""

        def only() -> Node | None:
            found = [node for node in self.nodes.values() if node.status().get("role") == role]
            return found[0] if len(found) == 1 else None

        return self.wait(f"exactly one {role}", only)

    def wait(self, what: str, question: Callable[[], T | None], deadline_s: float = 60.0) -> T:
        """`wait_for`, with the ends of all logs when it was in vain."""
        try:
            return wait_for(what, question, deadline_s)
        except AssertionError as error:
            states = {name: _brief(node.status()) for name, node in self.nodes.items()}
            raise AssertionError(f"{error}\n{states}\n{self.tails()}") from None

    def wait_healthy(self, deadline_s: float = 60.0) -> tuple[Node, Node]:
        """Wait for one master with its standby in sync and every agent active; returns (master, standby)."""

        def healthy() -> tuple[Node, Node] | None:
            said = {name: node.status() for name, node in self.nodes.items()}
            masters = [name for name, status in said.items() if status.get("role") == "master"]
            standbys = [name for name, status in said.items() if status.get("role") == "standby"]
            if len(masters) != 1 or len(standbys) != 1 or not all(status.get("in_sync") for status in said.values()):
                return None
            active = said[masters[0]].get("agents") or {}
            if active.get("active") != len(self.agents):
                return None
            return self.nodes[masters[0]], self.nodes[standbys[0]]

        return self.wait("a master, a standby in sync and all agents active", healthy, deadline_s)

    def wait_provable(self) -> tuple[Node, Node]:
        """A healthy pair whose standby could take over: the witnesses are told a moment after it is counted on."""
        master, standby = self.wait_healthy()

        def known() -> bool:
            answer = standby.api.request("GET", "/api/v1/witnesses")
            seats = answer.value["witnesses"] if answer.status == 200 else []
            return bool(seats) and all(seat["connected"] and seat["alone"] in ("", standby.name) for seat in seats)

        self.wait("the witnesses to say at the standby that nobody writes alone", known)
        return master, standby

    def wait_healthy_nodes(self) -> tuple[Node, Node]:
        """Wait for one master with its standby in sync, whatever agents there are; returns (master, standby)."""
        master, standby = self.node("master"), self.node("standby")
        self.wait("a standby in sync", lambda: bool(master.status().get("in_sync")))
        return master, standby

    def type(self, node: Node, *words: str, expect: int | None = 0, extra: dict[str, str] | None = None) -> str:
        """Type a command on a node (its socket is in its directory); returns what it printed."""
        try:
            done = command(*words, "--data", str(node.data), extra=extra)
        except TimedOut as late:
            raise AssertionError(f"{late}\n{self.tails()}") from None
        shown = f"$ {' '.join(words)} -> {done.returncode}\n{done.stdout}{done.stderr}"
        assert expect is None or done.returncode == expect, f"{shown}\n{self.tails()}"
        return done.stdout + done.stderr

    def tails(self) -> str:
        """The last lines of every log."""
        programs = [node.program for node in self.nodes.values()] + [a.program for a in self.agents.values()]
        return "\n".join(program.tail() for program in programs)

    def add_node(self, name: str, *flags: str) -> Node:
        """A node program with free ports of its own; not started."""
        host, inside = NODES[name], list[str]()
        if self.network is not None:
            host, inside = self.network.host(name), self.network.inside(name)
        port, cluster_port = (8008, 8009) if self.network else (free_port(host), free_port(host))
        data = self.directory / name
        words = [*inside, str(BIN / "understudy"), "serve", "--data", str(data), "--host", host]
        words += ["--port", str(port), "--cluster-port", str(cluster_port), *flags]
        program = Program(name, words, self.directory / f"{name}.log", self.settings)
        self.nodes[name] = Node(name, data, host, port, cluster_port, program, self.token)
        return self.nodes[name]

    def add_agent(self, name: str) -> Agent:
        """Invite an agent at the master, enrol it, and leave its process running."""
        invited = self.type(self.node("master"), "understudy", "agent", "invite", "--name", name, "--json")
        data = self.directory / name
        words = [*self.network.inside(name)] if self.network else []
        words += [str(BIN / "understudy"), "agent", "--data", str(data)]
        first = Program(name, [*words, "--join", json.loads(invited)["token"]], self.directory / f"{name}.log")
        self.agents[name] = Agent(name, data, first.start())
        self.wait(f"agent {name} enrolled", lambda: (data / "identity.json").exists())
        first.words = words
        return self.agents[name]

    def enrol_standby(self, node: Node, master: Node) -> str:
        """`master-to-standby` on a node without a role; returns what it printed."""
        return self.type(
            node,
            *("master-to-standby", "--master", master.host, "--port", str(master.port)),
            *("--fingerprint", self.fingerprint(master), "--password-file", str(self.password_file), "--yes"),
            *("--name", node.name),
        )

    def fingerprint(self, master: Node) -> str:
        """SHA-256 of the authority's certificate, as Server Properties shows it."""
        certificate = ssl.PEM_cert_to_DER_cert((master.data / "ca.crt").read_text())
        return hashlib.sha256(certificate).hexdigest()

    def stop(self) -> None:
        """End everything: paused programs go on first, agents before nodes, keepers last."""
        agents = [agent.program for agent in self.agents.values()]
        for program in [*agents, *(node.program for node in self.nodes.values())]:
            if program.process is not None:
                program.send(signal.SIGCONT)
                program.kill()
        end_everything_in(self.directory)


def _brief(status: dict[str, Any]) -> dict[str, Any]:
    names = ("role", "state", "epoch", "in_sync", "commit_sequence", "backlog", "waiting_for", "agents")
    return {name: status.get(name) for name in names if name in status}


def start_master(pair: Pair, *flags: str) -> Node:
    """`init` and `serve` on 127.0.0.1, and a token for programs."""
    north = pair.add_node("north", *flags)
    pair.password_file.write_text(pair.password)
    pair.password_file.chmod(0o600)
    pair.type(north, "understudy", "init", "--name", "north", "--password-file", str(pair.password_file))
    north.program.start()
    pair.wait("the first master", north.is_primary)
    made = pair.type(north, "understudy", "user", "token", "create", "--name", "harness", "--json")
    pair.token = north.token = json.loads(made)["token"]
    (pair.directory / "token").write_text(pair.token)
    return north


@contextmanager
def running_pair(
    directory: Path,
    witness: str = "alpha",
    flags: tuple[str, ...] = (),
    before_enrolment: Callable[[Pair, Node, Node], None] | None = None,
    settings: dict[str, str] | None = None,
    network: Namespaces | None = None,
    agents: tuple[str, ...] = AGENTS,
) -> Iterator[Pair]:
    """A healthy pair with its agents, one of them a witness; everything is ended on the way out.

    `before_enrolment` is given the pair, its master and the node that waits to become the standby. `settings` are
    variables of both nodes beside the usual ones. With `network` each node and the agents are on machines of their own.
    """
    pair = Pair(directory, settings=SETTINGS | (settings or {}), network=network)
    try:
        north = start_master(pair, *flags)
        south = pair.add_node("south", *flags)
        south.program.start()
        pair.wait("the empty node to wait", lambda: (south.data / "understudy.sock").exists())
        if before_enrolment is not None:
            before_enrolment(pair, north, south)
        pair.enrol_standby(south, north)
        for name in agents:
            pair.add_agent(name)
        pair.wait_healthy()
        if witness:
            pair.type(north, "understudy", "witness", "set", witness)
            pair.wait_healthy()
        yield pair
    finally:
        pair.stop()
