"""Which passwords people may choose, that they change their own, and what is kept of one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from server.core import password_rules
from server.core.model import MINUTE_US, SYSTEM
from server.people import sign_in
from server.people.passwords import COMMON, Passwords, check_new_password, common_passwords, hash_password
from tests.unit.ledger import START_US, Ledger
from tests.unit.web_door import PASSWORD, PHC, cookie_of, open_door

LONG = "Ein ganzer Satz, mit Blanks, Ä, 漢 und 🐢: so lang, wie man ihn nur tippen mag, und noch länger."


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is answered without its second."""
    monkeypatch.setattr(sign_in, "FAILURE_PAUSE_S", 0.0)


def wrong(password: str, name: str = "bob") -> str:
    """What is said of it."""
    return password_rules.wrong(password, name, common_passwords())


@pytest.mark.parametrize(
    "good", [PASSWORD, LONG, "        x y z", "qwzmplfj", "12345678901234567x", "kPz9m-Ab3xq-77hGt-mmnp4"]
)
def test_any_letters_will_do(good: str) -> None:
    """Nothing is asked of letters, digits and signs; 64 characters and more are taken."""
    check_new_password(good, "bob")
    assert len(LONG) > 64


@pytest.mark.parametrize("common", ["password", "Password1", "12345678", "iloveyou", "TRUSTNO1", "1qaz2wsx"])
def test_common_passwords_are_refused(common: str) -> None:
    """At least the 3,000 commonest of 8 characters or more, in whatever case."""
    assert "tried first everywhere" in wrong(common)
    assert len(common_passwords()) >= 3000
    assert COMMON.read_text(encoding="ascii").startswith("#")


@pytest.mark.parametrize(
    "guessed", ["Understudy2026!", "bob.builder", "builder-bob-1", "Standby_Scheduler", "admin-admin", "aaaaaaaaaa"]
)
def test_names_of_this_place_are_refused(guessed: str) -> None:
    """The product's words, the user's own name, one letter again and again: those are guessed first."""
    assert wrong(guessed, "bob.builder")
    assert not wrong("bob.builder", "anna")


def test_lengths() -> None:
    """Eight characters at least, and an end that no typing reaches."""
    for bad in ("", "qwzmplf", "ab" * 513):
        assert wrong(bad)
    assert not wrong("qwzm" * 256)


async def test_a_password_is_verified_exactly_as_it_was_given() -> None:
    """Neither cut nor changed in case; an overlong one is wrong however it begins."""
    kept, passwords = hash_password("Ab " * 341 + "x"), Passwords()
    assert await passwords.verify("Ab " * 341 + "x", kept)
    for other in ("ab " * 341 + "x", "Ab " * 341 + "x ", ("Ab " * 341 + "x") + "y" * 10, ("Ab " * 341).strip()):
        assert not await passwords.verify(other, kept)


def test_hashes_are_slow_and_each_has_its_salt() -> None:
    """Argon2id with at least 19 MiB and two rounds, as is advised; two of one password differ."""
    first, second = hash_password(PASSWORD), hash_password(PASSWORD)
    found = re.match(r"\$argon2id\$v=19\$m=(\d+),t=(\d+),p=1\$", first)
    assert found is not None
    assert (int(found[1]) >= 19 * 1024, int(found[2]) >= 2) == (True, True)
    assert first != second


async def test_common_passwords_are_refused_at_every_door(tmp_path: Path) -> None:
    """When a user is added and when a password changes, by API and on the pages."""
    async with open_door(Ledger(), tmp_path, {"root": "administrator"}) as door:
        _, _, cookie = await door.sign_in("root")
        made = {"name": "eve", "password": "password1", "role": "user"}
        assert (await door.ask("POST", "/api/v1/users", made, cookie=cookie)).status == 400
        assert (await door.ask("POST", "/users", made, cookie=cookie, html=True)).status == 422
        asked = {"password": "iloveyou", "old_password": PASSWORD}
        assert (await door.ask("PUT", "/api/v1/users/root", asked, cookie=cookie)).status == 400
        typed = {"old": PASSWORD, "password": "iloveyou"}
        assert (await door.ask("POST", "/users/password", typed, cookie=cookie, html=True)).status == 422


