"""Signing in by an OpenID provider that really signs: who gets in, every fault that does not, and who is linked."""

from __future__ import annotations

import html
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession

from server.actions import allowed_hosts, linked_accounts, second_factor, sign_in_ways, users
from server.core.egress import AllowedHosts
from server.core.model import MINUTE_US, SYSTEM, Principal
from server.core.oidc import Provider
from server.errors import Forbidden, Invalid, Unauthenticated
from server.people import oidc, sign_in
from server.storage import audit, sealed
from server.storage import users as user_rows
from server.trust.tls import seal
from server.web.oidc_sign_in import COOKIE, GOOD_FOR_US
from server.web.session import COOKIE as SESSION
from tests.unit.ledger import START_US, Ledger
from tests.unit.oidc_provider import CLIENT, SECRET, OidcProvider, running_provider
from tests.unit.web_desk import open_desk
from tests.unit.web_door import Door, cookie_of, open_door


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is answered without its second, and keys may be asked for again at once."""
    monkeypatch.setattr(sign_in, "FAILURE_PAUSE_S", 0.0)
    monkeypatch.setattr(oidc, "KEYS_AGAIN_S", 0.0)


def sealing(name: str, value: str) -> tuple[bytes, bytes]:
    """As the node seals."""
    return seal(bytes(32), name, value.encode())


@asynccontextmanager
async def at_the_door(
    directory: Path, people: dict[str, str], **more: Any
) -> AsyncIterator[tuple[Door, OidcProvider, Ledger]]:
    """A node whose provider is set, with `more` of its settings."""
    ledger = Ledger()
    async with open_door(ledger, directory, people) as door, running_provider(lambda: door.clock.now_us / 1e6) as found:
        provider = Provider(
            **{"issuer": found.issuer, "client_id": CLIENT, "makes_users": True, "new_role": "user", **more}
        )
        ledger.do(sign_in_ways.put_provider(provider, SECRET, sealing, SYSTEM, START_US))
        yield door, found, ledger


async def get(door: Door, path: str, **cookies: str) -> ClientResponse:
    """What a browser does with an address of this node."""
    text = "; ".join(f"{name}={value}" for name, value in cookies.items())
    headers = {"Cookie": text, "Accept": "text/html", "Host": f"localhost:{door.client.server.port}"}
    return await door.client.get(path, headers=headers, allow_redirects=False)


async def press(door: Door, link: str = "", **cookies: str) -> ClientResponse:
    """The button that leads to the provider."""
    text = "; ".join(f"{name}={value}" for name, value in cookies.items())
    headers = {"Cookie": text, "Accept": "text/html", "Host": f"localhost:{door.client.server.port}"}
    headers["Sec-Fetch-Site"] = "same-origin"
    typed = {"next": "/jobs", "link": link}
    return await door.client.post("/login/oidc", data=typed, headers=headers, allow_redirects=False)


async def leave(door: Door, session: str = "", link: str = "") -> tuple[str, str]:
    """(the path that the provider sends the browser back to, the cookie of the way)."""
    cookies = {SESSION: session} if session else {}
    sent = await press(door, link, **cookies)
    assert sent.status == 200, await sent.text()
    place = sent.headers["Refresh"].removeprefix("0; url=")
    assert f'href="{html.escape(place)}"' in await sent.text()
    async with ClientSession() as browser, browser.get(place, allow_redirects=False) as back:
        where = back.headers["Location"]
    assert where.startswith(f"http://localhost:{door.client.server.port}/login/oidc/callback?")
    return where.partition(str(door.client.server.port))[2], sent.cookies[COOKIE].value


async def walk(door: Door) -> ClientResponse:
    """To the provider and back."""
    back, cookie = await leave(door)
    return await get(door, back, **{COOKIE: cookie})


async def test_a_person_comes_in_and_has_an_account(tmp_path: Path) -> None:
    """Made once, with the role, found again by what the provider calls the person; each sign-in an ordinary session."""
    async with at_the_door(tmp_path, {"root": "administrator"}) as (door, provider, ledger):
        page = await (await get(door, "/login")).text()
        assert ("company&#39;s account" in page, 'name="password"' in page) == (True, True)
        back = await walk(door)
        assert (back.status, back.headers["Location"]) == (303, "/jobs")
        assert (await door.ask("GET", "/api/v1/jobs", cookie=cookie_of(back))).status == 200
        provider.claims = {"preferred_username": "root", "email": "root@example.org"}
        assert cookie_of(await walk(door))
        made = user_rows.by_name(ledger.connection, "eve")
        assert made is not None
        assert (made.role, ledger.count("users"), ledger.count("linked_accounts")) == ("user", 2, 1)
        lines = [f"{entry.action} {entry.object} {entry.after}" for entry in audit.page(ledger.connection)]
        assert f'sessions.create eve {{"factors":["provider {provider.issuer}"]}}' in lines
        assert SECRET not in str(lines)
        assert sealed.get(ledger.connection, "oidc_client_secret") is not None
        out = await door.ask("POST", "/logout", {}, cookie=cookie_of(back), html=True)
        assert out.headers["Location"] == "/login?out=1"
        assert "At the provider you may be signed in still" in await (await get(door, "/login?out=1")).text()
        ledger.do(users.disable("eve", SYSTEM, START_US))
        assert (await walk(door)).status == 401


FAULTS = (
    "wrong nonce", "wrong audience", "another azp", "wrong issuer", "expired", "from the future", "old", "no subject",
    "no times", "alg none", "HS256 with the public key", "unknown kid", "another key", "changed",
)  # fmt: skip


async def test_every_fault_is_refused(tmp_path: Path) -> None:
    """What the token says, and how it is signed: no session, no account, a line in the audit history."""
    async with at_the_door(tmp_path, {}) as (door, provider, ledger):
        for fault in FAULTS:
            provider.fault = fault
            back = await walk(door)
            assert (back.status, cookie_of(back)) == (401, ""), fault
            door.clock.now_us += MINUTE_US
            door.site.door.guard = type(door.site.door.guard)()
        assert (ledger.count("sessions"), ledger.count("users")) == (0, 0)
        assert door.site.door.failures.take()["(provider)"].count == len(FAULTS)
        provider.fault = ""
        assert cookie_of(await walk(door))


async def test_a_way_is_good_once_and_for_one_browser(tmp_path: Path) -> None:
    """State and code used again, another browser's, changed, late, or none at all."""
    async with at_the_door(tmp_path, {}) as (door, provider, _):
        back, cookie = await leave(door)
        other, _ = await leave(door)
        for path, kept in ((back, ""), (back, "a.b"), (other, cookie), (back.replace("state=", "state=x"), cookie)):
            refused = await get(door, path, **{COOKIE: kept})
            assert (refused.status, cookie_of(refused)) == (400, ""), path
        assert provider.asked.count("token") == 0
        assert cookie_of(await get(door, back, **{COOKIE: cookie}))
        again = await get(door, back, **{COOKIE: cookie})
        assert (again.status, cookie_of(again)) == (401, "")
        fresh, _ = await leave(door)
        code = fresh.partition("code=")[2].partition("&")[0]
        state = back.partition("state=")[2]
        reused = await get(door, f"/login/oidc/callback?code={code}&state={state}", **{COOKIE: cookie})
        assert (reused.status, cookie_of(reused)) == (401, "")
        back, cookie = await leave(door)
        door.clock.now_us += GOOD_FOR_US + 1
        assert (await get(door, back, **{COOKIE: cookie})).status == 400


