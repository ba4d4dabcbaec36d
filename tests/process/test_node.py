"""One node as a process: init, serve, its API, its socket, its sessions, its restarts."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.process.api import Answer
from tests.process.cluster import Node, Pair, start_master
from tests.process.programs import command


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A master alone, shared by the tests of this file."""
    made = Pair(tmp_path_factory.mktemp("node"))
    try:
        start_master(made)
        yield made
    finally:
        made.stop()


@pytest.fixture
def north(pair: Pair) -> Node:
    """The node, running and in office, whatever the test before did to it."""
    node = pair.nodes["north"]
    if not node.program.running:
        node.program.start()
    pair.wait("the node in office", node.is_master)
    return node


def ask(node: Node, method: str, path: str, body: Any = None, key: str = "", token: str | None = None) -> Answer:
    """One request with the node's token, or another one, or none ("")."""
    api = node.api
    api.token = node.token if token is None else token
    try:
        return api.request(method, path, body, key)
    finally:
        api.close()


def test_a_node_says_who_it_is(north: Node) -> None:
    """SKY-1: role, epoch, position and link state, for programs and in the command's own words and exit code."""
    status = north.status()
    assert status["role"] == "master"
    assert status["position"]["sequence"] == status["commit_sequence"] > 0
    assert len(status["position"]["hash"]) == 64
    assert status["peers"] == []
    done = command("understudy", "status", "--data", str(north.data))
    assert done.returncode == 1
    assert "no standby is in sync" in done.stdout
    missing = command("understudy", "status", "--data", str(north.data / "nowhere"))
    assert missing.returncode == 69
    assert "understudy serve" in missing.stderr


def test_load_balancers_are_answered_without_sign_in(north: Node) -> None:
    """The role as a status code, and nothing else about the node."""
    for path, expected in (("/livez", 200), ("/readyz", 200), ("/primary", 200), ("/replica", 503), ("/metrics", 200)):
        assert ask(north, "GET", path, token="").status == expected, path
    assert 'understudy_role{role="master"} 1.0' in ask(north, "GET", "/metrics", token="").value


def test_without_sign_in_there_is_the_role_and_nothing_else(north: Node) -> None:
    """From this machine the public part of the status is answered; everything else is 401, a bad token too."""
    public = ask(north, "GET", "/api/v1/status", token="").value
    assert set(public) == {"role", "state", "in_sync", "backlog", "master", "waiting_for"}
    for path in ("/api/v1/jobs", "/api/v1/agents", "/api/v1/properties", "/api/v1/audit", "/api/v1/gates"):
        assert ask(north, "GET", path, token="").code == "unauthenticated", path
    assert ask(north, "GET", "/api/v1/status", token="us_wrong").code == "unauthenticated"
    assert ask(north, "POST", "/api/v1/node/master", {}).code == "forbidden"


def test_the_local_socket_needs_no_password(north: Node) -> None:
    """BEY-5: whoever may open the socket in the data directory is let in; nobody else may open it."""
    assert (north.data / "understudy.sock").stat().st_mode & 0o777 == 0o600
    done = command("understudy", "scheduler", "stop", "--reason", "a test", "--data", str(north.data), "--json")
    assert done.returncode == 0, done.stderr
    assert command("understudy", "scheduler", "status", "--data", str(north.data)).returncode == 1
    found = ask(north, "GET", "/api/v1/gates").value
    assert [(gate["kind"], gate["set_by"], gate["reason"]) for gate in found] == [
        ("scheduler_stopped", "local", "a test")
    ]
    assert command("understudy", "scheduler", "start", "--data", str(north.data)).returncode == 0
    assert ask(north, "GET", "/api/v1/gates").value == []


