"""TOTP: asked for once it is confirmed, no code good twice, a role that demands it, and the ways back."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from server.actions import second_factor as actions
from server.actions import sessions, users
from server.core.access import ENROL_ONLY
from server.core.model import MINUTE_US, SYSTEM, Principal
from server.errors import Forbidden, Unauthenticated
from server.people import second_factor as codes
from server.people import sign_in
from server.storage import audit
from server.trust.tls import secret_hash
from tests.unit.ledger import START_US, Ledger
from tests.unit.web_desk import open_desk
from tests.unit.web_door import PASSWORD, PHC, Door, cookie_of, open_door

STEP_US = codes.STEP_S * 1_000_000
AGAIN = {"password": PASSWORD}
RFC_SECRET = b"12345678901234567890"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is answered without its second."""
    monkeypatch.setattr(sign_in, "FAILURE_PAUSE_S", 0.0)


def test_codes_are_those_of_the_standard() -> None:
    """RFC 6238, appendix B, to six digits; one step of drift either way, and no more."""
    for at_s, code in ((1_234_567_890, "005924"), (1_111_111_109, "081804"), (20_000_000_000, "353130")):
        step = at_s // 30
        for drift, found in ((-2, None), (-1, step), (0, step), (1, step), (2, None)):
            assert codes.matching_step(RFC_SECRET, code, (at_s + drift * 30) * 1_000_000) == found
    assert codes.matching_step(RFC_SECRET, "287 082", 59_000_000) == 1
    assert codes.matching_step(RFC_SECRET, "755224", 0) == 0
    for wrong in ("", "28708", "2870822", "28708²", "abcdef"):
        assert codes.matching_step(RFC_SECRET, wrong, 59_000_000) is None


