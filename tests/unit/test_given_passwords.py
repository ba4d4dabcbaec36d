"""A password that an administrator gave: its only use is to set another, within seven days (docs/access.md)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from server.actions import sessions as session_actions
from server.actions import sign_in_ways, users
from server.actions.change import for_tenant
from server.core.model import DAY_US, MINUTE_US, Principal
from server.core.sign_in_ways import ProxyTrust
from server.errors import Forbidden
from server.people import sign_in
from server.people.sign_in import check_password
from server.storage import sessions
from server.storage import users as user_rows
from server.trust.tls import secret_hash
from tests.unit.ledger import START_US, Ledger
from tests.unit.web_desk import open_desk
from tests.unit.web_door import PASSWORD, PHC, Door, cookie_of, open_door

BOSS = Principal("boss", "administrator")
NEW = "a word of my own"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is answered without its second."""
    monkeypatch.setattr(sign_in, "FAILURE_PAUSE_S", 0.0)


@asynccontextmanager
async def given(directory: Path) -> AsyncIterator[tuple[Door, Ledger]]:
    """A node with an administrator of its own, who has added anna with a password."""
    ledger = Ledger()
    async with open_door(ledger, directory, {"boss": "administrator"}) as door:
        ledger.do(users.create("anna", PHC, "operator", BOSS, START_US))
        yield door, ledger


async def test_nothing_else_is_done_with_it(tmp_path: Path) -> None:
    """Pages lead to the password, the API refuses whatever it is asked, until it is changed; then all is open."""
    async with given(tmp_path) as (door, _):
        status, said, cookie = await door.sign_in("anna")
        assert (status, said["must_change_password"]) == (200, True)
        _, own, boss = await door.sign_in("boss")
        assert "must_change_password" not in own
        for method, path in (
            ("GET", "/api/v1/jobs"),
            ("GET", "/api/v1/status"),
            ("POST", "/api/v1/tokens"),
            ("POST", "/api/v1/second-factor"),
            ("PUT", "/api/v1/users/boss"),
            ("DELETE", "/api/v1/sessions"),
        ):
            body = {"password": NEW, "old_password": PASSWORD} if method == "PUT" else {"name": "x"}
            refused = await door.ask(method, path, None if method == "GET" else body, cookie=cookie)
            assert (refused.status, "set one of your own" in await refused.text()) == (403, True), path
        for path in ("/", "/jobs", "/users", "/users/second-factor"):
            sent = await door.ask("GET", path, cookie=cookie, html=True)
            assert (sent.status, sent.headers["Location"]) == (303, "/users/password"), path
        page = await (await door.ask("GET", "/users/password", cookie=cookie, html=True)).text()
        assert "Somebody else gave you this password" in page
        same = {"old": PASSWORD, "password": PASSWORD}
        assert (await door.ask("POST", "/users/password", same, cookie=cookie, html=True)).status == 422
        typed = {"old": PASSWORD, "password": NEW}
        done = await door.ask("POST", "/users/password", typed, cookie=cookie, html=True)
        assert done.status == 303
        assert (await door.ask("GET", "/api/v1/jobs", cookie=cookie_of(done))).status == 200
        assert "must_change_password" not in (await door.sign_in("anna", NEW))[1]
        assert (await door.ask("GET", "/api/v1/jobs", cookie=boss)).status == 200


async def test_a_program_changes_it_too_and_signs_out(tmp_path: Path) -> None:
    """By the API, and with what UiPath's sign-in answers, which is such a session; a node is not enrolled with it."""
    async with given(tmp_path) as (door, ledger):
        asked = {"usernameOrEmailAddress": "anna", "password": PASSWORD}
        answer = await door.ask("POST", "/api/Account/Authenticate", asked)
        token = (await answer.json())["result"]
        assert (await door.ask("GET", "/api/v1/jobs", token=token)).status == 403
        assert (await check_password(door.site, "anna", PASSWORD, "192.0.2.1")).is_password_given
        change: dict[str, Any] = {"password": NEW, "old_password": PASSWORD}
        for wrong in ({"role": "administrator"}, {"password": NEW}, {**change, "password": PASSWORD}):
            assert (await door.ask("PUT", "/api/v1/users/anna", wrong, token=token)).status in (400, 401, 403)
        assert (await door.ask("PUT", "/api/v1/users/anna", change, token=token)).status == 200
        assert (await door.ask("GET", "/api/v1/jobs", token=token)).status == 200
        ledger.do(users.change_password("anna", PHC, BOSS, START_US))
        _, _, cookie = await door.sign_in("anna")
        door.clock.now_us += 60 * MINUTE_US  # who may do nothing else is not asked who they are before they do it
        refused = await door.ask("PUT", "/api/v1/users/anna", {**change, "old_password": "no"}, cookie=cookie)
        assert (refused.status, "wrong" in await refused.text()) == (401, True)
        assert (await door.ask("POST", "/api/v1/logout", {}, cookie=cookie)).status == 200
        assert (await door.ask("GET", "/users/password", cookie=cookie, html=True)).headers["Location"][:6] == "/login"


