"""Roles that the cluster makes itself, and tokens with a scope: nobody ever gets more than somebody had."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from server.actions import roles, sessions, swap, tenants, tokens, users
from server.actions.change import for_tenant
from server.core import access
from server.core.model import DAY_US, HOUR_US, SYSTEM, Principal
from server.errors import Conflict, Forbidden, Invalid
from server.storage import api_tokens, system_messages
from server.trust.tls import secret_hash
from tests.unit.ledger import START_US, Ledger
from tests.unit.web_desk import open_desk
from tests.unit.web_door import open_door

PHC = "$argon2id$v=19$first"
ADMIN = Principal("root", "administrator", "192.0.2.9")


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    made.do(users.create("root", PHC, "administrator", SYSTEM, START_US))
    made.do(roles.create("night", {"runs.start"}, "starts jobs at night", ADMIN, START_US))
    made.do(users.create("bob", PHC, "night", SYSTEM, START_US))
    return made


def who(ledger: Ledger, name: str) -> Principal:
    """The user as one who asks now."""
    return roles.principal(ledger.connection, users.find(ledger.connection, name), "")


def test_every_permission_has_a_sentence() -> None:
    """A permission that nobody can explain is not given to anybody."""
    assert access.SENTENCES.keys() == access.PERMISSIONS.keys()
    assert access.PERMISSIONS.keys() >= access.READS


def test_a_role_may_what_it_names_and_an_edit_holds_at_once(ledger: Ledger) -> None:
    """A session that is open asks with the role as it is at each request."""
    ledger.do(sessions.create("bob", PHC, "one", Principal("bob", "night"), START_US, ""))
    bob = sessions.authenticate(ledger.connection, "one", START_US, "")
    assert bob is not None
    assert access.permissions_of(bob) == {"read", "sessions.own", "runs.start"}
    ledger.do(roles.update("night", {"runs.stop"}, None, ADMIN, START_US))
    bob = sessions.authenticate(ledger.connection, "one", START_US, "")
    assert bob is not None
    assert access.permissions_of(bob) == {"read", "sessions.own", "runs.stop"}


def test_nobody_gives_more_than_they_have(ledger: Ledger) -> None:
    """Who manages users and nothing else makes no administrator: by role, edit, password or token."""
    ledger.do(roles.create("clerk", {"users.manage", "tokens.own"}, "", ADMIN, START_US))
    ledger.do(users.create("ann", PHC, "clerk", ADMIN, START_US))
    ann = who(ledger, "ann")
    for attempt in (
        lambda: roles.create("all", {"swap.run"}, "", ann, START_US),
        lambda: roles.update("clerk", {"swap.run"}, None, ann, START_US),
        lambda: users.create("eve", PHC, "administrator", ann, START_US),
        lambda: users.update_role("ann", "administrator", ann, START_US),
        lambda: users.update_role("root", "clerk", ann, START_US),
        lambda: users.change_password("root", PHC, ann, START_US),
        lambda: users.disable("root", ann, START_US),
        lambda: tokens.create("root", "mine", "hash", None, ann, START_US),
        lambda: roles.update("night", None, "mine now", ann, START_US),
    ):
        with pytest.raises(Forbidden):
            ledger.do(attempt())
    ledger.do(users.create("eve", PHC, "clerk", ann, START_US))


def test_somebody_can_always_manage_users(ledger: Ledger) -> None:
    """The last one cannot lose it: by account, role, or an edit of the role."""
    ledger.do(roles.create("clerk", access.PERMISSIONS.keys(), "", ADMIN, START_US))
    ledger.do(users.create("ann", PHC, "clerk", ADMIN, START_US))
    ledger.do(users.disable("root", ADMIN, START_US))
    ann = who(ledger, "ann")
    for attempt in (
        roles.update("clerk", {"read"}, None, ann, START_US),
        users.update_role("ann", "night", ann, START_US),
        users.disable("ann", ann, START_US),
    ):
        with pytest.raises(Conflict, match="this is the last one"):
            ledger.do(attempt)
    assert access.may(who(ledger, "ann"), "users.manage")


def test_a_role_in_use_stays(ledger: Ledger) -> None:
    """It is deleted once nobody has it; the built-in ones never."""
    with pytest.raises(Conflict, match="bob has the role night"):
        ledger.do(roles.delete("night", ADMIN, START_US))
    ledger.do(users.update_role("bob", "user", ADMIN, START_US))
    ledger.do(roles.delete("night", ADMIN, START_US))
    with pytest.raises(Invalid, match="must be one of"):
        ledger.do(users.update_role("bob", "night", ADMIN, START_US))
    with pytest.raises(Conflict, match="built in"):
        ledger.do(roles.delete("operator", ADMIN, START_US))


def test_a_swap_signs_out_who_may_not_swap(ledger: Ledger) -> None:
    """SKY-13 for roles of one's own: who may swap stays and may come back, the others do not."""
    ledger.do(roles.create("swapper", {"swap.run"}, "", ADMIN, START_US))
    ledger.do(users.create("ann", PHC, "swapper", ADMIN, START_US))
    for name, token in (("ann", "one"), ("bob", "two")):
        ledger.do(sessions.create(name, PHC, token, Principal(name, ""), START_US, ""))
    ledger.do(swap.begin("planned", "a", "b", ["lock"], [], ADMIN, START_US))
    assert ledger.do(sessions.end_ordinary(ADMIN, START_US, "swap")) == 1
    ledger.do(sessions.create("ann", PHC, "three", Principal("ann", ""), START_US, ""))
    with pytest.raises(Conflict, match="only administrators"):
        ledger.do(sessions.create("bob", PHC, "four", Principal("bob", ""), START_US, ""))


