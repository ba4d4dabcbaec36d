"""Exchanging the authority: who is waited for when, what is trusted and shown, and who may come back by its key."""

from __future__ import annotations

import ssl
from pathlib import Path

import msgspec
import pytest
from cryptography import x509

from server.actions import authorities as actions
from server.core import authorities as core
from server.core.model import SYSTEM, Principal
from server.errors import Conflict, Forbidden, NotFound
from server.storage import authorities as rows
from server.trust import tls
from server.trust.certificates import authority_row
from tests.unit.ledger import Ledger
from tests.unit.test_tls import AGENT, NODE, NOW, Member, shake_hands

FIRST = tls.Authority.create("c" * 32, NOW)
SECOND = tls.Authority.create("c" * 32, NOW)
CROSS = FIRST.cross_sign(SECOND.certificate, NOW)
OLD = authority_row(FIRST.certificate, core.CURRENT, "system", 1)
NEW = authority_row(SECOND.certificate, core.NEXT, "admin", 2, CROSS)
BOTH = f"{core.short(OLD.fingerprint)},{core.short(NEW.fingerprint)}"
KEY = (b"nonce", b"sealed")


def shown(kind: str, identifier: str, issuer: str, trusts: str) -> core.Shown:
    """What a member shows."""
    return core.Shown(
        kind=kind, id=identifier, key_hash="k", issuer=issuer, valid_until_us=9, trusts=trusts, shown_at_us=3
    )


@pytest.fixture
def ledger() -> Ledger:
    """A cluster of one agent whose first authority is noted."""
    made = Ledger()
    made.do(actions.found(OLD))
    made.add_agent("alpha")
    return made


def agent_id(ledger: Ledger) -> str:
    return str(ledger.connection.execute("SELECT id FROM agents").fetchone()[0])


def states(ledger: Ledger) -> list[str]:
    return [row.state for row in rows.every(ledger.connection)]


def test_each_part_waits_until_everybody_has_shown_that_the_one_before_is_done(ledger: Ledger) -> None:
    """Introduced when all trust both; renewed when all bear the new one's; then the former one is retired."""
    alpha = agent_id(ledger)
    ledger.do(actions.begin(NEW, KEY, SYSTEM, 5, "yearly"))
    with pytest.raises(Conflict, match="alpha has not connected"):
        ledger.do(actions.advance(SYSTEM, 6))
    ledger.do(actions.note([shown("agent", alpha, OLD.key_id, core.short(OLD.fingerprint))]))
    with pytest.raises(Conflict, match="alpha does not trust the next authority yet"):
        ledger.do(actions.advance(SYSTEM, 6))
    ledger.do(actions.note([shown("agent", alpha, OLD.key_id, BOTH)]))
    assert ledger.do(actions.advance(SYSTEM, 7)) == core.RENEWING
    assert states(ledger) == [core.FORMER, core.CURRENT]
    with pytest.raises(Conflict, match="still has a certificate of the former authority"):
        ledger.do(actions.advance(SYSTEM, 8))
    with pytest.raises(Conflict, match="signs already"):
        ledger.do(actions.cancel(SYSTEM, 8, ""))
    ledger.do(actions.note([shown("agent", alpha, NEW.key_id, BOTH)]))
    assert ledger.do(actions.advance(SYSTEM, 9)) == ""
    assert states(ledger) == [core.RETIRED, core.CURRENT]
    with pytest.raises(NotFound):
        ledger.do(actions.advance(SYSTEM, 10))


def test_an_agent_of_a_former_release_is_named_as_such(ledger: Ledger) -> None:
    """It says nothing of what it trusts: it cannot follow, and people are told to upgrade it."""
    ledger.do(actions.note([shown("agent", agent_id(ledger), OLD.key_id, "")]))
    ledger.do(actions.begin(NEW, KEY, SYSTEM, 5, ""))
    with pytest.raises(Conflict, match="upgrade it"):
        ledger.do(actions.advance(SYSTEM, 6))


def test_silent_agents_are_left_behind_only_when_somebody_says_so(ledger: Ledger) -> None:
    """The audit has their names."""
    ledger.do(actions.begin(NEW, KEY, SYSTEM, 5, ""))
    assert ledger.do(actions.advance(SYSTEM, 6, leave_behind=True, reason="gone")) == core.RENEWING
    noted = ledger.connection.execute("SELECT after FROM audit ORDER BY id DESC LIMIT 1").fetchone()[0]
    assert noted == "left behind: alpha"


def test_one_exchange_at_a_time_and_an_introduction_can_be_given_up(ledger: Ledger) -> None:
    """The forgotten authority leaves no key."""
    ledger.do(actions.begin(NEW, KEY, SYSTEM, 5, ""))
    with pytest.raises(Conflict, match="already"):
        ledger.do(actions.begin(NEW, KEY, SYSTEM, 6, ""))
    ledger.do(actions.cancel(SYSTEM, 7, "not now"))
    assert states(ledger) == [core.CURRENT]
    assert ledger.connection.execute("SELECT count(*) FROM sealed").fetchone()[0] == 0


def test_only_administrators_of_the_host_exchange_it() -> None:
    """An operator may not, nor may the administrator of a tenant."""
    for by in (Principal("olga", "operator"), Principal("ada", "administrator", tenant="acme")):
        with pytest.raises(Forbidden):
            actions.begin(NEW, KEY, by, 5, "")


def test_who_trusts_only_the_former_authority_accepts_the_new_one_by_its_signature(tmp_path: Path) -> None:
    """A node shows the cross certificate along: a client with the former ca.crt goes on; without it, it refuses."""
    node = Member(tmp_path, SECOND, NODE)
    leaf = node.certificate.read_bytes()
    client = tls.client_context(FIRST.certificate_pem().decode())
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(tls.web_context(node.certificate, node.key), client)
    node.certificate.write_bytes(leaf + CROSS.encode())
    shake_hands(tls.web_context(node.certificate, node.key), client)


def test_a_retired_authority_signs_for_nobody(tmp_path: Path) -> None:
    """A node that trusts the new one alone refuses an agent's certificate of the former one."""
    (tmp_path / "node").mkdir()
    node, agent = Member(tmp_path / "node", SECOND, NODE), Member(tmp_path, FIRST, AGENT)
    asking = tls.client_context(SECOND.certificate_pem().decode(), agent.certificate, agent.key)
    with pytest.raises(ssl.SSLError):
        shake_hands(tls.cluster_context(node.certificate, node.key, node.authority), asking)


def test_what_is_shown_along_is_what_the_former_ones_signed() -> None:
    """Not of the next authority, which nobody shows yet; the newest first, and no more than a few."""
    assert core.crosses([OLD, NEW]) == ""
    signing = msgspec.structs.replace(NEW, state=core.CURRENT)
    assert core.crosses([OLD, signing]) == CROSS
    many = [msgspec.structs.replace(signing, created_at_us=n, cross_certificate=f"{n}\n") for n in range(9)]
    assert core.crosses(many) == "8\n7\n6\n5\n"


def test_a_leaf_says_whose_key_it_is_and_who_signed_it() -> None:
    """The same hash from the certificate and from a request by the same key."""
    key = tls.new_key()
    leaf = x509.load_pem_x509_certificate(SECOND.issue(tls.certificate_request(key), AGENT, (), NOW))
    facts = tls.read_leaf(leaf)
    assert facts.key_hash == tls.hash_of_request(tls.certificate_request(key))
    assert facts.issuer == tls.key_id(SECOND.certificate)
    assert tls.hash_of_request(tls.certificate_request(tls.new_key())) != facts.key_hash