async def test_it_ends_unused(tmp_path: Path) -> None:
    """After seven days it signs nobody in, and says what to do; another one does; one's own never ends."""
    async with given(tmp_path) as (door, ledger):
        door.clock.now_us = START_US + 7 * DAY_US - 1
        _, _, cookie = await door.sign_in("anna")
        door.clock.now_us += 1
        status, said, _ = await door.sign_in("anna")
        assert (status, "not changed within 7 days" in str(said)) == (401, True)
        typed = {"old": PASSWORD, "password": NEW}
        assert (await door.ask("POST", "/users/password", typed, cookie=cookie, html=True)).status == 422
        assert (await door.sign_in("anna", "not her password"))[1] != said
        ledger.do(users.change_password("anna", PHC, BOSS, door.clock.now_us))
        assert (await door.sign_in("anna"))[0] == 200
        door.clock.now_us += 400 * DAY_US
        assert (await door.sign_in("boss"))[0] == 200


async def test_who_comes_in_another_way_did_not_use_it(tmp_path: Path) -> None:
    """A proxy that vouches for somebody: the password that lies about says nothing of that session."""
    async with given(tmp_path) as (door, ledger):
        trust = ProxyTrust(proxies=("127.0.0.1",))
        ledger.do(sign_in_ways.put_proxy(trust, BOSS, START_US))
        answer = await door.client.post("/api/v1/login/proxy", json={}, headers={"X-Remote-User": "anna"})
        assert (answer.status, "must_change_password" in await answer.json()) == (200, False)


def test_whose_it_is() -> None:
    """The program's and one's own are not given; of anybody else it is, in a tenant too, and by the socket."""
    ledger = Ledger()
    ledger.do(users.create("anna", PHC, "user", Principal("local", "administrator"), START_US))
    assert _given(ledger) == START_US
    ledger.do(users.change_password("anna", PHC, Principal("anna", "user"), START_US))
    assert _given(ledger) is None
    ledger.do(for_tenant("", users.change_password("anna", PHC, BOSS, START_US + 1)))
    assert _given(ledger) == START_US + 1
    with pytest.raises(Forbidden):
        ledger.do(users.change_password("anna", PHC, Principal("bob", "user"), START_US + 2))


def _given(ledger: Ledger) -> int | None:
    found = user_rows.by_name(ledger.connection, "anna")
    assert found is not None
    return found.password_given_at_us


async def test_another_node_knows_it(tmp_path: Path) -> None:
    """What the session may is in its row, and goes with it when a browser follows a swap."""
    async with given(tmp_path) as (door, ledger):
        _, _, cookie = await door.sign_in("anna")
        found = sessions.signed_in(ledger.connection, secret_hash(cookie), door.clock.now_us)
        assert found is not None
        assert found.must_change_password
        by = Principal("", "", "192.0.2.9")
        ledger.do(session_actions.hand_over(secret_hash(cookie), secret_hash("next"), by, door.clock.now_us, ""))
        refused = await door.ask("GET", "/api/v1/jobs", cookie="next")
        assert (refused.status, "set one of your own" in await refused.text()) == (403, True)


def test_people_are_told(tmp_path: Path) -> None:
    """The command and the page say until when, and when it has ended."""
    ledger = Ledger()
    ledger.do(users.create("anna", PHC, "user", BOSS, START_US))
    ledger.do(users.create("olga", PHC, "user", BOSS, START_US - 8 * DAY_US))
    with open_desk(ledger, tmp_path) as desk:
        assert "password to be changed by 2026-09-28" in desk.run("user", "list")[1]
        page = desk.page("/users")[1]
        assert "Password to be changed by" in page
        assert "Password ended, never changed" in page
        password = tmp_path / "password"
        password.write_text(NEW)
        said = desk.run("user", "password", "olga", "--password-file", str(password))[1]
        assert "olga has to set a password of their own at the next sign-in, within 7 days" in said
        assert {one["name"]: one["password_ends_at_us"] > START_US for one in desk.client.get("/api/v1/users")} == {
            "anna": True,
            "olga": True,
        }
