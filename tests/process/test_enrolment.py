"""Joining and changing roles with the two scripts: every refusal names what to type; typing it works."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from server.trust.identity import load_identity, save_identity
from server.trust.renewal import renew_agent
from tests.process.cluster import Node, Pair, start_master
from tests.process.programs import BIN, Program, command, free_port

WRONG = "wrong password"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A master, and an empty node that waits."""
    made = Pair(tmp_path_factory.mktemp("enrolment"))
    for name in ("north", "south"):
        (made.directory / name).mkdir(mode=0o700)
        (made.directory / name / "understudy.toml").write_text("standby_steady_s = 1\n")
    try:
        start_master(made)
        south = made.add_node("south")
        south.program.start()
        made.wait("the empty node to wait", lambda: (south.data / "understudy.sock").exists())
        yield made
    finally:
        made.stop()


def enrol(pair: Pair, data: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """`master-to-standby` with the right flags but for `changes`; a flag of "" is left out."""
    north = pair.nodes["north"]
    flags = {
        "data": str(data),
        "master": north.host,
        "port": str(north.port),
        "fingerprint": pair.fingerprint(north),
        "password-file": str(pair.password_file),
    } | changes
    words = [word for name, value in flags.items() if value for word in (f"--{name}", value)]
    return command("master-to-standby", "--yes", *words)


def test_refusals_name_what_to_type(pair: Pair, tmp_path: Path) -> None:
    """SKY-6: wrong password, port, fingerprint, no password, no master: distinct errors, nothing changed."""
    north, south = pair.nodes["north"], pair.nodes["south"]
    wrong_password = tmp_path / "wrong"
    wrong_password.write_text(WRONG)
    cases: list[tuple[dict[str, str], int, str]] = [
        ({"password-file": str(wrong_password)}, 77, "--password-file"),
        ({"port": str(north.cluster_port)}, 78, f"web port of this node: {north.port}"),
        ({"port": str(free_port(north.host))}, 69, "does not answer"),
        ({"fingerprint": "0" * 64}, 78, "--fingerprint"),
        ({"fingerprint": "abc"}, 78, "64 hexadecimal digits"),
        ({"fingerprint": ""}, 78, f"--fingerprint {pair.fingerprint(north)}"),
        ({"password-file": ""}, 78, "--password-file"),
        ({"master": ""}, 2, "--master HOST"),
    ]
    for changes, code, text in cases:
        done = enrol(pair, south.data, **changes)
        assert done.returncode == code, (changes, done.stderr)
        assert text in done.stderr, (changes, done.stderr)
        assert "Traceback" not in done.stderr
        assert not (south.data / "identity.json").exists(), changes
        assert WRONG not in done.stderr + south.program.log.read_text()
    assert len(north.api.get("/api/v1/nodes")) == 1


def test_a_node_of_another_cluster_is_left_alone(pair: Pair, tmp_path: Path) -> None:
    """It is never wiped unasked: the error says which cluster it is of, and its files are as they were."""
    other = tmp_path / "other"
    assert command("understudy", "init", "--data", str(other), "--name", "other").returncode == 0
    before = {path: path.read_bytes() for path in other.rglob("*") if path.is_file() and path.name != "lock"}
    for fingerprint in (pair.fingerprint(pair.nodes["north"]), ""):
        done = enrol(pair, other, fingerprint=fingerprint)
        assert done.returncode == 78, done.stderr
        assert "another cluster" in done.stderr
    assert {path: path.read_bytes() for path in before} == before


def test_the_right_words_make_a_standby(pair: Pair) -> None:
    """SKY-6, SKY-9: it copies, streams, says so without sign-in, and refuses writes naming the master."""
    north, south = pair.nodes["north"], pair.nodes["south"]
    waiting = south.status() or json.loads(pair.type(south, "understudy", "status", "--json", expect=1))
    assert "master-to-standby" in waiting["waiting_for"]
    done = enrol(pair, south.data)
    assert done.returncode == 0, done.stderr
    assert "streams from the master" in done.stdout
    assert enrol(pair, south.data).returncode == 0, "typed again it says so and ends well"
    south.token = ""
    pair.wait("the standby to know where its master is", lambda: south.status()["master"])
    public = south.status()
    assert (public["role"], public["master"]) == ("standby", f"https://{north.host}:{north.port}")
    assert public["backlog"] == {"requests": 0, "bytes": 0, "oldest_seconds": 0.0}
    south.token = pair.token
    assert {row["name"] for row in south.api.get("/api/v1/nodes")} == {"north", south.status()["name"]}
    refused = south.api.request("POST", "/api/v1/agents/lock", {})
    assert (refused.status, refused.code) == (421, "not_master")
    assert refused.value["master"] == f"https://{north.host}:{north.port}"
    gone = pair.type(south, "understudy", "queue", "lock", expect=75)
    assert f"https://{north.host}:{north.port}" in gone
    assert pair.type(north, "understudy", "agent", "list").count("\n") == 1, "SKY-10: the standby is no agent"


def test_a_program_finds_the_master_by_itself(pair: Pair, tmp_path: Path) -> None:
    """Given the standby's address only, a command goes on to the master with the same key."""
    south, token_file = pair.nodes["south"], tmp_path / "token"
    token_file.write_text(pair.token)
    words = ["--server", f"https://{south.host}:{south.port}", "--token-file", str(token_file)]
    done = command("understudy", "queue", "lock", *words, "--fingerprint", pair.fingerprint(south))
    assert done.returncode == 0, done.stderr
    wrong = command("understudy", "queue", "unlock", *words, "--fingerprint", "0" * 64)
    assert wrong.returncode == 78
    assert command("understudy", "queue", "unlock", *words, "--ca", str(south.data / "ca.crt")).returncode == 0


def test_a_join_token_is_used_once(pair: Pair, tmp_path: Path) -> None:
    """The first agent is in; the second with the same token, and one with half of it, are told how to get another."""
    north = pair.nodes["north"]
    pair.add_agent("alpha")
    token = json.loads(pair.type(north, "understudy", "agent", "invite", "--name", "beta", "--json"))["token"]
    first = command("understudy", "agent", "--data", str(tmp_path / "first"), "--join", token, "--enrol-only")
    assert first.returncode == 0, first.stderr
    second = command("understudy", "agent", "--data", str(tmp_path / "beta"), "--join", token, "--enrol-only")
    assert second.returncode == 77
    assert "understudy agent invite" in second.stderr
    assert not (tmp_path / "beta" / "identity.json").exists()
    half = command("understudy", "agent", "--data", str(tmp_path / "beta"), "--join", token[:-5], "--enrol-only")
    assert half.returncode == 78
    assert "understudy agent invite" in half.stderr
    known = json.loads(pair.type(north, "understudy", "agent", "list", "--json"))
    assert [(agent["name"], agent["witness"]) for agent in known] == [("alpha", True), ("beta", False)]


def test_an_agent_gets_a_fresh_certificate(pair: Pair) -> None:
    """Two thirds through its life it asks with the old one; before that it does not; either node may sign."""
    north, south, data = pair.nodes["north"], pair.nodes["south"], pair.directory / "alpha"
    now, before = datetime.now(UTC), (data / "node.crt").read_bytes()
    assert not renew_agent(data, now)
    assert (data / "node.crt").read_bytes() == before
    identity = load_identity(data)
    assert identity is not None
    for node in (north, south):
        save_identity(data, replace(identity, peers={"": f"{node.host}:{node.cluster_port}"}))
        assert renew_agent(data, now + timedelta(days=21))
    save_identity(data, identity)
    assert (data / "node.crt").read_bytes() != before
    pair.agents["alpha"].program.kill()
    pair.agents["alpha"].program.start()
    pair.wait("the agent to be back", lambda: north.status()["agents"]["active"])


def test_roles_change_by_the_scripts(pair: Pair) -> None:
    """SKY-5, SKY-22: the master stops cleanly, the standby takes over, held, without a loss flag."""
    north, south = pair.nodes["north"], pair.nodes["south"]
    pair.wait("the standby in sync", lambda: north.status()["in_sync"])
    pair.wait("the witness to be connected", lambda: north.status()["agents"]["active"])
    early = pair.type(south, "standby-to-master", expect=2)
    assert "--yes" in early
    assert north.program.stop() == 0
    said = pair.type(south, "standby-to-master", "--hold", "--yes")
    assert "nothing is lost" in said
    status = json.loads(pair.type(south, "understudy", "status", "--json", expect=1))
    assert status["role"] == "master"
    assert sorted(gate["kind"] for gate in status["gates"]) == ["queue_locked", "scheduler_stopped"]
    assert "already" in pair.type(south, "standby-to-master", "--yes")
    north.program.start()
    pair.wait("the old master as standby", lambda: north.status().get("state") in ("SYNCING", "IN_SYNC"))
    audit = south.api.get("/api/v1/audit", match="node.promote")
    assert [entry["who"] for entry in audit] == ["local"]


def test_a_stopped_standby_takes_office_when_it_starts(pair: Pair) -> None:
    """Both nodes are down: the script records the wish, says what to start, and `serve` carries it out."""
    north, south = pair.nodes["north"], pair.nodes["south"]
    pair.wait("the standby in sync", lambda: south.status()["in_sync"])
    assert south.program.stop() == 0
    assert north.program.stop() == 0
    assert "--yes" in pair.type(north, "standby-to-master", expect=2)
    assert "understudy serve" in pair.type(north, "standby-to-master", "--yes")
    north.program.start()
    pair.wait("the node in office", north.is_master)
    pair.wait("the wish to be forgotten", lambda: not (north.data / "wish.json").exists())
    south.program.start()
    pair.wait("the old master as standby", lambda: south.status().get("state") in ("SYNCING", "IN_SYNC"))


def flip(node: Node, share: float = 0.5) -> None:
    """Turn one byte over in what is written of the newest segment, at this share of it."""
    segments = [path for path in (node.data / "journal").iterdir() if path.suffix == ".journal"]
    newest = max(segments, key=lambda path: path.stat().st_mtime)
    content = bytearray(newest.read_bytes())
    content[int(len(bytes(content).rstrip(b"\0")) * share)] ^= 0xFF
    newest.write_bytes(bytes(content))


@pytest.mark.parametrize("role", ["standby", "master"])
def test_a_damaged_journal_is_mended_from_the_other_node(pair: Pair, role: str) -> None:
    """A flipped byte: the range is fetched, the damaged segment is kept, and the node goes on as what it was."""
    master = pair.node("master")
    standby = pair.nodes["south" if master.name == "north" else "north"]
    pair.wait("the standby in sync", lambda: master.status()["in_sync"])
    damaged = standby if role == "standby" else master
    for number in range(6):  # requests that both journals hold
        pair.type(
            master, "understudy", "job", "create", f"mend-{role}-{number}", "--command", "true", "--agent", "alpha"
        )
    pair.wait("all of it on the standby", lambda: (master.status()["backlog"] or {}).get("requests") == 0)
    kept = len(list((damaged.data / "forks").glob("damaged-*/*.journal")))
    damaged.program.kill()
    flip(damaged, 0.9)
    damaged.program.start()
    pair.wait("the pair to be whole", lambda: master.status().get("in_sync") and standby.status().get("in_sync"))
    assert master.is_master()
    assert len(list((damaged.data / "forks").glob("damaged-*/*.journal"))) == kept + 1
    pair.wait("equal", lambda: standby.status()["checksum"] == master.status()["checksum"])
    assert "mended the journal from the other node" in damaged.program.tail(100)
    assert "COMPARE" not in damaged.program.tail(100).split("mended the journal")[-1]


def test_a_damaged_master_without_the_other_node_waits_for_a_person(pair: Pair) -> None:
    """It may have the only copy of something: it says what to type, and that makes it a standby with all kept."""
    master = pair.node("master")
    standby = pair.nodes["south" if master.name == "north" else "north"]
    master.program.kill()
    standby.program.kill()
    flip(master)
    refused = command("understudy", "serve", "--data", str(master.data), "--host", master.host)
    assert refused.returncode == 78, refused.stderr
    assert "Traceback" not in refused.stderr
    assert "Start that node, then this one again." in refused.stderr
    assert f"master-to-standby --data {master.data}" in refused.stderr
    standby.program.start()
    pair.wait("the standby to answer", lambda: standby.status().get("role") == "standby")
    pair.type(standby, "standby-to-master", "--yes", "--allow-data-loss")
    done = enrol(pair, master.data, master=standby.host, port=str(standby.port))
    assert done.returncode == 0, done.stderr
    master.program.start()
    pair.wait("the damaged node to stream", lambda: master.status().get("state") in ("SYNCING", "IN_SYNC"))
    assert list((master.data / "forks").glob("damaged-*/journal"))

    def listed() -> bool:
        rows = standby.api.get("/api/v1/nodes")
        return (master.host, master.port) in [(row["address"], row["web_port"]) for row in rows]

    pair.wait("the roster to say where it listens now", listed)


def test_a_stopped_node_is_enrolled_and_follows_when_it_starts(pair: Pair, tmp_path: Path) -> None:
    """On a stopped node the script does what can be done, says what to start, and `serve` does the rest."""
    master, data, host = pair.node("master"), tmp_path / "third", "127.0.0.3"
    web, cluster = free_port(host), free_port(host)
    data.mkdir()
    (data / "understudy.toml").write_text(f'host = "{host}"\nport = {web}\ncluster_port = {cluster}\n')
    done = enrol(pair, data, master=master.host, port=str(master.port), name="third")
    assert done.returncode == 0, done.stderr
    assert re.search(r"understudy serve --data \S+third", done.stdout)
    assert (data / "wish.json").exists()
    program = Program("third", [str(BIN / "understudy"), "serve", "--data", str(data)], tmp_path / "third.log").start()
    third = Node("third", data, host, web, cluster, program, pair.token)
    try:
        pair.wait("the third node to stream", lambda: third.status().get("state") in ("SYNCING", "IN_SYNC"))
        pair.wait("the wish to be forgotten", lambda: not (data / "wish.json").exists())
    finally:
        program.kill()
