"""What changes who comes in asks a browser once more who sits there, and then goes on (docs/access.md)."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from server.actions import second_factor, tokens, users
from server.core.model import DAY_US, MINUTE_US, SYSTEM, Principal
from server.core.proof_again import ASKING, GOOD_FOR_US, is_asked
from server.people import sign_in
from server.storage import audit
from server.storage import users as user_rows
from server.trust.tls import secret_hash
from server.web.permissions import DECLARED
from tests.unit.ledger import START_US, Ledger
from tests.unit.web_desk import open_desk
from tests.unit.web_door import PASSWORD, PHC, Door, open_door

ROOT = Principal("root", "administrator")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is answered without its second."""
    monkeypatch.setattr(sign_in, "FAILURE_PAUSE_S", 0.0)


@asynccontextmanager
async def signed_in(directory: Path) -> AsyncIterator[tuple[Door, Ledger, str]]:
    """An administrator who signed in a while ago, with the cookie."""
    ledger = Ledger()
    async with open_door(ledger, directory, {"root": "administrator", "bob": "user"}) as door:
        _, _, cookie = await door.sign_in("root")
        door.clock.now_us += GOOD_FOR_US + 1
        yield door, ledger, cookie


def test_the_rule() -> None:
    """After 15 minutes, for what is in the table alone; each line of it is a route that there is."""
    where = "POST", "/users/tokens"
    assert not is_asked(*where, START_US, START_US + GOOD_FOR_US)
    assert is_asked(*where, START_US, START_US + GOOD_FOR_US + 1)
    assert not is_asked("GET", "/users/tokens", START_US, START_US + DAY_US)
    assert set() == ASKING - DECLARED.keys()


BY_ITSELF = {
    "/api/v1/logout", "/login-message/dismiss", "/api/v1/login-message/dismiss", "/api/v1/prove",
    "/users/password", "/users/second-factor/begin", "/users/second-factor/confirm", "/users/second-factor/remove",
    "/users/second-factor/passkeys/{id}/remove", "/users/second-factor/passkeys/{id}/rename",
    "/api/v1/second-factor", "/api/v1/second-factor/confirm", "/api/v1/second-factor/remove",
    "/api/v1/second-factor/passkeys", "/api/v1/second-factor/passkeys/begin", "/api/v1/second-factor/passkeys/{id}",
    "/api/v1/second-factor/passkeys/{id}/remove",
    "/api/v1/tokens/{id}", "/users/tokens/{id}/revoke",
}  # fmt: skip
"""What asks for the password or a code itself, or takes away nothing but a token or a message."""


def test_no_route_of_people_is_forgotten() -> None:
    """Whatever changes people, their roles, sessions, tokens and ways to sign in is in the table, or asks by itself."""
    of_people = {"users.manage", "sessions.manage", "sessions.own", "tokens.own"}
    found = {
        (method, route)
        for (method, route), asked in DECLARED.items()
        if method != "GET" and ({name for way in asked.ways for name in way} & of_people or "/sign-in/" in route)
    }
    assert {route for _, route in found - ASKING} == BY_ITSELF
    assert ASKING - found == {("POST", "/login/oidc")}


async def test_a_page_asks_and_then_goes_on(tmp_path: Path) -> None:
    """Nothing is done and nothing that was typed is lost; a wrong password asks again; the next ones are not asked."""
    async with signed_in(tmp_path) as (door, ledger, cookie):
        typed = {"user": "bob", "name": 'night "run" & <more>', "days": "30", "scope": "runs.start"}
        asked = await door.ask("POST", "/users/tokens", typed, cookie=cookie, html=True)
        page = await asked.text()
        assert (asked.status, "Is it you?" in page, ledger.count("api_tokens")) == (200, True, 0)
        held = {
            html.unescape(n): html.unescape(v) for n, v in re.findall(r'hidden" name="([^"]+)" value="([^"]*)"', page)
        }
        assert held.items() >= typed.items()
        assert 'action="/users/tokens"' in page
        wrong = await door.ask("POST", "/users/tokens", {**held, "proof-password": "no"}, cookie=cookie, html=True)
        page = await wrong.text()
        assert (wrong.status, "or the password is wrong" in page, ledger.count("api_tokens")) == (422, True, 0)
        assert "night &#34;run&#34; &amp; &lt;more&gt;" in page
        right = {**held, "proof-password": PASSWORD}
        done = await door.ask("POST", "/users/tokens", right, cookie=cookie, html=True)
        assert (done.status, ledger.count("api_tokens", "name LIKE 'night%'")) == (200, 1)
        door.clock.now_us += GOOD_FOR_US
        assert (await door.ask("POST", "/users/bob/disable", {}, cookie=cookie, html=True)).status == 303
        door.clock.now_us += 1
        assert (await door.ask("POST", "/users/bob/enable", {}, cookie=cookie, html=True)).status == 200
        user = user_rows.by_name(ledger.connection, "bob")
        assert user is not None
        assert user.disabled_at_us is not None
        assert "sessions.prove_again" in {entry.action for entry in audit.page(ledger.connection)}


