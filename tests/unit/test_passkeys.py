"""Passkeys: a second factor or enough alone; a forged, late, repeated, foreign or removed one opens nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse

from server.actions import second_factor, sign_in_ways
from server.core.model import MINUTE_US, SYSTEM
from server.core.sign_in_ways import PasskeyNames, passkey_name
from server.people import passkeys, sign_in
from server.storage import audit
from server.web.session import COOKIE
from tests.unit.authenticator import PRESENT, Device
from tests.unit.ledger import START_US, Ledger
from tests.unit.web_desk import open_desk
from tests.unit.web_door import PASSWORD, Door, cookie_of, open_door

OWN = "/api/v1/second-factor/passkeys"
ENTER = "/api/v1/login/passkey"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is answered without its second."""
    monkeypatch.setattr(sign_in, "FAILURE_PAUSE_S", 0.0)


async def ask(door: Door, path: str, body: object, cookie: str = "", host: str = "localhost") -> ClientResponse:
    """POST as a browser at a name does."""
    headers = {"Host": f"{host}:{door.client.server.port}", "Sec-Fetch-Site": "same-origin"}
    headers |= {"Cookie": f"{COOKIE}={cookie}"} if cookie else {}
    return await door.client.post(path, json=body, headers=headers)


def device(door: Door, host: str = "localhost") -> Device:
    """A new one, in a browser at a name."""
    return Device(f"http://{host}:{door.client.server.port}")


async def register(
    door: Door, cookie: str, one: Device, alone: bool = False, host: str = "localhost"
) -> ClientResponse:
    """Make a passkey; the last answer."""
    begun = await (await ask(door, OWN + "/begin", {"password": PASSWORD, "alone": alone}, cookie, host)).json()
    body = {"name": "Laptop", "question": begun["question"], "credential": one.make(begun["options"])}
    return await ask(door, OWN, body, cookie, host)


async def begin(door: Door, ticket: str = "", host: str = "localhost") -> dict[str, Any]:
    """What a browser is asked at sign-in."""
    return dict(await (await ask(door, ENTER + "/begin", {"ticket": ticket}, "", host)).json())


async def enter(door: Door, asked: dict[str, Any], credential: object, ticket: str = "") -> tuple[int, str]:
    """Status and cookie of a sign-in."""
    body = {"question": asked["question"], "credential": credential, "ticket": ticket}
    answer = await ask(door, ENTER, body)
    return answer.status, cookie_of(answer)


async def ticket_of(door: Door) -> str:
    """What the page that asks for a code has, once the password was right."""
    page = await (await door.ask("POST", "/login", {"name": "bob", "password": PASSWORD}, html=True)).text()
    return page.partition('name="ticket" value="')[2].partition('"')[0]


async def test_a_passkey_is_a_second_factor(tmp_path: Path) -> None:
    """The password alone is enough no more; the passkey or a recovery code is, each once; removed, it is not."""
    ledger = Ledger()
    async with open_door(ledger, tmp_path, {"bob": "user"}) as door:
        _, _, cookie = await door.sign_in("bob")
        wrong = await ask(door, OWN + "/begin", {"password": "wrong"}, cookie)
        assert wrong.status == 401
        one = device(door)
        first = await register(door, cookie, one)
        made, former, cookie = await first.json(), cookie, cookie_of(first)
        assert (await door.ask("GET", "/api/v1/jobs", cookie=former)).status == 401
        assert len(set(made["recovery_codes"])) == 10
        assert (await register(door, cookie, one)).status == 409
        second = await register(door, cookie, device(door))
        more = await second.json()
        assert (more["recovery_codes"], cookie_of(second)) == ([], "")
        assert (await door.sign_in("bob"))[1]["code"] == "second_factor_needed"
        ticket = await ticket_of(door)
        asked, one.count = await begin(door, ticket), 1
        answer = one.sign(asked["options"])
        status, other = await enter(door, asked, answer, ticket)
        assert (status, (await door.ask("GET", "/api/v1/jobs", cookie=other)).status) == (200, 200)
        assert '["password","passkey"]' in audit.page(ledger.connection)[0].after
        assert (await enter(door, asked, answer, ticket))[0] == 401
        asked = await begin(door)
        assert (await enter(door, asked, one.sign(asked["options"])))[0] == 401
        assert (await door.sign_in("bob", code=made["recovery_codes"][2]))[0] == 200
        assert (await door.sign_in("bob", code=made["recovery_codes"][2]))[0] == 401
        ticket = await ticket_of(door)
        asked, one.count = await begin(door, ticket), 2
        gone = await ask(door, f"{OWN}/{made['id']}/remove", {"password": PASSWORD}, other)
        assert (gone.status, (await enter(door, asked, one.sign(asked["options"]), ticket))[0]) == (200, 401)
        await ask(door, f"{OWN}/{more['id']}/remove", {"password": PASSWORD}, other)
        assert ((await door.sign_in("bob"))[0], ledger.count("recovery_codes")) == (200, 0)