def test_a_token_may_what_its_scope_and_its_owner_may(ledger: Ledger) -> None:
    """The scope is a bound, the owner's role at the time of use another."""
    ledger.do(tokens.create("root", "ci", "hash", None, ADMIN, START_US, "runs.start jobs.change"))

    def allowed() -> frozenset[str]:
        found = tokens.authenticate(ledger.connection, "hash", START_US, "")
        assert found is not None
        return access.permissions_of(found.principal)

    assert allowed() == {"read", "runs.start", "jobs.change"}
    ledger.do(users.create("ann", PHC, "administrator", ADMIN, START_US))
    ledger.do(users.update_role("root", "night", ADMIN, START_US))
    assert allowed() == {"read", "runs.start"}
    with pytest.raises(Invalid, match=r"no permission runs\.strat"):
        tokens.create("root", "ci", "other", None, ADMIN, START_US, "runs.strat")


def test_a_scope_makes_no_wider_token(ledger: Ledger) -> None:
    """A token that may make tokens makes none that may more than itself."""
    ledger.do(tokens.create("root", "ci", "hash", None, ADMIN, START_US, "tokens.own runs.start"))
    found = tokens.authenticate(ledger.connection, "hash", START_US, "")
    assert found is not None
    with pytest.raises(Forbidden, match="Name a scope"):
        ledger.do(tokens.create("root", "wider", "h2", None, found.principal, START_US))
    ledger.do(tokens.create("root", "same", "h3", None, found.principal, START_US, "runs.start"))


def test_an_administrator_of_a_tenant_gives_what_a_tenant_may(ledger: Ledger) -> None:
    """What concerns the host is nobody's there: roles, passwords and tokens of its own people are given by its own."""
    ledger.do(tenants.create("acme", "", ADMIN, START_US))
    boss, host = Principal("boss", "administrator", tenant="acme"), Principal("root", "administrator", tenant="acme")
    for name, by in (("boss", host), ("ann", boss)):
        ledger.do(for_tenant("acme", users.create(name, PHC, "administrator", by, START_US)))
    ledger.do(for_tenant("acme", users.update_role("ann", "operator", boss, START_US)))
    ledger.do(for_tenant("acme", users.change_password("ann", PHC, boss, START_US)))
    ledger.do(for_tenant("acme", tokens.create("ann", "ci", "hash", None, boss, START_US)))
    found = tokens.authenticate(ledger.connection, "hash", START_US, "")
    assert found is not None
    assert found.principal.tenant == "acme"
    assert not access.permissions_of(found.principal) & access.HOST_ONLY


