"""Guessing passwords over the network: delays, locks, their way back, and storms that cost nobody else anything."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from server.actions import settings, tokens, users
from server.core.model import MINUTE_US, SYSTEM
from server.core.sign_in_guard import (
    KEPT_FREE,
    NAMES_MAX,
    NO_ACCOUNT,
    OTHERS,
    RECORDS_MAX,
    UNDER_WAY_MAX,
    Guard,
    Limits,
    Tally,
    delay_s,
)
from server.errors import Unavailable
from server.people import sign_in
from server.people.passwords import WAITING_MAX, Passwords
from server.storage import audit, system_messages
from server.storage import users as user_rows
from server.trust.tls import secret_hash
from tests.unit.ledger import START_US, Ledger
from tests.unit.web_desk import open_desk
from tests.unit.web_door import PASSWORD, PHC, Door, open_door

LIMITS = Limits(10, 900.0)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused password is answered without its second: what is counted is looked at, not how long it took."""
    monkeypatch.setattr(sign_in, "FAILURE_PAUSE_S", 0.0)


def test_delays_double_and_end_in_a_lock() -> None:
    """Two mistakes are free; then 1, 2, 4 … seconds up to a minute; the tenth locks, and is forgotten at success."""
    guard, now_s, waits = Guard(), 0.0, []
    for attempt in range(10):
        locked = guard.failed("bob", f"192.0.2.{attempt}", now_s, LIMITS)
        wait_s = guard.wait_s("bob", "198.51.100.1", now_s)
        assert locked == (attempt == 9)
        waits.append(wait_s)
        now_s += wait_s
    assert waits == [0, 0, 1, 2, 4, 8, 16, 32, 60, 900]
    assert guard.wait_s("ann", "198.51.100.1", now_s) == 0
    guard.failed("bob", "192.0.2.1", now_s, LIMITS)
    guard.forget("bob")
    assert guard.wait_s("bob", "198.51.100.1", now_s) == 0


def test_a_storm_leaves_room_for_who_has_not_failed() -> None:
    """Addresses that have failed fill all but some places; the rest is for others, up to the bound of all."""
    guard = Guard()
    storm = [f"192.0.2.{number}" for number in range(UNDER_WAY_MAX)]
    for address in storm:
        guard.failed("nobody", address, 0.0, LIMITS)
    entered = [guard.begin(f"u{number}", address) for number, address in enumerate(storm)]
    assert sum(entered) == UNDER_WAY_MAX - KEPT_FREE
    assert [guard.begin(f"a{n}", f"198.51.100.{n}") for n in range(KEPT_FREE + 1)] == [True] * KEPT_FREE + [False]


def test_one_address_that_tries_many_accounts_waits() -> None:
    """Spraying a password over accounts is slowed by address; a /64 of IPv6 and a mapped IPv4 are one address."""
    guard = Guard()
    for number in range(20):
        guard.failed(f"user{number}", f"2001:db8::{number:x}", 0.0, LIMITS)
    assert guard.wait_s("fresh", "2001:db8::ffff", 0.0) == delay_s(20, "address") > 0
    assert guard.wait_s("fresh", "2001:db8:0:1::1", 0.0) == 0
    for number in range(20):
        guard.failed(f"user{number}", f"::ffff:192.0.2.{7}", 0.0, LIMITS)
    assert guard.wait_s("fresh", "192.0.2.7", 0.0) > 0


def test_memory_is_bounded() -> None:
    """However many names and addresses are tried, so many are remembered."""
    guard = Guard()
    for number in range(RECORDS_MAX + 500):
        guard.failed(f"user{number}", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0.0, LIMITS)
    assert guard.sizes() == (RECORDS_MAX, RECORDS_MAX)