async def test_alone_only_for_who_chose_it_and_is_verified(tmp_path: Path) -> None:
    """No name, no password: the device says who it is, and must have checked who holds it."""
    ledger = Ledger()
    async with open_door(ledger, tmp_path, {"bob": "user"}) as door:
        _, _, cookie = await door.sign_in("bob")
        one = device(door)
        one.flags = PRESENT
        assert (await register(door, cookie, one, alone=True)).status == 401
        one = device(door)
        assert (await register(door, cookie, one, alone=True)).status == 201
        asked = await begin(door)
        assert asked["options"]["userVerification"] == "required"
        one.flags, one.count = PRESENT, 1
        assert (await enter(door, asked, one.sign(asked["options"])))[0] == 401
        one = Device(one.origin, 2, key=one.key, credential=one.credential)
        status, cookie = await enter(door, asked, one.sign(asked["options"]))
        assert (status, (await door.ask("GET", "/api/v1/jobs", cookie=cookie)).status) == (200, 200)
        assert '["passkey alone"]' in audit.page(ledger.connection)[0].after


async def test_what_is_forged_opens_nothing(tmp_path: Path) -> None:
    """Another challenge, origin, name, key, kind or count; a question that is old, another's or none."""
    ledger = Ledger()
    async with open_door(ledger, tmp_path, {"bob": "user", "ann": "user"}) as door:
        _, _, cookie = await door.sign_in("bob")
        one = device(door)
        cookie = cookie_of(await register(door, cookie, one, alone=True))
        other = Device(one.origin, 9, credential=one.credential)

        async def attempt(signing: Device, rp_id: str = "", **changes: str) -> int:
            asked = await begin(door)
            door.clock.now_us += MINUTE_US
            return (await enter(door, asked, signing.sign(asked["options"], rp_id, **changes)))[0]

        one.count = 5
        assert await attempt(one, challenge=passkeys.text_of(b"x" * 32)) == 401
        for origin in ("https://evil.example", "http://localhost", one.origin.replace("localhost", "localhost.evil")):
            assert await attempt(one, origin=origin) == 401
        assert await attempt(one, rp_id="evil.example") == 401
        assert await attempt(one, type="webauthn.create") == 401
        assert await attempt(other) == 401
        assert await attempt(one) == 200
        assert await attempt(one) == 401
        door.site.door.guard.forget("bob")
        asked = await begin(door)
        for credential in ({}, {"id": 3}, {"id": one.credential.hex()}, one.sign(asked["options"]) | {"response": {}}):
            assert (await enter(door, asked, credential))[0] == 401
            door.site.door.guard.forget("bob")
            door.clock.now_us += MINUTE_US
        door.clock.now_us += 5 * MINUTE_US
        one.count = 20
        assert (await enter(door, asked, one.sign(asked["options"])))[0] == 400
        assert (await enter(door, asked | {"question": "a.b"}, one.sign(asked["options"])))[0] == 400
        _, _, ann = await door.sign_in("ann")
        begun = await (await ask(door, OWN + "/begin", {"password": PASSWORD}, ann)).json()
        body = {"name": "x", "question": begun["question"], "credential": device(door).make(begun["options"])}
        assert (await ask(door, OWN, body, cookie)).status == 400
        assert (await ask(door, OWN, body | {"question": asked["question"]}, ann)).status == 400
        assert (await ask(door, OWN, body, ann)).status == 201
        assert (await ask(door, OWN, body, ann)).status in (401, 409)