async def test_keys_are_rotated(tmp_path: Path) -> None:
    """An unknown key makes the keys be asked for again; else they are kept."""
    async with at_the_door(tmp_path, {}) as (door, provider, _):
        assert cookie_of(await walk(door))
        assert cookie_of(await walk(door))
        assert provider.asked.count("keys") == 1
        provider.rotate("k2")
        assert cookie_of(await walk(door))
        assert (provider.asked.count("keys"), provider.asked.count("document")) == (2, 1)


@pytest.mark.parametrize("fault", ["down", "redirect", "endless", "plain http", "issuer"])
async def test_nobody_is_locked_out_when_it_does_not_answer(tmp_path: Path, fault: str) -> None:
    """503 with the way that works, which works."""
    async with at_the_door(tmp_path, {"bob": "user"}) as (door, provider, _):
        provider.fault = fault
        sent = await press(door)
        assert (sent.status, 'name="password"' in await sent.text()) == (503, True)
        assert (await door.sign_in("bob"))[0] == 200


async def test_nobody_is_sent_to_a_provider_that_has_gone_down(tmp_path: Path) -> None:
    """That it answered a while ago is not enough to send a browser there; a sign-in that has begun goes on."""
    async with at_the_door(tmp_path, {}) as (door, provider, _):
        back, cookie = await leave(door)
        provider.fault = "down"
        assert (await press(door)).status == 200
        door.clock.now_us += int(oidc.SURE_S * 1_000_000) + 1
        assert (await press(door)).status == 503
        assert cookie_of(await get(door, back, **{COOKIE: cookie}))