def test_attempts_under_way_are_bounded() -> None:
    """Two of one account, eight of one address, 32 in all; what ends makes room."""
    guard = Guard()
    assert [guard.begin("bob", f"192.0.2.{n}") for n in range(3)] == [True, True, False]
    assert [guard.begin(f"u{n}", "198.51.100.1") for n in range(9)] == [True] * 8 + [False]
    for number in range(100):
        guard.begin(f"v{number}", f"203.0.113.{number}")
    assert not guard.begin("last", "192.0.2.200")
    guard.end("bob", "192.0.2.0")
    assert guard.begin("last", "192.0.2.200")
    assert UNDER_WAY_MAX == 32


def test_a_storm_is_a_few_lines_of_audit() -> None:
    """Failures are summed up; names that there are not are not kept; beyond some accounts they are one line."""
    tally = Tally()
    for number in range(10_000):
        tally.add(None, "192.0.2.1", number)
        tally.add(f"user{number}", f"192.0.2.{number % 200}", number)
    found = tally.take()
    assert len(found) == NAMES_MAX + 1
    assert found[NO_ACCOUNT].count == 10_000
    assert found[OTHERS].count == 10_000 - (NAMES_MAX - 1)
    assert len(found[OTHERS].addresses) == 3
    assert tally.take() == {}


async def test_more_than_can_wait_is_refused_at_once() -> None:
    """Hashing has two threads and a queue with an end; those who are in it are answered."""
    passwords = Passwords()
    asked = [asyncio.create_task(passwords.verify("wrong", PHC, bounded=True)) for _ in range(WAITING_MAX + 20)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(one, Unavailable) for one in found] == [False] * WAITING_MAX + [True] * 20


async def fail(door: Door, times: int) -> list[int]:
    """Wrong passwords for bob, each as soon as it is allowed; the statuses."""
    statuses = []
    for _ in range(times):
        status, answer, _ = await door.sign_in("bob", "wrong")
        statuses.append(status)
        assert answer["code"] in ("unauthenticated", "too_many_attempts")
        door.clock.now_us += MINUTE_US
    return statuses


@pytest.mark.usefixtures("at_once")
async def test_an_account_is_locked_and_comes_back(tmp_path: Path) -> None:
    """The right password is refused while the lock holds, on a node that forgot all too; others sign in meanwhile."""
    ledger = Ledger()
    async with open_door(ledger, tmp_path, {"root": "administrator", "bob": "user"}) as door:
        ledger.do(settings.put("sign_in_failures_max", "5", SYSTEM, START_US))
        assert await fail(door, 6) == [401] * 5 + [429]
        refused = await door.ask("POST", "/api/v1/login", {"user": "bob", "password": PASSWORD})
        assert refused.status == 429
        assert 600 < int(refused.headers["Retry-After"]) <= 900
        assert "understudy user unlock" in msgspec.json.decode(await refused.read())["detail"]
        door.site.door.guard.forget("bob")  # another node took over: only the row knows
        assert (await door.sign_in("bob"))[0] == 429
        assert (await door.sign_in("root"))[0] == 200
        door.clock.now_us += 15 * MINUTE_US
        assert (await door.sign_in("bob"))[0] == 200
        said = [message.text for message in system_messages.page(ledger.connection)]
        assert said == ["The account bob is locked for a while: 5 sign-ins failed. understudy user unlock bob"]
        await door.site.door.sweep(door.site.rows, START_US)
        written = [one for one in audit.page(ledger.connection) if one.action == "sessions.failed"]
        assert [(one.object, msgspec.json.decode(one.after)["failures"]) for one in written] == [("bob", 5)]


@pytest.mark.usefixtures("at_once")
async def test_names_that_there_are_not_are_treated_the_same(tmp_path: Path) -> None:
    """Nobody learns from the answers which accounts there are."""
    async with open_door(Ledger(), tmp_path, {"bob": "user"}) as door:
        answers: dict[str, list[tuple[int, str]]] = {"bob": [], "nobody": []}
        for name, found in answers.items():
            for _ in range(6):
                status, answer, _ = await door.sign_in(name, "wrong")
                found.append((status, answer["detail"]))
                door.clock.now_us += 1_000_000
            door.clock.now_us += 60 * MINUTE_US
        assert answers["bob"] == answers["nobody"]


