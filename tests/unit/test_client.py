"""The commands' HTTP client against real sockets: one key over all tries, both nodes, and the exit codes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from scripts import client as client_module
from scripts.client import Client, CommandError


@dataclass
class FakeNode:
    """Answers what it was told to, in order, and keeps what it was asked; the last answer is repeated."""

    answers: list[tuple[int, dict[str, Any]]]
    keys: list[str] = field(default_factory=list)
    url: str = ""
    server: HTTPServer | None = None

    def start(self) -> FakeNode:
        """Listen on a free port of loopback."""
        node = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                node.keys.append(self.headers["Idempotency-Key"])
                status, value = node.answers.pop(0) if len(node.answers) > 1 else node.answers[0]
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                """Say nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Start fake nodes that are stopped at the end; tries follow each other at once."""
    monkeypatch.setattr(client_module, "PAUSE_S", 0.0)
    nodes: list[FakeNode] = []

    def one(*answers: tuple[int, dict[str, Any]]) -> FakeNode:
        nodes.append(FakeNode(list(answers)).start())
        return nodes[-1]

    yield one
    for node in nodes:
        assert node.server is not None
        node.server.shutdown()
        node.server.server_close()


def problem(code: str, **more: Any) -> dict[str, Any]:
    return {"code": code, "detail": f"it is {code}", **more}


def test_a_standby_leads_to_the_master_with_the_same_key(start: Any) -> None:
    """421 names the master: the request goes there, and both saw one key."""
    master = start((200, {"done": True}))
    standby = start((421, problem("not_master", master=master.url)))
    assert Client([standby.url]).post("/x") == {"done": True}
    assert master.keys == standby.keys
    assert len(set(master.keys)) == 1


def test_busy_nodes_are_asked_by_turns_with_one_key(start: Any) -> None:
    """503 changed nothing, so it is tried at the other node, and again, until one answers."""
    one = start((503, problem("unavailable")), (200, {"done": 1}))
    two = start((503, problem("unavailable")))
    assert Client([one.url, two.url]).post("/x") == {"done": 1}
    assert len(one.keys) == 2
    assert set(one.keys) == set(two.keys)


def test_a_dead_node_is_passed_over(start: Any) -> None:
    """Nobody listens at the first address; the second answers."""
    alive = start((200, {"done": 1}))
    assert Client(["http://127.0.0.1:1", alive.url]).post("/x") == {"done": 1}


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (401, "unauthenticated", 77),
        (403, "forbidden", 77),
        (400, "invalid", 2),
        (404, "not_found", 1),
        (409, "conflict", 1),
        (503, "unavailable", 75),
        (504, "unknown_outcome", 124),
    ],
)
def test_each_code_has_its_exit_code(start: Any, status: int, code: str, exit_code: int) -> None:
    """The contract's exit codes; what cannot be helped by asking again is asked once."""
    node = start((status, problem(code)))
    with pytest.raises(CommandError) as raised:
        Client([node.url]).post("/x")
    assert raised.value.exit_code == exit_code
    assert f"it is {code}" in str(raised.value)
    assert (len(node.keys) > 1) is (code == "unavailable")


def test_nobody_there_is_69() -> None:
    """No node answers at all; the text says what to check."""
    with pytest.raises(CommandError) as raised:
        Client(["http://127.0.0.1:1"]).get("/x")
    assert raised.value.exit_code == 69
    with pytest.raises(CommandError, match="understudy serve --data /nowhere"):
        Client(["unix:/nowhere/understudy.sock"]).get("/x")


def test_https_needs_something_to_trust() -> None:
    """Without fingerprint or ca.crt nothing is sent anywhere."""
    with pytest.raises(CommandError, match="--fingerprint") as raised:
        Client(["https://127.0.0.1:1"], token="us_secret").get("/x")
    assert raised.value.exit_code == 78
