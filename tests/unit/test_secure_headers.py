"""What every answer says to browsers, what is said of errors, and which requests of other sites do nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from server.actions import tokens
from server.core.model import SYSTEM
from server.ports import cluster_port
from server.ports.secure_headers import HSTS, SECURE_HEADERS
from server.trust.tls import secret_hash
from server.web import refusals
from server.web.session import COOKIE
from tests.unit.ledger import START_US, HandClock, Ledger
from tests.unit.web_door import Door, new_site, open_door

ANSWERS = (
    ("GET", "/livez", 503),
    ("GET", "/login", 200),
    ("GET", "/jobs", 303),
    ("GET", "/static/theme.css", 200),
    ("GET", "/static/theme.css?v=0", 200),
    ("GET", "/static/../tls.py", 404),
    ("GET", "/static/no.css", 404),
    ("GET", "/no/such/page", 404),
    ("GET", "/api/v1/jobs", 401),
    ("GET", "/api/v1/nothing", 404),
    ("TRACE", "/login", 405),
    ("OPTIONS", "/api/v1/jobs", 405),
    ("GET", "/api/v1/events", 400),
    ("GET", "/api/v1/openapi.json", 200),
)
"""Asked by nobody who is signed in."""


def assert_headed(headers: Any, name: str) -> None:
    """All of them, and nothing of releases, frames or other sites."""
    for header, value in SECURE_HEADERS.items():
        assert headers.get(header) == value, f"{name}: {header}"
    assert headers["Server"] == "Understudy", name
    assert not {"Access-Control-Allow-Origin", "X-Powered-By"} & set(headers), name


def test_the_policy_is_strict() -> None:
    """Nothing inline, nothing from elsewhere, no plugin, no base, no frame; what is sent is what it is said to be."""
    rules = dict(part.strip().split(" ", 1) for part in SECURE_HEADERS["Content-Security-Policy"].split(";"))
    assert rules["default-src"] == rules["object-src"] == rules["base-uri"] == rules["frame-ancestors"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["form-action"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in str(rules)
    expected = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}
    assert expected.items() <= SECURE_HEADERS.items()
    assert SECURE_HEADERS["Cross-Origin-Opener-Policy"] == SECURE_HEADERS["Cross-Origin-Resource-Policy"]


async def test_every_answer_has_them(tmp_path: Path) -> None:
    """Pages, files, streams, redirects, refusals, errors and upgrades."""
    async with open_door(Ledger(), tmp_path, {"root": "administrator"}) as door:
        for method, path, status in ANSWERS:
            answer = await door.client.request(method, path, allow_redirects=False)
            assert answer.status == status, f"{method} {path}"
            assert_headed(answer.headers, f"{method} {path}")
        _, _, cookie = await door.sign_in("root")
        for path in ("/audit.csv", "/audit.json", "/audit", "/api/v1/users"):
            answer = await door.ask("GET", path, cookie=cookie, html=True)
            assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store"), path
            assert_headed(answer.headers, path)
        headers = {"Cookie": f"{COOKIE}={cookie}", "Sec-Fetch-Site": "same-origin"}
        socket = await door.client.ws_connect("/api/v1/events", headers=headers)
        assert_headed(socket._response.headers, "an upgrade")
        await socket.close()


async def test_the_cluster_port_has_them_too(tmp_path: Path) -> None:
    """It is not for browsers; somebody opens it with one."""
    ledger = Ledger()

    async def nobody(*_: Any) -> None:
        raise AssertionError("nobody connects")

    app = cluster_port.make_app(new_site(ledger, tmp_path, HandClock()), nobody)
    async with TestClient(TestServer(app)) as client:
        for path, status in (("/", 404), ("/enrol", 200), ("/replication/control", 403), ("/agent", 404)):
            answer = await client.get(path)
            assert answer.status == status, path
            assert_headed(answer.headers, path)


async def test_transport_security_is_asked_for(tmp_path: Path) -> None:
    """With the setting on every answer, for a year, and for names below; never without, as it holds for other ports."""
    ledger, clock = Ledger(), HandClock()
    site = new_site(ledger, tmp_path, clock)
    object.__setattr__(site.config, "hsts", True)
    async with open_door(ledger, tmp_path, {}, site) as door:
        for path in ("/livez", "/login", "/no/such/page"):
            answer = await door.ask("GET", path)
            assert answer.headers["Strict-Transport-Security"] == HSTS == "max-age=31536000; includeSubDomains"
    async with open_door(Ledger(), tmp_path, {}) as door:
        assert "Strict-Transport-Security" not in (await door.ask("GET", "/livez")).headers


async def test_a_defect_tells_nothing_of_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """500 with a sentence: no traceback, no query, no secret, as a document and as a page."""

    def defect(*_: Any, **__: Any) -> None:
        raise RuntimeError("SELECT secret FROM /srv/buried")

    async with open_door(Ledger(), tmp_path, {"root": "administrator"}) as door:
        _, _, cookie = await door.sign_in("root")
        monkeypatch.setattr("server.web.api.people.user_rows.page", defect)
        monkeypatch.setattr("server.web.pages.people.users.page", defect)
        for path, html in (("/api/v1/users", False), ("/users", True)):
            answer = await door.ask("GET", path, cookie=cookie, html=html)
            text = await answer.text()
            assert answer.status == 500
            assert not [word for word in ("SELECT", "buried", "Traceback", "RuntimeError") if word in text]
            assert_headed(answer.headers, path)


FOREIGN = ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}, {})
"""What a browser says when another site made it ask; the last is an old browser that says nothing."""


@pytest.mark.parametrize("foreign", FOREIGN)
async def test_other_sites_do_nothing_with_a_session(tmp_path: Path, foreign: dict[str, str]) -> None:
    """Forms and calls that change something, sign-in and sign-out among them, and the stream of events."""
    async with open_door(Ledger(), tmp_path, {"root": "administrator"}) as door:
        _, _, cookie = await door.sign_in("root")
        headers = {"Cookie": f"{COOKIE}={cookie}"} | foreign
        for path in ("/login", "/logout", "/users/password", "/users/sign-out-all", "/api/v1/login", "/api/v1/logout"):
            assert (await door.client.post(path, data=b"{}", headers=headers)).status == 403, path
        for method in ("PUT", "DELETE", "PATCH"):
            assert (await door.client.request(method, "/api/v1/jobs/x", headers=headers)).status == 403, method
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        assert (await door.client.get("/api/v1/events", headers=headers | upgrade | key)).status == 403
        assert (await door.ask("GET", "/api/v1/jobs", cookie=cookie)).status == 200


async def test_what_only_looks_changes_nothing(tmp_path: Path) -> None:
    """No address that GET opens is an action: each route of an action has a method that is not safe."""
    async with open_door(Ledger(), tmp_path, {}) as door:
        acting = ("/disable", "/enable", "/delete", "/unlock", "/logout", "/begin", "/end", "/sign-out-all")
        allowed = {"/handover/begin"}  # it makes a browser remember something, and nothing here
        for route in door.client.server.app.router.routes():  # type: ignore[attr-defined]  # the server of this test has one
            path = route.resource.canonical if route.resource is not None else ""
            if path.endswith(acting) and path not in allowed:
                assert route.method not in ("GET", "HEAD"), path


async def test_refusals_are_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was refused what, from where; a storm is so many lines, and then how many more there were."""
    said: list[dict[str, Any]] = []
    monkeypatch.setattr(refusals, "log", type("Log", (), {"warning": lambda _, text, **more: said.append(more)})())
    ledger = Ledger()
    async with open_door(ledger, tmp_path, {"bob": "user"}) as door:
        ledger.do(tokens.create("bob", "ci", secret_hash("us_secret"), None, SYSTEM, START_US))
        assert (await door.ask("GET", "/api/v1/jobs")).status == 401
        assert said == []
        assert (await door.ask("GET", "/api/v1/users", token="us_secret")).status == 403
        assert (await door.ask("GET", "/api/v1/x%0Ay", token="us_wrong")).status == 401
        assert [(one["user"], one["code"], one["address"]) for one in said] == [
            ("bob", "forbidden", "127.0.0.1"),
            ("", "unauthenticated", "127.0.0.1"),
        ]
        assert said[1]["path"] == "/api/v1/x%0Ay"
        assert "us_" not in str(said)
        await _storm(door, refusals.LINES_MAX + 5)
        assert len(said) == refusals.LINES_MAX
        door.clock.now_us += int(refusals.WINDOW_S * 1e6)
        await _storm(door, 1)
        assert said[-2] == {"times": 7}


async def _storm(door: Door, count: int) -> None:
    for _ in range(count):
        assert (await door.ask("GET", "/api/v1/users", token="us_secret")).status == 403