async def test_a_provider_that_is_not_allowed_is_not_asked(tmp_path: Path) -> None:
    """Neither it nor the places that its document names, once an administrator bounds the hosts; a password works."""
    async with at_the_door(tmp_path, {"bob": "user"}) as (door, provider, ledger):
        back, cookie = await leave(door)
        before = list(provider.asked)
        ledger.do(allowed_hosts.put(AllowedHosts(hosts=("192.0.2.1",)), SYSTEM, START_US))
        door.site.oidc = oidc.Asker()
        sent = await press(door)
        assert (sent.status, "is not among the allowed hosts" in await sent.text()) == (503, True)
        assert (await get(door, back, **{COOKIE: cookie})).status == 503
        assert provider.asked == before
        assert (await door.sign_in("bob"))[0] == 200
        ledger.do(allowed_hosts.put(AllowedHosts(hosts=("127.0.0.1",)), SYSTEM, START_US))
        assert cookie_of(await walk(door))


async def test_nobody_is_sent_there_without_pressing_a_button(tmp_path: Path) -> None:
    """A link, also on another site, does nothing; a form of another site neither; the page says where one goes."""
    async with at_the_door(tmp_path, {"bob": "user"}) as (door, provider, _):
        assert (await get(door, "/login/oidc?next=/jobs")).status == 405
        headers = {"Sec-Fetch-Site": "cross-site"}
        assert (await door.client.post("/login/oidc", data={"next": "/"}, headers=headers)).status == 403
        assert provider.asked == []
        shown = await (await press(door)).text()
        assert f"You sign in at <strong>{provider.issuer.removeprefix('http://')}</strong>" in shown


STRONG = {"max_age_minutes": 10, "acr_values": ("gold", "silver")}


async def test_when_and_how_strongly_the_provider_asked(tmp_path: Path) -> None:
    """It is told both, and what its token says of them is judged: missing, old, of the future, weak, and right."""
    async with at_the_door(tmp_path, {}, **STRONG) as (door, provider, _):
        now = door.clock.now_us // 1_000_000
        for claims in (
            {"acr": "gold"},
            {"acr": "gold", "auth_time": now - 661},
            {"acr": "gold", "auth_time": now + 61},
            {"acr": "gold", "auth_time": "now"},
            {"auth_time": now},
            {"acr": "bronze", "auth_time": now},
            {"acr": ["gold"], "auth_time": now},
        ):
            provider.claims = claims
            back = await walk(door)
            assert (back.status, cookie_of(back)) == (401, ""), claims
            door.site.door.guard = type(door.site.door.guard)()
        provider.claims = {"acr": "silver", "auth_time": now - 659}
        assert cookie_of(await walk(door))
        assert (provider.begun["max_age"], provider.begun["acr_values"]) == ("600", "gold silver")
    wrong = Provider(issuer="https://x.example", client_id="x", max_age_minutes=-1, acr_values=("two words",)).wrong()
    assert set(wrong) == {"max_age_minutes", "acr_values"}


async def test_accounts_that_are_there_are_linked_by_their_owners(tmp_path: Path) -> None:
    """Nobody becomes somebody by a name: whoever is signed in links, and a second factor, roles and locks hold."""
    async with at_the_door(tmp_path, {"eve": "user", "ann": "user"}, makes_users=False) as (door, _, ledger):
        taken = await walk(door)
        assert (taken.status, "no account here is linked" in await taken.text()) == (401, True)
        _, _, eve = await door.sign_in("eve")
        _, _, ann = await door.sign_in("ann")
        back, cookie = await leave(door, eve, "1")
        assert (await get(door, back, **{COOKIE: cookie, SESSION: ann})).status == 401
        back, cookie = await leave(door, eve, "1")
        linked = await get(door, back, **{COOKIE: cookie, SESSION: eve})
        assert (linked.status, cookie_of(linked), ledger.count("linked_accounts")) == (303, "", 1)
        back, cookie = await leave(door, ann, "1")
        assert (await get(door, back, **{COOKIE: cookie, SESSION: ann})).status == 409
        assert cookie_of(await walk(door))
        by = Principal("eve", "user")
        ledger.do(second_factor.begin((b"n" * 12, b"secret"), by, START_US))
        ledger.do(second_factor.confirm(START_US, 5, ["hash"], by, START_US))
        asked = await walk(door)
        assert (asked.status, cookie_of(asked), 'name="ticket"' in await asked.text()) == (200, "", True)
        ledger.do(users.lock("eve", START_US + MINUTE_US, 10, "", START_US))
        assert (await walk(door)).status == 429


