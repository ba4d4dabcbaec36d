"""A trusted proxy says who signs in, and nobody else does: real requests from 127.0.0.1 and 127.0.0.2."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from server.actions import roles, second_factor, sign_in_ways, users
from server.core.model import MINUTE_US, SYSTEM, Principal
from server.core.sign_in_ways import BAD_HEADER, NO_PROXY, ProxyTrust, said
from server.errors import Forbidden, Invalid
from server.people import sign_in
from server.storage import audit, system_messages
from server.storage import sign_in_ways as rows
from server.storage import users as user_rows
from tests.unit.ledger import START_US, Ledger
from tests.unit.web_desk import open_desk
from tests.unit.web_door import Door, open_door

PROXY, STRANGER = "127.0.0.2", "127.0.0.1"
TRUST = ProxyTrust(proxies=(PROXY,), address_header="X-Forwarded-For")
User = tuple[str, str]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is answered without its second."""
    monkeypatch.setattr(sign_in, "FAILURE_PAUSE_S", 0.0)


def trusting(trust: ProxyTrust = TRUST) -> Ledger:
    """Rows in which a proxy is trusted."""
    ledger = Ledger()
    ledger.do(sign_in_ways.put_proxy(trust, SYSTEM, START_US))
    return ledger


async def send(door: Door, peer: str, headers: Sequence[User], path: str = "/api/v1/login/proxy") -> tuple[int, str]:
    """Bytes over a connection from `peer`, headers as they are given; (status, head and body)."""
    method, body = ("GET", "") if path.startswith("/login?") or path == "/login" else ("POST", "{}")
    is_form = path == "/login/proxy"
    body = "next=/jobs" if is_form else body
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", "Connection: close"]
    lines += ["Accept: text/html"] if method == "GET" or is_form else []
    lines += ["Content-Type: application/x-www-form-urlencoded"] if is_form else []
    lines += [f"{name}: {value}" for name, value in headers]
    port = door.client.server.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(peer, 0))
    writer.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
    async with asyncio.timeout(20):
        text = (await reader.read()).decode()
    writer.close()
    return int(text.split(" ", 2)[1]), text


async def test_a_trusted_proxy_names_the_user(tmp_path: Path) -> None:
    """However the header is written; the session is an ordinary one, and the audit history names proxy and browser."""
    ledger = trusting()
    async with open_door(ledger, tmp_path, {"bob": "user"}) as door:
        for name in ("X-Remote-User", "x-remote-user"):
            status, text = await send(door, PROXY, [(name, "bob"), ("X-Forwarded-For", "10.9.9.9, 192.0.2.7")])
            assert (status, '"user":"bob"' in text) == (200, True)
        cookie = re.findall(r"__Host-understudy=([\w-]+)", text)[0]
        assert (await door.ask("GET", "/api/v1/jobs", cookie=cookie)).status == 200
        assert (await door.ask("GET", "/api/v1/users", cookie=cookie)).status == 403
        entry = audit.page(ledger.connection)[0]
        assert (entry.action, entry.who, entry.address, entry.after) == (
            *("sessions.create", "bob", "192.0.2.7", f'{{"factors":["proxy {PROXY}"]}}'),
        )
        assert (await door.ask("POST", "/logout", {}, cookie=cookie, html=True)).headers["Location"] == "/login"
        assert (await door.ask("GET", "/api/v1/jobs", cookie=cookie)).status == 401


