"""A node is enrolled by somebody with a second factor: with a code, once, and not without one."""

from __future__ import annotations

import pytest

from server.actions import second_factor as actions
from server.core.model import Principal
from server.people import second_factor as codes
from server.people import sign_in
from server.trust.tls import seal
from tests.hostile.certificates import Bearer
from tests.hostile.test_certificates import Port, door
from tests.unit.web_door import PASSWORD

__all__ = ["door"]
SECRET = b"12345678901234567890"
STEP_US = codes.STEP_S * 1_000_000
NEW = {"kind": "node", "user": "admin", "password": PASSWORD, "address": "127.0.0.1", "web_port": 1, "cluster_port": 2}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is answered without its second."""
    monkeypatch.setattr(sign_in, "FAILURE_PAUSE_S", 0.0)


def now(port: Port) -> str:
    """The code that a program shows."""
    totp = codes.TOTP(SECRET, codes.DIGITS, codes.SHA1(), codes.STEP_S)
    return totp.generate(port.clock.now_us // 1_000_000).decode()


def confirm(port: Port) -> None:
    """The administrator has a second factor."""
    admin, at_us = Principal("admin", "administrator"), port.clock.now_us
    user_id = port.ledger.connection.execute("SELECT id FROM users WHERE name = 'admin'").fetchone()[0]
    port.ledger.do(actions.begin(seal(bytes(32), f"totp/{user_id}", SECRET), admin, at_us))
    port.ledger.do(actions.confirm(at_us, 1, ["hash"], admin, at_us))


async def test_a_node_is_enrolled_with_a_code(door: Port) -> None:  # a fixture of that module
    """Without one it is asked for; the check before does not use it up, the enrolment does; then it is nothing."""
    confirm(door)
    nobody, before = Bearer(None, door.trusts), door.ledger.count("nodes")
    status, problem = await door.enrol(nobody, id="1" * 32, name="new", **NEW)
    assert (status, problem["code"]) == (401, "second_factor_needed")
    status, problem = await door.enrol(nobody, id="1" * 32, name="new", code="000000", **NEW)
    assert (status, problem["code"]) == (401, "unauthenticated")
    assert door.ledger.count("nodes") == before
    code = now(door)
    assert (await door.enrol(nobody, id="1" * 32, name="new", code=code, check=True, **NEW))[0] == 200
    status, answer = await door.enrol(nobody, id="1" * 32, name="new", code=code, **NEW)
    assert (status, len(answer["seal_key"])) == (200, 64)
    status, problem = await door.enrol(nobody, id="2" * 32, name="again", code=code, **NEW)
    assert (status, problem["code"]) == (401, "unauthenticated")
    assert door.ledger.count("nodes") == before + 1
    door.clock.now_us += STEP_US
    assert (await door.enrol(nobody, id="2" * 32, name="again", code=now(door), **NEW))[0] == 200


async def test_who_should_have_one_sets_it_up_first(door: Port) -> None:  # a fixture of that module
    """An administrator whose role asks for a second factor adds no node without it."""
    door.ledger.do(actions.require_of_role("administrator", True, Principal("local", "administrator"), 1))
    status, problem = await door.enrol(Bearer(None, door.trusts), id="1" * 32, name="new", **NEW)
    assert (status, problem["code"], "Set it up first" in problem["detail"]) == (403, "forbidden", True)
