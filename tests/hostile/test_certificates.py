"""Every path of the cluster port, asked with every kind of certificate over real TLS; and what enrolment gives."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from cryptography import x509

from server.actions import agents, nodes, users
from server.config import Config
from server.core.authorities import Leaf
from server.core.model import SYSTEM, JoinToken, NodeRow
from server.people.passwords import Passwords
from server.ports.cluster_port import ACCEPTED, make_app
from server.storage import sealed
from server.trust import admission, tls
from server.trust.enrolment import EnrolRequest, certificate_request
from server.trust.identity import Identity
from server.trust.tls import Authority, Peer, secret_hash
from tests.hostile.certificates import PATHS, REFUSED, Bearer, ask, ask_all, bearer, forgeries
from tests.unit.ledger import START_US, HandClock, Ledger
from tests.unit.web_desk import DeskSite, DeskStore
from tests.unit.web_door import PHC

CLUSTER, OWN, OTHER, REMOVED, AGENT = "c" * 32, "a" * 32, "b" * 32, "d" * 32, "e" * 32
TOKEN = "token-new"


class Port:
    """A cluster port over rows: two nodes, one that was removed, one agent, one that was removed."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        now = datetime.now(UTC)
        self.folder, self.ledger = folder, ledger
        self.authority = Authority.create(CLUSTER, now)
        self.trusts = folder / "ca.crt"
        self.trusts.write_bytes(self.authority.certificate_pem())
        self.clock = HandClock()
        self.site = DeskSite(Config(data=folder), self.clock, Passwords(), seal_key=bytes(32))
        self.site.rows = DeskStore(ledger)
        self.site.identity = Identity("node", CLUSTER, OWN, "north")
        self.site.authority_pem = self.authority.certificate_pem()
        self.attached: list[str] = []
        self.served: list[str] = []
        self.site.node = SimpleNamespace(attach=self._attach, journal=None, status=self.site.status)  # type: ignore[assignment]  # only who gets there is looked at
        self.port = 0
        ledger.do(self._rows)

    def _rows(self, transaction: Any) -> None:
        connection: sqlite3.Connection = transaction.connection
        for number, (node, name) in enumerate(((OWN, "north"), (OTHER, "south"), (REMOVED, "former")), 1):
            nodes.put(
                NodeRow(id=node, name=name, address="127.0.0.1", web_port=number, cluster_port=2, enrolled_at_us=1),
                SYSTEM,
                START_US,
            )(transaction)
        nodes.remove(REMOVED, SYSTEM, START_US)(transaction)
        sealed.put(
            connection,
            tls.SEALED_AUTHORITY_KEY,
            *tls.seal(bytes(32), tls.SEALED_AUTHORITY_KEY, self.authority.key_pem()),
        )
        users.create("admin", PHC, "administrator", SYSTEM, START_US)(transaction)

    async def _attach(self, connection: Any, channel: str) -> None:
        self.attached.append(connection.peer)
        with contextlib.suppress(ConnectionError):
            await connection.receive()

    async def serve(self, socket: web.WebSocketResponse, agent_id: str, leaf: Leaf) -> None:
        """Where an agent's session would begin."""
        self.served.append(agent_id)

    def bearer(self, kind: Any, identifier: str) -> Bearer:
        """Somebody with a certificate of this cluster."""
        return bearer(self.folder, f"{kind}-{identifier[:2]}", self.authority, Peer(kind, identifier), self.trusts)

    async def enrol(self, who: Bearer, **fields: Any) -> tuple[int, dict[str, Any]]:
        """Status and document of POST /enrol."""
        asked = EnrolRequest(
            **({"kind": "agent", "id": AGENT, "name": "x"} | {"request": certificate_request(tls.new_key())} | fields)
        )
        url = f"https://127.0.0.1:{self.port}/enrol"
        body = msgspec.json.encode(asked)
        async with aiohttp.ClientSession() as session, session.post(url, data=body, ssl=who.context()) as answer:
            return answer.status, await answer.json(content_type=None)


@pytest.fixture
async def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Port]:
    monkeypatch.setattr(admission, "FAILURE_PAUSE_S", 0.0)
    ledger = Ledger()
    made = Port(tmp_path, ledger)
    ledger.add_agent("e")
    await made.site.refresh_roster()
    node = made.bearer("node", OWN)
    assert node.file is not None
    app = make_app(made.site, lambda *given: made.serve(*given))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls.cluster_context(node.file, node.file, made.trusts))
    await site.start()
    made.port = runner.addresses[0][1]
    made.app = app  # type: ignore[attr-defined]  # for the one test that closes links
    try:
        yield made
    finally:
        await runner.cleanup()