def test_a_key_is_done_once(north: Node) -> None:
    """The same key is answered the same and done once; another body with it is refused."""
    first = ask(north, "POST", "/api/v1/agents/lock", {"reason": "once"}, key="key-1")
    assert first.status == 200
    assert first.value["changed"] is True
    assert int(first.headers["understudy-sequence"]) > 0
    ask(north, "POST", "/api/v1/agents/unlock", {})
    again = ask(north, "POST", "/api/v1/agents/lock", {"reason": "once"}, key="key-1")
    assert again.value == first.value
    assert ask(north, "GET", "/api/v1/gates").value == []
    other = ask(north, "POST", "/api/v1/agents/lock", {"reason": "other"}, key="key-1")
    assert (other.status, other.code) == (422, "invalid")
    kept = ask(north, "GET", "/api/v1/outcomes/key-1").value
    assert (kept["status"], kept["answer"]) == (200, first.value)
    assert ask(north, "GET", "/api/v1/outcomes/key-2").code == "not_found"
    made = ask(north, "POST", "/api/v1/agents/lock", {})
    assert made.headers["idempotency-key"]
    ask(north, "POST", "/api/v1/agents/unlock", {})


def test_a_secret_is_answered_again_and_stored_never(north: Node) -> None:
    """A repeated request for a join token gets the same token, and no table holds it."""
    first = ask(north, "POST", "/api/v1/agents", {"name": "alpha"}, key="invite-1")
    assert first.status == 201
    again = ask(north, "POST", "/api/v1/agents", {"name": "alpha"}, key="invite-1")
    assert again.value == first.value
    kept = ask(north, "GET", "/api/v1/outcomes/invite-1").value
    assert "token" not in kept["answer"]


def test_errors_are_problem_documents(north: Node) -> None:
    """Each wrong request has its stable code, a status, and a sentence; nothing wrong is a 500."""
    wrong = [
        ("GET", "/api/v1/nothing", None, 404, "not_found"),
        ("DELETE", "/api/v1/status", None, 405, "invalid"),
        ("GET", "/api/v1/runs/xyz", None, 400, "invalid"),
        ("GET", "/api/v1/runs?limit=0", None, 400, "invalid"),
        ("GET", "/api/v1/jobs/none", None, 404, "not_found"),
        ("POST", "/api/v1/jobs", {"name": "x"}, 400, "invalid"),
        ("POST", "/api/v1/jobs/none/run", None, 404, "not_found"),
        ("DELETE", "/api/v1/sessions/nobody", None, 404, "not_found"),
        ("POST", "/api/v1/users", {"name": "x", "password": "short"}, 400, "invalid"),
        ("POST", "/api/v1/agents/none/lock", {}, 404, "not_found"),
        ("GET", "/api/v1/swap/check?to=nobody", None, 200, ""),
    ]
    for method, path, body, status, code in wrong:
        answer = ask(north, method, path, body)
        assert (answer.status, answer.code) == (status, code), (method, path, answer.value)
        if code:
            assert answer.headers["content-type"].startswith("application/problem+json")
            assert answer.value["detail"]


def test_the_description_has_every_operation(north: Node) -> None:
    """OpenAPI 3.1 names the paths of the contract, their bodies and their problems."""
    document = ask(north, "GET", "/api/v1/openapi.json").value
    assert document["openapi"] == "3.1.0"
    for path in ("/api/v1/jobs/{name}/run", "/api/v1/swap", "/api/v1/agents/{name}/lock", "/api/v1/outcomes/{key}"):
        assert path in document["paths"]
    body = document["paths"]["/api/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    name = body["$ref"].rpartition("/")[2]
    assert "command" in document["components"]["schemas"][name]["properties"]


def test_sign_in_and_out(pair: Pair, north: Node) -> None:
    """SKY-13: a browser's session works until it ends; another site's page cannot use it."""
    asyncio.run(_browse(pair, north))


async def _browse(pair: Pair, north: Node) -> None:
    context = ssl.create_default_context(cafile=str(north.data / "ca.crt"))
    base = f"https://{north.host}:{north.port}"
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), cookie_jar=jar) as browser:
        same = {"Sec-Fetch-Site": "same-origin"}

        async def status(method: str, path: str, headers: dict[str, str], body: Any = None) -> int:
            async with browser.request(method, base + path, headers=headers, json=body) as answer:
                return answer.status

        wrong = {"user": "admin", "password": "not this one"}
        right = {"user": "admin", "password": pair.password}
        assert await status("POST", "/api/v1/login", same, wrong) == 401
        assert await status("POST", "/api/v1/login", {"Origin": "https://evil.example"}, right) == 403
        assert await status("POST", "/api/v1/login", same, right) == 200
        assert await status("GET", "/api/v1/jobs", {}) == 200
        cookies = {cookie.key: cookie for cookie in jar}
        assert cookies["__Host-understudy"]["httponly"]
        assert cookies["__Host-understudy"]["secure"]
        assert await status("POST", "/api/v1/scheduler/stop", {"Sec-Fetch-Site": "cross-site"}, {}) == 403
        assert await status("POST", "/api/v1/scheduler/stop", {}, {}) == 403
        assert await status("POST", "/api/v1/scheduler/stop", {"Origin": base}, {}) == 200
        assert await status("POST", "/api/v1/scheduler/start", same, {}) == 200
        async with browser.get(base + "/api/v1/sessions") as answer:
            own = [line for line in await answer.json() if line["own"]]
        assert [line["user"] for line in own] == ["admin"]
        assert await status("POST", "/api/v1/logout", same) == 200
        assert await status("GET", "/api/v1/jobs", {}) == 401


