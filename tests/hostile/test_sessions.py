"""Session fixation and cookies: an id of before is never the session after; another way in is another id."""

from __future__ import annotations

import base64
from pathlib import Path

from aiohttp import ClientResponse
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from server.people.second_factor import DIGITS, STEP_S
from server.trust.tls import secret_hash
from server.web.session import COOKIE
from tests.unit.ledger import HandClock, Ledger
from tests.unit.web_door import PASSWORD, Door, cookie_of, new_site, open_door

FIXED = "a" * 43
SECOND_FACTOR = "/api/v1/second-factor"


def given_cookies(answer: ClientResponse) -> list[str]:
    """Every cookie that an answer sets, whole."""
    return [str(line) for line in answer.headers.getall("Set-Cookie", [])]


def code_of(secret: str, door: Door) -> str:
    """What the program shows now."""
    totp = TOTP(base64.b32decode(secret), DIGITS, SHA1(), STEP_S)
    return totp.generate(door.clock.now_us // 1_000_000).decode()


async def test_a_cookie_set_before_is_never_the_session(tmp_path: Path) -> None:
    """By page and API: the answer gives another id, the old one stays nobody's and is not kept anywhere."""
    ledger = Ledger()
    async with open_door(ledger, tmp_path, {"bob": "user"}) as door:
        for path, body, is_page in (
            ("/api/v1/login", {"user": "bob", "password": PASSWORD}, False),
            ("/login", {"name": "bob", "password": PASSWORD}, True),
        ):
            answer = await door.ask("POST", path, body, cookie=FIXED, html=is_page)
            assert answer.status in (200, 303)
            found = cookie_of(answer)
            assert found not in ("", FIXED)
            assert (await door.ask("GET", "/api/v1/jobs", cookie=FIXED)).status == 401
            assert (await door.ask("GET", "/api/v1/jobs", cookie=found)).status == 200
    assert ledger.count("sessions", f"token_hash = '{secret_hash(FIXED)}'") == 0


async def test_each_sign_in_is_another_session_and_ends_the_one_before(tmp_path: Path) -> None:
    """Also of the same browser: its former session is over once it signed in anew."""
    async with open_door(Ledger(), tmp_path, {"bob": "user"}) as door:
        _, _, first = await door.sign_in("bob")
        answer = await door.ask("POST", "/api/v1/login", {"user": "bob", "password": PASSWORD}, cookie=first)
        second = cookie_of(answer)
        assert second not in ("", first)
        assert (await door.ask("GET", "/api/v1/jobs", cookie=first)).status == 401
        assert (await door.ask("GET", "/api/v1/jobs", cookie=second)).status == 200


async def test_a_sign_out_holds_on_both_nodes(tmp_path: Path) -> None:
    """The session is a row: what ends at one node is over at the other, which reads the same rows."""
    ledger, clock = Ledger(), HandClock()
    for name in ("north", "south"):
        (tmp_path / name).mkdir()
    north, south = (new_site(ledger, tmp_path / name, clock) for name in ("north", "south"))
    async with (
        open_door(ledger, tmp_path / "north", {"bob": "user"}, north) as here,
        open_door(ledger, tmp_path / "south", {}, south) as there,
    ):
        _, _, cookie = await here.sign_in("bob")
        assert (await there.ask("GET", "/api/v1/jobs", cookie=cookie)).status == 200
        out = await there.ask("POST", "/api/v1/logout", {}, cookie=cookie)
        assert out.status == 200
        for door in (here, there):
            assert (await door.ask("GET", "/api/v1/jobs", cookie=cookie)).status == 401


async def test_every_cookie_has_its_flags(tmp_path: Path) -> None:
    """Given at sign-in and taken at sign-out: of one host, secure, unseen by scripts, not sent by other sites."""
    async with open_door(Ledger(), tmp_path, {"bob": "user"}) as door:
        inside = await door.ask("POST", "/api/v1/login", {"user": "bob", "password": PASSWORD})
        outside = await door.ask("POST", "/api/v1/logout", {}, cookie=cookie_of(inside))
        seen = [*given_cookies(inside), *given_cookies(outside)]
        assert len(seen) >= 2
        for line in seen:
            assert line.startswith(COOKIE)
            assert all(flag in line for flag in ("HttpOnly", "Secure", "SameSite=Lax", "Path=/")), line
            assert "Domain" not in line
        refused = await door.ask("POST", "/api/v1/login", {"user": "bob", "password": "wrong"}, cookie=FIXED)
        assert (refused.status, given_cookies(refused)) == (401, [])


async def test_whoever_changes_how_they_sign_in_gets_another_id(tmp_path: Path) -> None:
    """A password of one's own, a second factor: who knows the former id is out, and the end of the session stays."""
    ledger = Ledger()
    async with open_door(ledger, tmp_path, {"bob": "user", "root": "administrator"}) as door:
        _, _, before = await door.sign_in("bob")
        changed = {"password": "a new password", "old_password": PASSWORD}
        by_api = await door.ask("PUT", "/api/v1/users/bob", changed, cookie=before)
        changed = {"old": "a new password", "password": PASSWORD}
        by_page = await door.ask("POST", "/users/password", changed, cookie=cookie_of(by_api), html=True)
        again = {"password": PASSWORD}
        begun = await door.ask("POST", SECOND_FACTOR, again, cookie=cookie_of(by_page))
        code = {"code": code_of((await begun.json())["secret"], door)}
        done = await door.ask("POST", "/users/second-factor/confirm", code, cookie=cookie_of(by_page), html=True)
        held = [before, *map(cookie_of, (by_api, by_page, done))]
        assert len({*held, ""}) == 5
        answers = [(await door.ask("GET", "/api/v1/jobs", cookie=one)).status for one in held]
        assert answers == [401, 401, 401, 200]
        ends = ledger.connection.execute("SELECT DISTINCT expires_at_us, created_at_us FROM sessions").fetchall()
        assert len(ends) == 1
        _, _, root = await door.sign_in("root")
        other = await door.ask("PUT", "/api/v1/users/bob", {"password": "a new password"}, cookie=root)
        assert (other.status, cookie_of(other)) == (200, "")


async def test_a_program_without_a_cookie_keeps_its_session(tmp_path: Path) -> None:
    """It sent its session as a bearer token and would not learn another: it is given no cookie and goes on."""
    async with open_door(Ledger(), tmp_path, {"ann": "user"}) as door:
        _, _, ann = await door.sign_in("ann")
        begun = await door.ask("POST", SECOND_FACTOR, {"password": PASSWORD}, token=ann)
        code = {"code": code_of((await begun.json())["secret"], door)}
        done = await door.ask("POST", f"{SECOND_FACTOR}/confirm", code, token=ann)
        assert (done.status, cookie_of(done)) == (200, "")
        assert (await door.ask("GET", "/api/v1/jobs", token=ann)).status == 200


async def test_a_change_of_the_password_ends_other_sessions(tmp_path: Path) -> None:
    """Whoever has an id from before the change is out."""
    async with open_door(Ledger(), tmp_path, {"bob": "user", "root": "administrator"}) as door:
        _, _, stolen = await door.sign_in("bob")
        _, _, root = await door.sign_in("root")
        changed = await door.ask("PUT", "/api/v1/users/bob", {"password": "a new password"}, cookie=root)
        assert changed.status == 200, await changed.text()
        assert (await door.ask("GET", "/api/v1/jobs", cookie=stolen)).status == 401
