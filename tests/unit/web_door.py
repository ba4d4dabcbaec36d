"""The web port's application over a ledger, on a loopback port: people come in by password, cookie and token."""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import ClientResponse, DummyCookieJar, TCPConnector
from aiohttp.test_utils import TestClient, TestServer

from server.actions import users
from server.config import Config
from server.core.model import SYSTEM
from server.people.passwords import Passwords, hash_password
from server.site import SITE
from server.trust import tls
from server.web.routes import make_app
from server.web.session import COOKIE
from tests.unit.ledger import START_US, HandClock, Ledger
from tests.unit.web_desk import DeskSite, DeskStore

PASSWORD = "correct horse"
PHC = hash_password(PASSWORD)
"""Made once: hashing takes time."""


class Door:
    """A browser and a program at the door. `clock` is the node's."""

    def __init__(self, client: TestClient[Any, Any], site: Any, clock: HandClock) -> None:
        self.client = client
        self.site = site
        self.clock = clock

    async def ask(
        self, method: str, path: str, body: object = None, cookie: str = "", token: str = "", html: bool = False
    ) -> ClientResponse:
        """One request; redirects are not followed. A mapping is sent as a form with `html`, else anything as JSON."""
        headers = {"Accept": "text/html"} if html else {}
        if cookie:
            headers |= {"Cookie": f"{COOKIE}={cookie}", "Sec-Fetch-Site": "same-origin"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = body if html or body is None else msgspec.json.encode(body)
        return await self.client.request(method, path, data=data, headers=headers, allow_redirects=False)

    async def sign_in(self, user: str, password: str = PASSWORD, **more: str) -> tuple[int, Mapping[str, Any], str]:
        """Status, answer and the cookie of `POST /api/v1/login`."""
        answer = await self.ask("POST", "/api/v1/login", {"user": user, "password": password, **more})
        return answer.status, await answer.json(), cookie_of(answer)


def cookie_of(answer: ClientResponse) -> str:
    """The session that an answer gives to the browser, or empty."""
    for line in answer.headers.getall("Set-Cookie", []):
        if found := re.match(f"{COOKIE}=([^;]+)", line):
            return found[1].strip('"')
    return ""


@asynccontextmanager
async def open_door(
    ledger: Ledger, directory: Path, people: Mapping[str, str], site: DeskSite | None = None
) -> AsyncIterator[Door]:
    """The application until the block ends, with these people (name to role) whose password is PASSWORD.

    A `site` that is given is served over TLS.
    """
    clock = HandClock() if site is None else site.clock
    assert isinstance(clock, HandClock)
    for name, role in people.items():
        ledger.do(users.create(name, PHC, role, SYSTEM, START_US))
    server = TestServer(make_app(site or new_site(ledger, directory, clock)))
    if site is not None:
        await server.start_server(ssl=_certificate(directory))
    connector = TCPConnector(ssl=False)
    async with TestClient(server, cookie_jar=DummyCookieJar(), connector=connector) as client:
        yield Door(client, server.app[SITE], clock)


def new_site(ledger: Ledger, directory: Path, clock: HandClock, kind: type[DeskSite] = DeskSite) -> DeskSite:
    """A node over the ledger; two of them have the same key, as the nodes of a cluster do."""
    site = kind(Config(data=directory), clock, Passwords(), seal_key=bytes(32))
    site.rows = DeskStore(ledger)
    return site


def _certificate(directory: Path) -> ssl.SSLContext:
    authority, key = tls.Authority.create("c" * 32, datetime.now(UTC)), tls.new_key()
    peer = tls.Peer("node", "a" * 32)
    certificate = authority.issue(tls.certificate_request(key), peer, ("127.0.0.1",), datetime.now(UTC))
    (directory / "node.crt").write_bytes(certificate)
    (directory / "node.key").write_bytes(tls.private_pem(key))
    return tls.web_context(directory / "node.crt", directory / "node.key")