def _now(key: bytes, now_us: int) -> str:
    totp = codes.TOTP(key, codes.DIGITS, codes.SHA1(), codes.STEP_S)
    return totp.generate(now_us // 1_000_000).decode()


async def enrol(door: Door, cookie: str) -> tuple[str, list[str], str]:
    """Set it up over the API; (secret, recovery codes, cookie). Time goes by, so that the next code is new."""
    begun = await (await door.ask("POST", "/api/v1/second-factor", AGAIN, cookie=cookie)).json()
    assert begun["url"].startswith("otpauth://totp/Understudy%20")
    code = _now(codes.base64.b32decode(begun["secret"]), door.clock.now_us)
    wrong = await door.ask("POST", "/api/v1/second-factor/confirm", {"code": "000000"}, cookie=cookie)
    assert wrong.status == 400
    done = await door.ask("POST", "/api/v1/second-factor/confirm", {"code": code}, cookie=cookie)
    door.clock.now_us += STEP_US
    return begun["secret"], (await done.json())["recovery_codes"], cookie_of(done)


async def test_a_code_is_asked_for_and_good_once(tmp_path: Path) -> None:
    """Nothing before it is confirmed; then the password alone is not enough, and a code used again is refused."""
    ledger = Ledger()
    async with open_door(ledger, tmp_path, {"bob": "user"}) as door:
        _, _, cookie = await door.sign_in("bob")
        await door.ask("POST", "/api/v1/second-factor", AGAIN, cookie=cookie)
        status, _, other = await door.sign_in("bob")
        assert status == 200
        secret, _, fresh = await enrol(door, cookie)
        for own, expected in ((fresh, 200), (cookie, 401), (other, 401)):
            assert (await door.ask("GET", "/api/v1/jobs", cookie=own)).status == expected
        status, answer, none = await door.sign_in("bob")
        assert (status, answer["code"], none) == (401, "second_factor_needed", "")
        code = _now(codes.base64.b32decode(secret), door.clock.now_us)
        assert (await door.sign_in("bob", code=code))[0] == 200
        status, answer, _ = await door.sign_in("bob", code=code)
        assert (status, answer["code"]) == (401, "unauthenticated")
        assert (await door.sign_in("bob", "wrong", code=code))[0] == 401
        door.clock.now_us += 10 * STEP_US
        assert (await door.sign_in("bob", code=_now(codes.base64.b32decode(secret), door.clock.now_us)))[0] == 200
        text = " ".join(f"{entry}" for entry in audit.page(ledger.connection))
        assert secret not in text
        assert secret not in str(ledger.connection.execute("SELECT * FROM outcomes").fetchall())


async def test_guessing_codes_locks_the_account(tmp_path: Path) -> None:
    """Whoever has the password guesses no codes: giving it again does not set the count back."""
    async with open_door(Ledger(), tmp_path, {"bob": "user"}) as door:
        _, _, cookie = await door.sign_in("bob")
        await enrol(door, cookie)
        statuses = []
        for _ in range(12):
            door.clock.now_us += MINUTE_US
            statuses.append((await door.sign_in("bob", code="000000"))[0])
        assert statuses == [401] * 10 + [429] * 2


async def test_a_recovery_code_signs_in_once(tmp_path: Path) -> None:
    """For the day the phone is lost: however it is typed, and never again."""
    async with open_door(Ledger(), tmp_path, {"bob": "user"}) as door:
        _, _, cookie = await door.sign_in("bob")
        _, recovery, cookie = await enrol(door, cookie)
        assert len(set(recovery)) == 10
        typed = recovery[3].lower().replace("-", " ")
        assert (await door.sign_in("bob", code=typed))[0] == 200
        assert (await door.sign_in("bob", code=recovery[3]))[0] == 401
        state = await (await door.ask("GET", "/api/v1/second-factor", cookie=cookie)).json()
        assert state["recovery_codes_left"] == 9
        wrong = await door.ask("POST", "/api/v1/second-factor/remove", {"code": "000000"}, cookie=cookie)
        assert wrong.status == 401
        gone = await door.ask("POST", "/api/v1/second-factor/remove", {"code": recovery[0]}, cookie=cookie)
        assert gone.status == 200
        assert (await door.sign_in("bob"))[0] == 200


async def test_a_role_that_asks_for_one(tmp_path: Path) -> None:
    """Without it nothing but setting it up: not by page, API, event stream; with it everything, in the same session."""
    ledger = Ledger()
    async with open_door(ledger, tmp_path, {"bob": "user"}) as door:
        _, _, cookie = await door.sign_in("bob")
        ledger.do(actions.require_of_role("user", True, SYSTEM, START_US))
        assert (await door.ask("GET", "/api/v1/jobs", cookie=cookie)).status == 403
        assert (await door.ask("GET", "/api/v1/events", cookie=cookie)).status == 403
        sent = await door.ask("GET", "/jobs", cookie=cookie, html=True)
        assert (sent.status, sent.headers["Location"]) == (303, "/users/second-factor")
        page = await (await door.ask("GET", "/users/second-factor", cookie=cookie, html=True)).text()
        assert "asks for a second factor" in page
        *_, cookie = await enrol(door, cookie)
        assert (await door.ask("GET", "/api/v1/jobs", cookie=cookie)).status == 200


async def test_setting_one_up_asks_for_the_password_again(tmp_path: Path) -> None:
    """Whoever finds a browser signed in takes no account over: not by API, not on the page, not with a token."""
    async with open_door(Ledger(), tmp_path, {"bob": "user"}) as door:
        _, _, cookie = await door.sign_in("bob")
        for wrong, status in (({}, 400), ({"password": ""}, 400), ({"password": "correct"}, 401)):
            door.clock.now_us += MINUTE_US
            refused = await door.ask("POST", "/api/v1/second-factor", wrong, cookie=cookie)
            assert (refused.status, "secret" in await refused.text()) == (status, False)
            page = await door.ask("POST", "/users/second-factor/begin", wrong, cookie=cookie, html=True)
            assert (page.status, "otpauth" in await page.text()) == (422, False)
        door.clock.now_us += MINUTE_US
        assert (await door.ask("POST", "/api/v1/second-factor", AGAIN, cookie=cookie)).status == 201


async def test_signing_in_on_the_page(tmp_path: Path) -> None:
    """Password, then the code, on two pages; the ticket between them is of no use late or after a new password."""
    ledger = Ledger()
    async with open_door(ledger, tmp_path, {"bob": "user"}) as door:
        _, _, cookie = await door.sign_in("bob")
        begun = await (await door.ask("POST", "/users/second-factor/begin", AGAIN, cookie=cookie, html=True)).text()
        found = re.search(r"<code>([A-Z2-7]{32})</code>", begun)
        assert found is not None
        key = codes.base64.b32decode(found[1])
        path = "/users/second-factor/confirm"
        again = await door.ask("POST", path, {"code": "000000"}, cookie=cookie, html=True)
        assert (again.status, found[1] in await again.text()) == (422, True)
        typed = {"code": _now(key, door.clock.now_us)}
        shown = await (await door.ask("POST", path, typed, cookie=cookie, html=True)).text()
        assert len(re.findall(r"(?:[A-Z2-7]{4}-){5}[A-Z2-7]{4}", shown)) == 10
        looked = await door.ask("GET", path, cookie=cookie, html=True)
        told = (await looked.text()).partition("<main")[2]
        assert (looked.status, "its answer is shown once" in told, "maintenance" in told) == (405, True, False)
        door.clock.now_us += STEP_US
        first = {"name": "bob", "password": PASSWORD, "next": "/jobs"}
        asked = await (await door.ask("POST", "/login", first, html=True)).text()
        ticket = html.unescape(re.findall(r'name="ticket" value="([^"]+)"', asked)[0])
        second = {"ticket": ticket, "next": "/jobs", "code": "000000"}
        refused = await door.ask("POST", "/login", second, html=True)
        assert (refused.status, "wrong or was used" in await refused.text()) == (401, True)
        signed = await door.ask("POST", "/login", second | {"code": _now(key, door.clock.now_us)}, html=True)
        assert (signed.status, signed.headers["Location"], bool(cookie_of(signed))) == (303, "/jobs", True)
        ledger.do(users.change_password("bob", PHC + "x", SYSTEM, START_US))
        door.clock.now_us += STEP_US
        late = await door.ask("POST", "/login", second | {"code": _now(key, door.clock.now_us)}, html=True)
        assert (late.status, cookie_of(late)) == (401, "")


def test_the_ways_back(tmp_path: Path) -> None:
    """Over the socket anybody's is reset; nobody resets that of somebody who may more. A role may ask."""
    ledger = Ledger()
    for name, role in (("root", "administrator"), ("bob", "user")):
        ledger.do(users.create(name, PHC, role, SYSTEM, START_US))
    bob = Principal("bob", "user")
    ledger.do(actions.begin((b"n" * 12, b"secret"), bob, START_US))
    ledger.do(actions.confirm(START_US, 5, ["hash"], bob, START_US))
    for step in (5, 4):
        with pytest.raises(Unauthenticated):
            ledger.do(sessions.create("bob", PHC, "t", bob, START_US, "", actions.Proof(step=step)))
    with pytest.raises(Forbidden):
        actions.reset("root", bob, START_US)
    with open_desk(ledger, tmp_path) as desk:
        assert desk.run("user", "reset-second-factor", "bob") == (0, "bob signs in with the password alone.\n")
        assert desk.run("user", "reset-second-factor", "bob") == (0, "bob has no second factor.\n")
        assert desk.run("role", "require-second-factor", "auditor")[0] == 0
        assert "required" in desk.run("role", "list")[1]
        assert desk.run("role", "require-second-factor", "auditor", "--off")[0] == 0
    ledger.do(sessions.create("bob", PHC, secret_hash("x"), bob, START_US, ""))
    ledger.do(actions.require_of_role("user", True, SYSTEM, START_US))
    found = sessions.authenticate(ledger.connection, secret_hash("x"), START_US, "")
    assert found is not None
    assert found.granted == ENROL_ONLY