async def test_people_change_their_own_password(tmp_path: Path) -> None:
    """With the old one only; other sessions are over, this one goes on, and blanks at the ends count."""
    async with open_door(Ledger(), tmp_path, {"bob": "user"}) as door:
        _, _, cookie = await door.sign_in("bob")
        _, _, other = await door.sign_in("bob")
        page = await (await door.ask("GET", "/users/password", cookie=cookie, html=True)).text()
        assert page.count('type="password"') == 2
        assert not re.search(r"onpaste|maxlength|autocomplete=\"off\"", page.partition("<h1>")[2])
        for old in ("", "correct"):
            typed = {"old": old, "password": "  new battery  "}
            assert (await door.ask("POST", "/users/password", typed, cookie=cookie, html=True)).status == 422
            door.clock.now_us += 10 * MINUTE_US
            refused = {"password": "  new battery  ", "old_password": old}
            assert (await door.ask("PUT", "/api/v1/users/bob", refused, cookie=cookie)).status == 401
            door.clock.now_us += 10 * MINUTE_US
        typed = {"old": PASSWORD, "password": "  new battery  "}
        done = await door.ask("POST", "/users/password", typed, cookie=cookie, html=True)
        assert (done.status, done.headers["Location"]) == (303, "/users?done=password-changed")
        for own, status in ((cookie_of(done), 200), (cookie, 401), (other, 401)):
            assert (await door.ask("GET", "/api/v1/jobs", cookie=own)).status == status
        assert (await door.sign_in("bob", "new battery"))[0] == 401
        door.clock.now_us += 10 * MINUTE_US
        assert (await door.sign_in("bob", "  new battery  "))[0] == 200


async def test_no_quick_hash_of_a_password_is_kept(tmp_path: Path) -> None:
    """What is kept of a request that set one, to answer its repetition, cannot be tried against a list of passwords."""
    ledger = Ledger()
    async with open_door(ledger, tmp_path, {"root": "administrator"}) as door:
        _, _, cookie = await door.sign_in("root")
        site, kept = door.site, []
        derive = site.derive_secret
        site.derive_secret = lambda *words: kept.append(words[0]) or derive(*words)
        made = {"name": "eve", "password": "new battery"}
        assert (await door.ask("POST", "/api/v1/users", made, cookie=cookie)).status == 201
        changed = await door.ask("PUT", "/api/v1/users/eve", {"password": "other battery"}, cookie=cookie)
        assert changed.status == 200
        begun = await door.ask("POST", "/api/v1/second-factor", {"password": PASSWORD}, cookie=cookie)
        assert begun.status == 201
        assert kept.count("request") == 3
    text = "\n".join(str(row) for row in ledger.connection.iterdump())
    assert "battery" not in text
    assert PHC.split("$")[-1] in text


def test_an_administrator_sets_a_password_and_leaves_the_second_factor(tmp_path: Path) -> None:
    """The way back for a forgotten password does not take the second factor away."""
    from server.actions import second_factor, users
    from server.core.model import Principal
    from server.storage import second_factors

    ledger = Ledger()
    ledger.do(users.create("bob", PHC, "user", SYSTEM, START_US))
    bob = Principal("bob", "user")
    ledger.do(second_factor.begin((b"n" * 12, b"secret"), bob, START_US))
    ledger.do(second_factor.confirm(START_US, 5, ["hash"], bob, START_US))
    ledger.do(users.change_password("bob", PHC + "x", SYSTEM, START_US))
    user = users.find(ledger.connection, "bob")
    known = second_factors.get(ledger.connection, user.id)
    assert known is not None
    assert known.confirmed_at_us == START_US