def test_events_tell_what_changed(north: Node) -> None:
    """One WebSocket begins with the status and says that rows changed, with the sequence; another origin gets none."""
    asyncio.run(_listen(north))


async def _listen(north: Node) -> None:
    context = ssl.create_default_context(cafile=str(north.data / "ca.crt"))
    url = f"wss://{north.host}:{north.port}/api/v1/events"
    headers = {"Authorization": f"Bearer {north.token}"}
    async with aiohttp.ClientSession() as program:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await program.ws_connect(url, ssl=context, headers=headers | {"Origin": "https://evil.example"})
        async with program.ws_connect(url, ssl=context, headers=headers) as socket, asyncio.timeout(20):
            first = json.loads(await socket.receive_str())
            assert (first["type"], first["role"]) == ("status", "master")
            await asyncio.to_thread(ask, north, "POST", "/api/v1/scheduler/stop", {})
            while (event := json.loads(await socket.receive_str()))["type"] != "agents":
                assert event["type"] in ("status", "backlog", "runs", "swap")
            assert event["sequence"] > 0
    ask(north, "POST", "/api/v1/scheduler/start", {})


def test_a_second_process_is_refused(north: Node) -> None:
    """Exit code 78 with who holds the directory and what to type; the first one goes on."""
    assert north.program.process is not None
    done = command("understudy", "serve", "--data", str(north.data), "--host", north.host)
    assert done.returncode == 78
    assert f"pid {north.program.process.pid}" in done.stderr
    assert "--data" in done.stderr
    again = command("understudy", "init", "--data", str(north.data))
    assert again.returncode == 78
    assert north.is_master()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_is_a_new_epoch_with_everything(north: Node, pair: Pair, how: signal.Signals) -> None:
    """SKY-22: stopped or killed and started, the only node is master again by itself, and has what was answered."""
    before = north.status()
    assert ask(north, "POST", "/api/v1/agents/lock", {"reason": how.name}).status == 200
    north.program.send(how)
    code = north.program.wait()
    assert (code == 0) is (how is signal.SIGTERM)
    north.program.start()
    pair.wait("the node in office again", north.is_master)
    after = north.status()
    assert after["epoch"] > before["epoch"]
    assert [gate["reason"] for gate in ask(north, "GET", "/api/v1/gates").value] == [how.name]
    assert ask(north, "POST", "/api/v1/agents/unlock", {}).status == 200


def test_private_files_and_no_secret_in_the_log(north: Node, pair: Pair) -> None:
    """Keys are for their owner alone; neither password nor token is in what the node printed."""
    for name in ("node.key", "seal.key", "identity.json", "ca.crt"):
        assert (north.data / name).stat().st_mode & 0o077 == 0, name
    log = Path(north.program.log).read_text()
    assert pair.password not in log
    assert north.token not in log


def test_lists_come_as_files(north: Node) -> None:
    """CSV and JSON with the page's filter; the audit only for whom it is for; nothing without sign-in."""
    lines = ask(north, "GET", "/audit.csv?match=node").value.splitlines()
    assert lines[0].startswith("id,at,who,address,action,object")
    assert all("node" in line for line in lines[1:]), lines
    found = ask(north, "GET", "/audit.json").value
    assert {"id", "at", "who", "action"} <= set(found[0])
    assert ask(north, "GET", "/runs.json").value == []
    assert ask(north, "GET", "/audit.csv", token="").status == 303