async def test_the_provider_says_roles(tmp_path: Path) -> None:
    """Of accounts that were made for it, at each sign-in; nobody without one comes in, no other account is changed."""
    roles = {"role_claim": "groups", "roles": {"ops": "operator", "all": "auditor"}, "new_role": ""}
    async with at_the_door(tmp_path, {"root": "administrator"}, **roles) as (door, provider, ledger):
        assert (await walk(door)).status == 401
        for groups, role in ((["all"], "auditor"), (["all", "ops"], "operator"), ("all", "auditor")):
            provider.claims = {"groups": groups}
            assert cookie_of(await walk(door))
            found = user_rows.by_name(ledger.connection, "eve")
            assert found is not None
            assert found.role == role
        provider.claims = {"groups": ["none"]}
        assert (await walk(door)).status == 401
        provider.subject, provider.claims = "s-2", {"groups": ["all"], "preferred_username": "root"}
        assert (await walk(door)).status == 401
        provider.claims |= {"preferred_username": "acme:bob"}
        assert (await walk(door)).status == 401


def test_the_same_number_at_another_issuer_is_somebody_else() -> None:
    """A provider that is set later names nobody whom the former one named, whatever numbers and names it gives."""
    ledger = Ledger()

    def enter(issuer: str, state: str) -> str:
        state_end = (state, START_US + MINUTE_US)
        person = linked_accounts.Person(issuer, "s-1", state_end, name="eve", role="user", makes=True)
        return ledger.do(linked_accounts.enter(person, "192.0.2.1", START_US))

    assert (enter("https://a.example", "1"), enter("https://a.example", "2")) == ("eve", "eve")
    with pytest.raises(Unauthenticated):
        enter("https://b.example", "3")
    assert ledger.count("linked_accounts") == 1


def test_what_may_be_set(tmp_path: Path) -> None:
    """TLS, but on this machine; a secret for a new client; only by who may do everything. Command and page."""
    for issuer in ("http://login.example", "ftp://x", "https://u@x.example", "https://x.example?a", "x"):
        assert "issuer" in Provider(issuer=issuer, client_id="c").wrong()
    good = Provider(issuer="https://login.example", client_id="c")
    assert good.wrong() == {}
    assert Provider(issuer="https://x.example", client_id="c", makes_users=True).wrong()
    ledger = Ledger()
    with pytest.raises(Forbidden):
        sign_in_ways.put_provider(good, "x", sealing, Principal("op", "operator"), START_US)
    with pytest.raises(Invalid):
        ledger.do(sign_in_ways.put_provider(good, None, sealing, SYSTEM, START_US))
    (tmp_path / "secret").write_text("a secret\n")
    with open_desk(ledger, tmp_path) as desk:
        arguments = ("--client-id", "u", "--secret-file", str(tmp_path / "secret"), "--role-claim", "groups")
        code, text = desk.run("sign-in", "provider", "https://login.example", *arguments, "--map", "ops=operator")
        assert (code, text) == (0, "OpenID provider: https://login.example as u; accounts are linked by their owners\n")
        assert "ops = operator" in desk.page("/users/sign-in")[1]
        typed = {"issuer": "https://login.example", "client_id": "other", "scopes": "openid", "user_claim": "sub"}
        status, page = desk.page("/users/sign-in/provider", typed | {"button": "x"})
        assert (status, 'id="error-client_secret"' in page) == (422, True)
        assert desk.page("/users/sign-in/provider", typed | {"button": "x", "client_id": "u"})[0] == 303
        assert "a secret" not in desk.page("/users/sign-in")[1] + str(audit.page(ledger.connection))
        desk.client.post("/api/v1/users", {"name": "bob", "password": "a long enough one"})
        assert desk.run("sign-in", "unlink", "bob")[1].startswith("0 accounts")
        assert desk.run("sign-in", "no-provider") == (0, "No provider says who signs in.\n")
