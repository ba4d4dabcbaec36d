"""A cluster whose agents are simulated: enrolled in its first change, since 10,000 enrolments take minutes."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

from server import app
from server.actions.change import Transaction
from server.config import Config
from server.storage import agents
from server.trust import identity as files
from server.trust import tls
from server.trust.founding import found_cluster
from tests.bench.our_pair import ROOT
from tests.process.cluster import SETTINGS, Node, Pair

NOW_US = 1_700_000_000_000_000


def found_with_agents(data: Path, count: int, password: str) -> list[str]:
    """`understudy init` with `count` agents and a job for each in its first rows; returns the agents' ids."""
    ids = [files.new_id() for _ in range(count)]

    def found(*arguments: Any) -> Any:
        identity, first_rows = found_cluster(*arguments)

        def rows(transaction: Transaction) -> None:
            first_rows(transaction)
            for number, agent_id in enumerate(ids):
                agents.insert(transaction.connection, agent_id, f"sim-{number:05}", False, NOW_US)
                transaction.connection.execute(
                    "INSERT INTO jobs (id, name, command, agent_id, created_at_us, updated_at_us, planned_version)"
                    " VALUES (?, ?, 'true', ?, ?, ?, 1)",
                    (number + 1, f"job-{number}", agent_id, NOW_US, NOW_US),
                )

        return identity, rows

    with patch.object(app, "found_cluster", found), redirect_stdout(sys.stderr):
        app.initialise(Config(data, address="127.0.0.1"), "north", password)
    return ids


def issue_certificates(data: Path, ids: list[str], directory: Path) -> None:
    """A key and a certificate for each, signed with the authority's key of the stopped node."""
    with closing(sqlite3.connect(data / "scheduler.db")) as connection:
        nonce, sealed = connection.execute("SELECT nonce, ciphertext FROM sealed").fetchone()
    key = tls.unseal(files.read_private(data / files.SEAL_FILE), tls.SEALED_AUTHORITY_KEY, nonce, sealed)
    authority = tls.Authority.load(files.read_private(data / files.AUTHORITY_FILE), key)
    (directory / "agents").mkdir()
    (directory / "ca.crt").write_bytes(authority.certificate_pem())
    now = datetime.now(UTC)
    for number, agent_id in enumerate(ids):
        own = tls.new_key()
        leaf = authority.issue(tls.certificate_request(own), tls.Peer("agent", agent_id), (), now)
        (directory / "agents" / f"{number}.pem").write_bytes(leaf + tls.private_pem(own))
    (directory / "agents" / "ids.json").write_text(json.dumps(ids))


class SwarmProcess:
    """`tests.bench.swarm` as a process: one order at a time."""

    def __init__(self, directory: Path, nodes: list[Node]) -> None:
        words = [sys.executable, "-m", "tests.bench.swarm", str(directory)]
        words += [f"{node.host}:{node.cluster_port}" for node in nodes]
        self.process = subprocess.Popen(
            words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def tell(self, *order: object) -> None:
        """Give an order; `hear` its answer later."""
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, order)) + "\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """The answer to the order given."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the swarm ended by itself; its error is above")
        return dict(json.loads(line))

    def ask(self, *order: object) -> dict[str, Any]:
        """Give an order and wait."""
        self.tell(*order)
        return self.hear()

    def stop(self) -> None:
        """End it, by its pid."""
        self.process.kill()
        self.process.wait(10)


@contextmanager
def pair_with_swarm(directory: Path, count: int) -> Iterator[tuple[Pair, SwarmProcess]]:
    """A pair in sync that knows `count` agents, and the process that can be them; all ended on the way out."""
    pair = Pair(directory, settings=dict(SETTINGS))
    swarm: SwarmProcess | None = None
    try:
        north = pair.add_node("north")
        pair.password_file.write_text(pair.password)
        ids = found_with_agents(north.data, count, pair.password)
        issue_certificates(north.data, ids, directory)
        north.program.start()
        pair.wait("the master", north.is_primary)
        made = pair.type(north, "understudy", "user", "token", "create", "--name", "bench", "--json")
        pair.token = north.token = json.loads(made)["token"]
        (directory / "token").write_text(pair.token)
        south = pair.add_node("south")
        south.program.start()
        pair.wait("the empty node to wait", lambda: (south.data / "understudy.sock").exists())
        pair.enrol_standby(south, north)
        pair.wait_healthy_nodes()
        swarm = SwarmProcess(directory, [north, south])
        yield pair, swarm
    finally:
        if swarm is not None:
            swarm.stop()
        pair.stop()