async def test_nobody_else_does(tmp_path: Path) -> None:
    """From another address, doubled in any spelling, empty, broken: no session, and the audit history says from where.

    Name and password go on working from everywhere, also with such a header.
    """
    ledger = trusting()
    async with open_door(ledger, tmp_path, {"bob": "user", "root": "administrator"}) as door:
        assert (await send(door, STRANGER, [("X-Remote-User", "root")]))[0] == 403
        wrong: list[list[User]] = [
            [("X-Remote-User", "bob"), ("X-Remote-User", "root")],
            [("X-Remote-User", "bob"), ("x-remote-user", "bob")],
            [("X-Remote-User", "")],
            [("X-Remote-User", "bob, root")],
            [("X-Remote-User", "../root")],
        ]
        for headers in wrong:
            status, text = await send(door, PROXY, headers)
            assert (status, "Set-Cookie" in text) == (403, False), headers
        for raw in ("bob\r\n root", "bob\rX: y", "bob\x00", "bob\nX-Remote-User: root"):
            status, text = await send(door, PROXY, [("X-Remote-User", raw)])
            assert status in (400, 403), raw
            assert "Set-Cookie" not in text
        assert (await send(door, PROXY, []))[0] == 409
        assert (await send(door, PROXY, [("X_Remote_User", "root")]))[0] == 409
        assert ledger.count("sessions") == 0
        shown = await send(door, STRANGER, [("X-Remote-User", "root")], "/login")
        assert (shown[0], "Continue as" in shown[1], 'name="password"' in shown[1]) == (200, False, True)
        assert (await door.sign_in("bob"))[0] == 200
        await door.site.door.sweep(door.site.rows, door.clock.now_us)
        told = {
            entry.object: entry.after for entry in audit.page(ledger.connection) if entry.action == "sessions.failed"
        }
        assert f'"failures":2,"from":["{STRANGER}"]' in told[NO_PROXY]
        assert PROXY in told[BAD_HEADER]


async def test_off_nothing_is_heard(tmp_path: Path) -> None:
    """As it is at first: the header is worth nothing and costs no row."""
    ledger = Ledger()
    async with open_door(ledger, tmp_path, {"bob": "user"}) as door:
        assert (await send(door, PROXY, [("X-Remote-User", "bob")]))[0] == 409
        assert (await send(door, PROXY, [("X-Remote-User", "bob")], "/login"))[0] == 200
        assert door.site.door.failures.take() == {}


async def test_locks_closed_accounts_and_second_factors_hold(tmp_path: Path) -> None:
    """As for others: 429 while locked, 401 when closed or not there, a code where there is a second factor."""
    ledger = trusting()
    async with open_door(
        ledger, tmp_path, {"bob": "user", "ann": "user", "cid": "user", "root": "administrator"}
    ) as door:
        ledger.do(users.lock("bob", START_US + MINUTE_US, 10, "", START_US))
        ledger.do(users.disable("ann", SYSTEM, START_US))
        cid = Principal("cid", "user")
        ledger.do(second_factor.begin((b"n" * 12, b"secret"), cid, START_US))
        ledger.do(second_factor.confirm(START_US, 5, ["hash"], cid, START_US))
        found = {name: (await send(door, PROXY, [("X-Remote-User", name)]))[0] for name in ("bob", "ann", "eve")}
        assert found == {"bob": 429, "ann": 401, "eve": 401}
        status, text = await send(door, PROXY, [("X-Remote-User", "cid")])
        assert (status, "second_factor_needed" in text) == (401, True)
        status, text = await send(door, PROXY, [("X-Remote-User", "cid")], "/login/proxy")
        assert (status, 'name="ticket"' in text, "Set-Cookie" in text) == (200, True, False)
        door.clock.now_us += 2 * MINUTE_US
        assert (await send(door, PROXY, [("X-Remote-User", "bob")]))[0] == 200
        assert ledger.count("sessions") == 1


async def test_unknown_users_are_made_when_a_setting_says_so(tmp_path: Path) -> None:
    """With the role that it names, without a password, and never in a tenant."""
    ledger = trusting(ProxyTrust(proxies=("127.0.0.0/24",), new_role="auditor"))
    async with open_door(ledger, tmp_path, {}) as door:
        assert (await send(door, PROXY, [("X-Remote-User", "eve@example.org")]))[0] == 200
        made = user_rows.by_name(ledger.connection, "eve@example.org")
        assert made is not None
        assert (made.role, made.tenant) == ("auditor", "")
        assert (await send(door, PROXY, [("X-Remote-User", "acme:eve")]))[0] == 401
        for password in ("!", "", "x" * 20):
            assert (await door.sign_in("eve@example.org", password))[0] == 401
        lines = [entry for entry in audit.page(ledger.connection) if entry.action == "sign_in_ways.make_user"]
        assert [f"proxy {PROXY}" in entry.after for entry in lines] == [True]


