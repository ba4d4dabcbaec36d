"""UiPath's sign-in and what one of its clients sends, as it was recorded (docs/maintenance.md says which client)."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from server.actions import maintenance, tenants, users
from server.actions.change import for_tenant
from server.core.maintenance import UIPATH, Wish
from server.core.model import SYSTEM
from server.people.passwords import hash_password
from server.storage import rows
from tests.unit.ledger import START_US, Ledger
from tests.unit.web_desk import Desk, open_desk

RECORDED = Path(__file__).parent / "data" / "uipath_orchestrator_1_1_3.jsonl"
PASSWORD = "correct horse battery"
ROLES = {"boss": "administrator", "ann": "operator", "ulf": "user", "audrey": "auditor"}
SIGN_IN = "/api/Account/Authenticate"


@cache
def _hashed() -> str:
    return hash_password(PASSWORD)


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    made.add_agent("north")
    made.do(tenants.create("acme", "", SYSTEM, START_US))
    for name, role in ROLES.items():
        made.do(users.create(name, _hashed(), role, SYSTEM, START_US))
    made.do(for_tenant("acme", users.create("anna", _hashed(), "administrator", SYSTEM, START_US)))
    return made


@pytest.fixture
def desk(ledger: Ledger, tmp_path: Path) -> Iterator[Desk]:
    with open_desk(ledger, tmp_path) as made:
        yield made


def sign_in(desk: Desk, user: str = "boss", tenancy: str = "", password: str = PASSWORD) -> tuple[int, Any]:
    body = {"tenancyName": tenancy, "usernameOrEmailAddress": user, "password": password}
    status, answer, _ = desk.call("POST", SIGN_IN, body=body)
    return status, answer


def test_a_recorded_client_is_answered_as_it_expects(desk: Desk) -> None:
    """UIP-1 to UIP-8: its own bytes, headers as it spells them; the session that it signs in with is its token."""
    asks, token, states = http.client.HTTPConnection("127.0.0.1", desk.port, timeout=30), "", []
    for line in RECORDED.read_text().splitlines():
        sent = json.loads(line)
        headers = {name: value.replace("TOKEN", token) for name, value in sent["headers"].items()}
        asks.request(sent["method"], sent["path"], sent["body"] or None, headers)
        answer = asks.getresponse()
        raw = answer.read()
        assert (sent["path"], answer.status) == (sent["path"], sent["status"])
        assert (answer.status == 204) == (raw == b""), "it takes any text for JSON"
        found = json.loads(raw) if raw else {}
        token = found.get("result", token)
        if sent["path"].startswith("/api/Maintenance/Get"):
            states.append((found["state"], len(found["maintenanceLogs"])))
    asks.close()
    assert states == [("None", 0), ("Draining", 2), ("Suspended", 3), ("None", 4), ("Draining", 2)]


def test_who_signs_in(ledger: Ledger, desk: Desk) -> None:
    """By the name of the tenancy; wrong is 401 and guarded as every sign-in, and what is no token stays refused."""
    for tenancy in ("", "host", "Default"):
        status, answer = sign_in(desk, tenancy=tenancy)
        assert (status, answer["success"], answer["unAuthorizedRequest"]) == (200, True, False)
    assert desk.call("GET", "/api/Maintenance/Get", answer["result"])[0] == 200
    assert sign_in(desk, "anna", "acme")[0] == 200
    assert sign_in(desk, "anna")[0] == sign_in(desk, password="wrong")[0] == 401
    assert desk.call("GET", "/api/Maintenance/Get", "nothing")[0] == 401
    assert ledger.count("sessions") == 4


def test_a_second_factor_is_refused_with_what_to_do(ledger: Ledger, desk: Desk) -> None:
    """A program has no code to give: no session is made, neither for who has one nor for whose role asks for one."""
    rows.insert(ledger.connection, "second_factors", {"user_id": 1, "created_at_us": 1, "confirmed_at_us": 1})
    rows.insert(ledger.connection, "sealed", {"name": "totp/1", "nonce": b"n", "ciphertext": b"x"})
    rows.insert(ledger.connection, "role_rules", {"role": "user", "second_factor": 1})
    for user in ("boss", "ulf"):
        status, problem = sign_in(desk, user)
        assert (status, problem["code"]) == (403, "forbidden")
        assert f"understudy user token create {user}" in problem["detail"]
    assert ledger.count("sessions") == 0


@pytest.mark.parametrize("scope", ["", "tenant:acme"])
def test_a_sign_in_that_expired_is_made_again_in_each_phase(ledger: Ledger, desk: Desk, scope: str) -> None:
    """UIP-3, BEY-5: administrators always, by every way; others but while it is Suspended for them."""
    who = {**dict.fromkeys(ROLES, ""), "anna": "acme"}

    def answers() -> dict[str, set[int]]:
        found = {}
        for user, tenancy in who.items():
            named = f"{tenancy}:{user}" if tenancy else user
            ordinary = desk.call("POST", "/api/v1/login", body={"user": named, "password": PASSWORD})[0]
            found[user] = {ordinary, sign_in(desk, user, tenancy)[0]}
        return found

    for phase in ("draining", "suspended"):
        ledger.do(maintenance.start(Wish(phase=phase, policy=UIPATH), scope, SYSTEM, START_US))
        kept_out = {"anna"} if scope else {"ann", "ulf", "audrey", "anna"}
        wanted = {user: {503 if phase == "suspended" and user in kept_out else 200} for user in who}
        assert answers() == wanted
    ledger.do(maintenance.end(scope, SYSTEM, START_US))
    assert answers() == {user: {200} for user in who}