async def test_an_answer_is_good_once_also_of_a_device_that_does_not_count(tmp_path: Path) -> None:
    """Many devices say 0 for ever: only that its question was answered refuses the same answer again."""
    async with open_door(Ledger(), tmp_path, {"bob": "user"}) as door:
        _, _, cookie = await door.sign_in("bob")
        one = device(door)
        await register(door, cookie, one, alone=True)
        asked = await begin(door)
        answer = one.sign(asked["options"])
        assert [(await enter(door, asked, answer))[0] for _ in range(2)] == [200, 401]
        door.site.door.guard.forget("bob")
        asked = await begin(door)
        assert (await enter(door, asked, one.sign(asked["options"])))[0] == 200


async def test_each_works_at_its_name(tmp_path: Path) -> None:
    """At the name that it was made at, or where both nodes' names end alike; never at an address of numbers."""
    ledger = Ledger()
    async with open_door(ledger, tmp_path, {"bob": "user"}) as door:
        _, _, cookie = await door.sign_in("bob")
        numbers = await ask(door, OWN + "/begin", {"password": PASSWORD}, cookie, "127.0.0.1")
        assert (numbers.status, "address of numbers" in await numbers.text()) == (400, True)
        page = await (await door.ask("GET", "/users/second-factor", cookie=cookie, html=True)).text()
        assert "Not at this address" in page
        north = device(door, "north.example.org")
        cookie = cookie_of(await register(door, cookie, north, host="north.example.org"))
        south = await ask(door, ENTER + "/begin", {"ticket": await ticket_of(door)}, "", "south.example.org")
        assert south.status == 409
        ledger.do(sign_in_ways.put_passkeys(PasskeyNames(rp_id="example.org"), SYSTEM, START_US))
        both = device(door, "north.example.org")
        assert (await register(door, cookie, both, host="north.example.org")).status == 201
        ticket = await ticket_of(door)
        asked = await begin(door, ticket, "south.example.org")
        both.origin, both.count = both.origin.replace("north", "south"), 1
        body = {"question": asked["question"], "credential": both.sign(asked["options"]), "ticket": ticket}
        assert (await ask(door, ENTER, body, "", "south.example.org")).status == 200
        assert (await ask(door, ENTER, body, "", "example.net")).status == 401
    names = PasskeyNames(rp_id="example.org")
    assert passkey_name(names, "evilexample.org") == "evilexample.org"
    assert (passkey_name(names, "192.0.2.1"), passkey_name(names, "[::1]"), passkey_name(names, "::1")) == ("", "", "")
    for wrong in ("org", "192.0.2.1", "Example.org", "https://example.org", "example.org:8008"):
        assert PasskeyNames(rp_id=wrong).wrong()


async def test_a_role_that_asks_for_one_is_content(tmp_path: Path) -> None:
    """A passkey is the second factor that a role asks for; without the library one is told what to install."""
    ledger = Ledger()
    async with open_door(ledger, tmp_path, {"bob": "user"}) as door:
        ledger.do(second_factor.require_of_role("user", True, SYSTEM, START_US))
        _, _, cookie = await door.sign_in("bob")
        assert (await door.ask("GET", "/api/v1/jobs", cookie=cookie)).status == 403
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "webauthn", None)
            missing = await ask(door, OWN + "/begin", {"password": PASSWORD}, cookie)
            assert (missing.status, "understudy[sign-in]" in await missing.text()) == (503, True)
        cookie = cookie_of(await register(door, cookie, device(door)))
        assert (await door.ask("GET", "/api/v1/jobs", cookie=cookie)).status == 200


def test_commands_and_pages(tmp_path: Path) -> None:
    """The name is set from both; whose passkeys there are is told, and a lost one is reset."""
    with open_desk(Ledger(), tmp_path) as desk:
        assert "own name" in desk.run("sign-in", "name-passkeys", "--help")[1]
        assert desk.run("sign-in", "name-passkeys", "example.org") == (0, "Passkeys are made for example.org.\n")
        assert "passkeys: for example.org" in desk.run("sign-in", "show")[1]
        assert desk.page("/users/sign-in/passkeys", {"rp_id": "192.0.2.1"})[0] == 422
        assert desk.page("/users/sign-in/passkeys", {"rp_id": ""})[0] == 303
        desk.client.post("/api/v1/users", {"name": "bob", "password": "a long enough one"})
        assert desk.run("user", "passkeys", "bob")[0] == 0
        assert desk.run("user", "passkeys", "eve")[0] != 0