async def test_the_page_has_one_button(tmp_path: Path) -> None:
    """Opening it signs nobody in, before and after signing out: whom the proxy names presses *Continue*."""
    async with open_door(trusting(), tmp_path, {"bob": "user"}) as door:
        for path in ("/login?next=/jobs", "/login?out=1"):
            status, text = await send(door, PROXY, [("X-Remote-User", "bob")], path)
            assert (status, "Continue as bob" in text, "__Host-understudy=" in text) == (200, True, False)
        assert text.index("Continue as bob") < text.index("Sign in as somebody else") < text.index('name="password"')
        status, text = await send(door, PROXY, [("X-Remote-User", "bob")], "/login/proxy")
        assert (status, "Location: /jobs" in text, "__Host-understudy=" in text) == (303, True, True)


def test_who_may_set_it_and_what_is_refused() -> None:
    """Who may not do everything could become somebody who may; a network of half the world is a mistake."""
    ledger = Ledger()
    ledger.do(roles.create("settings", ["settings.change"], "", SYSTEM, START_US))
    for by in (Principal("op", "operator"), Principal("set", "settings", granted=frozenset({"settings.change"}))):
        with pytest.raises(Forbidden):
            sign_in_ways.put_proxy(TRUST, by, START_US)
    for proxies in (("0.0.0.0/0",), ("10.0.0.0/8",), ("::/0",), ("proxy.example",), ("192.0.2.1/24",)):
        with pytest.raises(Invalid) as refused:
            sign_in_ways.put_proxy(ProxyTrust(proxies=proxies), SYSTEM, START_US)
        assert list(refused.value.fields) == ["proxies"]
    for header in ("", "X Remote", "Cookie", "x-forwarded-for", "X-User\r\n"):
        assert "user_header" in ProxyTrust(user_header=header).wrong()
    with pytest.raises(Invalid):
        ledger.do(sign_in_ways.put_proxy(ProxyTrust(proxies=(PROXY,), new_role="king"), SYSTEM, START_US))
    assert rows.proxy(ledger.connection) == ProxyTrust()
    assert said(TRUST, "::ffff:127.0.0.2", ["bob"], []) is not None
    assert system_messages.page(ledger.connection) == []


def test_command_and_page(tmp_path: Path) -> None:
    """Set and shown from both; what is wrong stands at its field."""
    with open_desk(Ledger(), tmp_path) as desk:
        assert "trusted proxies: none\n" in desk.run("sign-in", "show")[1]
        code, text = desk.run("sign-in", "dangerously-trust-proxies", "10.0.0.0/8")
        assert (code != 0, "too wide" in text) == (True, True)
        assert desk.run("sign-in", "dangerously-trust-proxies", "192.0.2.1", "--reason", "sso")[0] == 0
        assert "192.0.2.1 say who signs in, by X-Remote-User" in desk.run("sign-in", "show")[1]
        typed = {"proxies": "192.0.2.1\nnot one", "user_header": "X-User", "new_role": "auditor"}
        status, page = desk.page("/users/sign-in/proxy", typed)
        assert (status, "not one" in page, 'id="error-proxies"' in page) == (422, True, True)
        assert desk.page("/users/sign-in/proxy", typed | {"proxies": "192.0.2.2"})[0] == 303
        assert "192.0.2.2" in desk.page("/users/sign-in")[1]
        assert desk.run("sign-in", "trust-no-proxy") == (0, "No proxy says who signs in.\n")