def test_the_local_socket_is_never_locked_out(tmp_path: Path) -> None:
    """Whoever may open the socket unlocks an account with one command, and signs in there however often it failed."""
    ledger = Ledger()
    ledger.do(users.create("bob", PHC, "administrator", SYSTEM, START_US))
    ledger.do(users.lock("bob", START_US + 15 * MINUTE_US, 10, "192.0.2.1", START_US))
    with open_desk(ledger, tmp_path) as desk:
        signed_in = desk.client.post("/api/v1/login", {"user": "bob", "password": PASSWORD})
        assert signed_in["user"] == "bob"
        assert "Locked until" in desk.page("/users")[1]
        assert desk.run("user", "unlock", "bob") == (0, "The account bob may sign in again.\n")
    bob = user_rows.by_name(ledger.connection, "bob")
    assert bob is not None
    assert bob.locked_until_us is None


async def test_a_storm_of_sign_ins_leaves_room_for_others(tmp_path: Path) -> None:
    """200 at once: a bounded number is looked at, the rest is refused at once; a token's requests go on meanwhile."""
    ledger = Ledger()
    async with open_door(ledger, tmp_path, {"bob": "user"}) as door:
        ledger.do(tokens.create("bob", "ci", secret_hash("us_secret"), None, SYSTEM, START_US))
        storm = [asyncio.create_task(door.sign_in(f"u{n}", "wrong")) for n in range(200)]
        await asyncio.sleep(0)
        assert (await door.ask("GET", "/api/v1/jobs", token="us_secret")).status == 200
        statuses = [status for status, _, _ in await asyncio.gather(*storm)]
        assert set(statuses) == {401, 429}
        assert statuses.count(401) <= 16


async def test_a_sign_in_is_small_and_its_cookie_strict(tmp_path: Path) -> None:
    """A big or endless body is refused before it is read; the cookie is of this host, over TLS, out of reach."""

    async def endless() -> object:
        yield b"x"

    async with open_door(Ledger(), tmp_path, {"bob": "user"}) as door:
        assert (await door.ask("POST", "/api/v1/login", {"user": "bob", "password": "x" * 20_000})).status == 413
        assert (await door.client.post("/login", data=endless())).status == 411
        first, second = [await door.ask("POST", "/api/v1/login", {"user": "bob", "password": PASSWORD}) for _ in "12"]
        flags = first.headers["Set-Cookie"].partition(";")[2].replace(" ", "").split(";")
        assert first.headers["Set-Cookie"].startswith("__Host-")
        assert {"HttpOnly", "Path=/", "SameSite=Lax", "Secure"} == set(flags)
        assert first.headers["Set-Cookie"].split(";")[0] != second.headers["Set-Cookie"].split(";")[0]
        _, _, cookie = await door.sign_in("bob")
        left = await door.ask("POST", "/api/v1/logout", {}, cookie=cookie)
        assert left.headers["Clear-Site-Data"] == '"cache", "storage"'
        assert (await door.ask("GET", "/api/v1/jobs", cookie=cookie)).status == 401


async def test_a_session_that_the_browser_brought_is_never_taken_over(tmp_path: Path) -> None:
    """Session fixation: whoever signs in gets a new session, whatever cookie came along."""
    async with open_door(Ledger(), tmp_path, {"bob": "user"}) as door:
        planted = "planted-by-somebody-else"
        answer = await door.ask("POST", "/login", {"name": "bob", "password": PASSWORD}, cookie=planted, html=True)
        assert answer.status == 303
        assert planted not in answer.headers["Set-Cookie"]
        assert (await door.ask("GET", "/api/v1/jobs", cookie=planted)).status == 401