async def test_no_path_takes_a_certificate_that_is_not_to_be_believed(door: Port) -> None:
    """None, forged with the same names, of another authority, self-signed, expired, not yet valid: on every path."""
    for peer in (Peer("node", OTHER), Peer("agent", AGENT)):
        for name, who in forgeries(door.folder, peer, CLUSTER, door.trusts, door.authority).items():
            answers = await ask_all("127.0.0.1", door.port, who)
            assert set(answers.values()) <= set(REFUSED), (name, answers)
    assert (door.attached, door.served) == ([], [])


async def test_a_removed_node_is_refused_on_every_path(door: Port) -> None:
    """Its certificate is valid for weeks; its row says that it is not of the cluster."""
    removed = door.bearer("node", REMOVED)
    assert set((await ask_all("127.0.0.1", door.port, removed)).values()) == {"403"}
    status, problem = await door.enrol(
        removed, kind="node", id=REMOVED, address="127.0.0.1", web_port=1, cluster_port=2
    )
    assert (status, problem["code"]) == (403, "forbidden")
    assert "master-to-standby" in problem["detail"]
    assert door.attached == []
    unknown = door.bearer("node", "f" * 32)
    assert set((await ask_all("127.0.0.1", door.port, unknown)).values()) == {"403"}


async def test_a_member_is_let_in_on_its_own_paths_only(door: Port) -> None:
    """A node on those of nodes, an agent on that of agents: neither can stand in for the other."""
    for kind, identifier in (("node", OTHER), ("agent", AGENT)):
        answers = await ask_all("127.0.0.1", door.port, door.bearer(kind, identifier))
        for path in PATHS:
            if path.name == "deletion of a fork" or path.name == "distrust":
                assert answers[path.name] == "403", "only the master may"
            else:
                assert (answers[path.name] == "403") == (path.kind != kind), (kind, path.name, answers)
    assert (set(door.attached), door.served) == ({OTHER}, [AGENT])


async def test_links_of_a_node_that_is_removed_are_closed(door: Port) -> None:
    """An open link outlives the check at its begin, so it is closed when the roster says so."""
    async with aiohttp.ClientSession() as session:
        url = f"https://127.0.0.1:{door.port}/replication/control"
        async with session.ws_connect(url, ssl=door.bearer("node", OTHER).context()) as link:
            while not door.attached:
                await asyncio.sleep(0.01)
            accepted = door.app[ACCEPTED]  # type: ignore[attr-defined]  # set by the fixture
            assert await accepted.close_removed(door.site) == 0
            door.ledger.do(nodes.remove(OTHER, SYSTEM, START_US))
            await door.site.refresh_roster()
            closing = asyncio.create_task(accepted.close_removed(door.site))
            assert (await link.receive(10)).type is aiohttp.WSMsgType.CLOSE
            assert await closing == 1


async def test_an_agent_is_never_given_what_a_node_is(door: Port) -> None:
    """With an agent's certificate nobody gets a node's, nor the seal key, nor a certificate in another's name."""
    agent = door.bearer("agent", AGENT)
    for fields in (
        {"kind": "node", "id": AGENT},
        {"kind": "node", "id": OTHER},
        {"kind": "node", "id": AGENT, "secret": "x"},
        {"kind": "agent", "id": OTHER},
        {"kind": "agent", "id": "1" * 32},
        {"kind": "root", "id": AGENT},
        {"kind": "", "id": AGENT},
    ):
        status, answer = await door.enrol(agent, **fields)
        assert status in (401, 403, 422, 400), (fields, answer)
        assert "seal_key" not in answer
    status, answer = await door.enrol(door.bearer("node", OTHER), kind="agent", id=OTHER)
    assert status == 403
    status, answer = await door.enrol(agent)
    leaf = x509.load_pem_x509_certificate(answer["certificate"].encode())
    assert (status, answer["seal_key"]) == (200, "")
    assert leaf.subject.rfc4514_string() == f"CN=agent {AGENT}"


async def test_a_removed_or_replaced_agent_gets_no_certificate(door: Port) -> None:
    """Neither by the one it has nor by its key; one that was declared dead may renew, for it is heard."""
    agent = door.bearer("agent", AGENT)
    assert (await door.enrol(agent))[0] == 200
    door.ledger.connection.execute("UPDATE agents SET dead_at_us = 1 WHERE id = ?", (AGENT,))
    assert (await door.enrol(agent))[0] == 200
    door.ledger.connection.execute("UPDATE agents SET removed_at_us = 1, replaced_at_us = 1 WHERE id = ?", (AGENT,))
    assert (await door.enrol(agent))[0] == 403
    door.ledger.connection.execute("UPDATE agents SET replaced_at_us = NULL WHERE id = ?", (AGENT,))
    status, problem = await door.enrol(agent)
    assert (status, "agent invite" in problem["detail"]) == (403, True)
    assert (await door.enrol(Bearer(None, door.trusts)))[0] == 403