async def test_every_listed_route_asks(tmp_path: Path) -> None:
    """Pages and the API, each with its body unread: none of them is done a while after the sign-in."""
    async with signed_in(tmp_path) as (door, ledger, cookie):
        before = ledger.connection.total_changes
        for method, route in sorted(ASKING):
            path = route.replace("{name}", "bob").replace("{what}", "disable").replace("{start}", "0" * 16)
            path = path.replace("{id}", "0" * 16)
            is_page = not path.startswith("/api/")
            answer = await door.ask(method, path, {} if method != "DELETE" else None, cookie=cookie, html=is_page)
            said = await answer.text()
            expected = (200, True) if is_page else (403, True)
            assert (answer.status, ("Is it you?" if is_page else "proof_needed") in said) == expected, route
        assert ledger.connection.total_changes == before


async def test_a_program_with_a_session_says_it_too(tmp_path: Path) -> None:
    """By the API, with the password or a code; a code is good once; a made-up recovery code of nobody is nothing."""
    async with signed_in(tmp_path) as (door, ledger, cookie):
        made = {"name": "ci", "user": "root"}
        assert (await door.ask("POST", "/api/v1/tokens", made, cookie=cookie)).status == 403
        for body in ({}, {"password": "no"}, {"code": "123456"}, {"code": "ABCD-" * 5 + "ABCD"}):
            assert (await door.ask("POST", "/api/v1/prove", body, cookie=cookie)).status in (400, 401), body
            door.site.door.guard = type(door.site.door.guard)()
        assert (await door.ask("POST", "/api/v1/tokens", made, cookie=cookie)).status == 403
        assert (await door.ask("POST", "/api/v1/prove", {"password": PASSWORD}, cookie=cookie)).status == 200
        assert (await door.ask("POST", "/api/v1/tokens", made, cookie=cookie)).status == 201
        door.clock.now_us += GOOD_FOR_US + 1
        recovery = "ABCD-EFGH-IJKL-MNOP-QRST-UVWX"
        ledger.do(second_factor.begin((b"n" * 12, b"secret"), ROOT, START_US))
        hashes = [secret_hash(recovery.replace("-", ""))]
        ledger.do(second_factor.confirm(START_US, 5, hashes, ROOT, START_US, keep=secret_hash(cookie)))
        for expected in (200, 401):
            assert (await door.ask("POST", "/api/v1/prove", {"code": recovery}, cookie=cookie)).status == expected
        assert (await door.ask("DELETE", "/api/v1/sessions", cookie=cookie)).status == 200


async def test_ones_own_password_asks_by_itself(tmp_path: Path) -> None:
    """With the old one, which is checked; a role beside it is another thing, and so is somebody else's."""
    async with signed_in(tmp_path) as (door, _, cookie):
        own = {"password": "a word of my own", "old_password": PASSWORD}
        wrong = {**own, "old_password": "no"}
        for body, who in (({**own, "role": "user"}, "root"), ({"password": "x"}, "root"), (own, "bob"), ([], "root")):
            refused = await door.ask("PUT", f"/api/v1/users/{who}", body, cookie=cookie)
            assert (refused.status, "proof_needed" in await refused.text()) == (403, True), body
        assert (await door.ask("PUT", "/api/v1/users/root", wrong, cookie=cookie)).status == 401
        door.site.door.guard = type(door.site.door.guard)()
        assert (await door.ask("PUT", "/api/v1/users/root", own, cookie=cookie)).status == 200


async def test_tokens_and_the_socket_are_not_asked(tmp_path: Path) -> None:
    """They are of programs, and of whoever owns the machine."""
    async with signed_in(tmp_path) as (door, ledger, _):
        ledger.do(tokens.create("root", "ci", secret_hash("us_ci"), None, SYSTEM, START_US))
        door.clock.now_us += 60 * MINUTE_US
        assert (await door.ask("PUT", "/api/v1/users/bob", {"role": "operator"}, token="us_ci")).status == 200
        assert (await door.ask("POST", "/api/v1/prove", {"password": PASSWORD}, token="us_ci")).status == 400
    ledger = Ledger()
    ledger.do(users.create("root", PHC, "administrator", SYSTEM, START_US))
    (tmp_path / "own").mkdir()
    with open_desk(ledger, tmp_path / "own") as desk:
        desk.client.post("/api/v1/users", {"name": "eve", "password": "a long enough one"})
        assert desk.run("user", "role", "eve", "operator")[0] == 0