def test_the_last_use_is_kept_to_the_hour(ledger: Ledger) -> None:
    """A token that is used all the time writes one row an hour."""
    number = ledger.do(tokens.create("root", "ci", "hash", None, ADMIN, START_US))
    written = [ledger.do(tokens.note_uses({number: START_US + n * HOUR_US // 6})) for n in range(13)]
    assert written == [1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1]


def test_a_token_that_ends_is_told_once(ledger: Ledger) -> None:
    """14 days before, unless it was made for less; not of revoked ones; acknowledged is not said again."""
    for name, days in (("long", 30), ("short", 7), ("revoked", 30)):
        ledger.do(tokens.create("root", name, name, START_US + days * DAY_US, ADMIN, START_US))
    revoked = api_tokens.by_hash(ledger.connection, "revoked")
    assert revoked is not None
    ledger.do(tokens.revoke(revoked.id, ADMIN, START_US))
    assert not tokens.is_warning_due(ledger.connection, START_US + 15 * DAY_US)
    late_us = START_US + 16 * DAY_US + 1
    assert tokens.is_warning_due(ledger.connection, late_us)
    assert ledger.do(tokens.warn_expiring(late_us)) == 1
    assert not tokens.is_warning_due(ledger.connection, late_us)
    said = [message.text for message in system_messages.page(ledger.connection)]
    assert len(said) == 1
    assert "The API token long of root ends on" in said[0]


def test_commands_and_pages_of_roles(ledger: Ledger, tmp_path: Path) -> None:
    """What people type and click: make, give, see, change, delete."""
    with open_desk(ledger, tmp_path) as desk:
        assert desk.run("role", "create", "ops", "--may", "runs.stop", "--description", "stops")[0] == 0
        assert desk.run("user", "role", "bob", "ops") == (0, "The user bob is ops.\n")
        assert "users: bob" in desk.run("role", "show", "ops")[1]
        code, said = desk.run("role", "delete", "ops")
        assert (code, "bob has the role ops" in said) == (1, True)
        assert "PERMISSION" in desk.run("role", "list")[1]
        status, where = desk.page("/users/roles", {"name": "ops", "changes": "1", "may.runs.start": "1"})
        assert (status, where) == (303, "/users/roles?done=role-saved")
        assert "runs.start" in desk.run("role", "show", "ops")[1]
        status, text = desk.page("/users/roles", {"name": "Not good", "may.runs.start": "1"})
        assert (status, "small letters" in text) == (422, True)
        status, text = desk.page("/users/tokens", {"name": "ci", "user": "bob", "scope": "read-only", "days": "30"})
        assert (status, "us_" in text, "shown this once" in text) == (200, True, True)
        assert "read-only" in desk.run("user", "token", "list")[1]
        status, text = desk.page("/users/tokens", {"name": "ci", "user": "bob", "scope": "all", "days": "30"})
        assert (status, "no permission all" in text) == (422, True)


async def test_a_read_only_token_writes_nothing(ledger: Ledger, tmp_path: Path) -> None:
    """Over the API: the answer says what is lacking, and the use is noted by the next sweep."""
    async with open_door(ledger, tmp_path, {}) as door:
        ledger.do(tokens.create("root", "look", secret_hash("us_secret"), None, ADMIN, START_US, "read-only"))
        assert (await door.ask("GET", "/api/v1/jobs", token="us_secret")).status == 200
        refused = await door.ask("POST", "/api/v1/scheduler/stop", {}, token="us_secret")
        assert refused.status == 403
        assert "lacks the permission gates.change" in msgspec.json.decode(await refused.read())["detail"]
        await door.site.door.sweep(door.site.rows, START_US + 5)
        found = api_tokens.page(ledger.connection)
        assert [token.last_used_at_us for token in found] == [START_US]