def invite(door: Port, name: str, expires_at_us: int = START_US + 10**12) -> None:
    door.ledger.do(
        agents.invite(
            JoinToken(
                id=TOKEN + name,
                secret_hash=secret_hash("s"),
                name=name,
                created_by="t",
                created_at_us=1,
                expires_at_us=expires_at_us,
            ),
            SYSTEM,
            START_US,
        )
    )


async def test_join_tokens_that_are_not_good(door: Port) -> None:
    """Used, expired, forged, of another name, empty: 403 with what to type, and nobody is added."""
    invite(door, "good")
    invite(door, "old", START_US + 1)
    door.clock.now_us += 10
    nobody = Bearer(None, door.trusts)
    cases = (
        TOKEN + "good.wrong",
        TOKEN + "old.s",
        "nothing.s",
        "x",
        ".",
        TOKEN + "good.",
        "\0.\0",
        "a" * 10_000 + ".s",
    )
    for number, secret in enumerate(cases):
        door.site.door.joins.forget("join token from 127.0.0.1")
        status, problem = await door.enrol(nobody, id=f"{number:032x}", secret=secret)
        assert (status, "agent invite" in problem["detail"]) == (403, True), (secret, problem)
    assert (await door.enrol(nobody, id="1" * 32, secret=TOKEN + "good.s"))[0] == 200
    status, problem = await door.enrol(nobody, id="2" * 32, secret=TOKEN + "good.s")
    assert (status, "used already" in problem["detail"]) == (403, True)
    invite(door, "again")
    status, problem = await door.enrol(nobody, id="1" * 32, secret=TOKEN + "again.s")
    assert (status, problem["code"]) == (409, "conflict"), "the id of another agent is not taken over"
    status, problem = await door.enrol(
        nobody, kind="node", id="3" * 32, secret=TOKEN + "again.s", address="x", web_port=1, cluster_port=2
    )
    assert status == 401, "a token for an agent makes no node"
    assert door.ledger.count("agents") == 2


async def test_guesses_at_join_tokens_are_slowed(door: Port) -> None:
    """After the third an address waits, also with a right token; sign-ins from there do not; a good one forgets it."""
    invite(door, "good")
    nobody = Bearer(None, door.trusts)
    for _ in range(3):
        assert (await door.enrol(nobody, id="1" * 32, secret="no.no"))[0] == 403
    status, problem = await door.enrol(nobody, id="1" * 32, secret=TOKEN + "good.s")
    assert (status, problem["code"]) == (429, "too_many_attempts")
    assert "join token" in problem["detail"]
    assert door.site.door.guard.sizes() == (0, 0)
    door.clock.now_us += 2_000_000
    assert (await door.enrol(nobody, id="1" * 32, secret=TOKEN + "good.s"))[0] == 200
    assert door.site.door.joins.sizes()[0] == 0
    for _ in range(20):
        await door.enrol(nobody, id=AGENT)
    assert (await door.enrol(nobody, id=AGENT))[0] == 429, "nor may keys be tried at will"
    assert (await door.enrol(nobody, kind="node", id="4" * 32, user="admin", password="wrong"))[0] == 401


async def test_requests_for_certificates_that_cannot_be_read(door: Port) -> None:
    """Whatever is sent as a request: an error that says so, and the token is still good."""
    invite(door, "good")
    nobody = Bearer(None, door.trusts)
    good = certificate_request(tls.new_key())
    lines = good.splitlines()
    changed = "\n".join([lines[0], lines[1][:20] + "AAAA" + lines[1][24:], *lines[2:]])
    for request in ("", "x", "\0", good[:100], changed, good.replace("CERTIFICATE REQUEST", "CERTIFICATE")):
        status, problem = await door.enrol(nobody, id="1" * 32, secret=TOKEN + "good.s", request=request)
        assert (status, problem["code"]) == (400, "invalid"), (request, problem)
    for identifier in ("", "x", "G" * 32, "1" * 33, chr(0x661) * 32, "../" + "1" * 29):
        status, problem = await door.enrol(nobody, id=identifier, secret=TOKEN + "good.s")
        assert (status, problem["code"]) == (400, "invalid"), (identifier, problem)
    assert (await door.enrol(nobody, id="1" * 32, secret=TOKEN + "good.s"))[0] == 200


async def test_bodies_of_enrolment_that_are_no_enrolment(door: Port) -> None:
    """Broken JSON, deep nesting, wrong types, too much: an error, never a defect."""
    nobody = Bearer(None, door.trusts)
    head = "POST /enrol HTTP/1.1\r\n"
    for body in (
        b"",
        b"{",
        b"[]",
        b"null",
        b"1",
        b'"x"',
        b"{}",
        b"[" * 100_000,
        b'{"kind":1}',
        b"\xff\xfe",
        b'{"a":' * 9999,
    ):
        assert await ask("127.0.0.1", door.port, nobody, head, body) == "400", body[:20]
    assert await ask("127.0.0.1", door.port, nobody, head, b" " * ((1 << 20) + 1)) == "413"
