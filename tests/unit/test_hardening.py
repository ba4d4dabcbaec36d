"""Small controls of the web port, each with what happens to who tries the opposite (docs/asvs.md)."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from aiohttp.test_utils import make_mocked_request
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from server.actions import settings, tokens
from server.core.access import PERMISSIONS
from server.core.model import HOUR_US, MINUTE_US, SYSTEM
from server.core.notifications import Delivery, Smtp
from server.office import couriers
from server.people import sign_in
from server.people.second_factor import recovery_codes
from server.ports.listeners import bind_local
from server.site import SITE
from server.storage import audit
from server.storage import sessions as session_rows
from server.trust import identity, tls
from server.trust.founding import new_password
from server.trust.signed_text import opened, sign
from server.trust.tls import secret_hash
from server.web.routes import BODY_BYTES_MAX, ENDPOINTS
from server.web.session import new_token, remote_address
from tests.unit.ledger import START_US, HandClock, Ledger
from tests.unit.web_door import PASSWORD, new_site, open_door

INJECTED = ("x' OR '1'='1", 'x" OR "1"="1', "x'; DROP TABLE users; --", "%", "_")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is answered without its second."""
    monkeypatch.setattr(sign_in, "FAILURE_PAUSE_S", 0.0)


def _two_jobs(ledger: Ledger) -> None:
    ledger.add_agent()
    for name in ("backup", "report"):
        ledger.add_job(name)


async def test_statements_take_no_part_from_outside(tmp_path: Path) -> None:
    """Names, filters and keys that are SQL find nothing, sign nobody in, and change nothing."""
    ledger = Ledger()
    _two_jobs(ledger)
    async with open_door(ledger, tmp_path, {"root": "administrator"}) as door:
        _, _, cookie = await door.sign_in("root")
        for text in INJECTED:
            assert (await door.sign_in(text, text))[0] == 401, text
            for path in ("/api/v1/jobs?match=", "/api/v1/audit?match="):
                answer = await door.ask("GET", path + text.replace("%", "%25").replace("#", "%23"), cookie=cookie)
                assert (answer.status, await answer.json()) == (200, []), f"{path}{text}"
            refused = await door.ask("GET", "/api/v1/jobs/" + text.replace("%", "%25"), cookie=cookie)
            assert refused.status == 404, text
            door.clock.now_us += 2 * MINUTE_US
        _, _, cookie = await door.sign_in("root")
        assert len(await (await door.ask("GET", "/api/v1/jobs", cookie=cookie)).json()) == 2


async def test_what_is_encoded_is_decoded_once(tmp_path: Path) -> None:
    """`%2541` names what is called `%41`, not what is called `A`; no way of writing `..` leaves the folder of files."""
    async with open_door(Ledger(), tmp_path, {"root": "administrator"}) as door:
        _, _, cookie = await door.sign_in("root")
        answer = await door.ask("GET", "/api/v1/jobs/a%252541", cookie=cookie)
        assert "a%2541" in (await answer.json())["detail"]
        reader, writer = await asyncio.open_connection("127.0.0.1", door.client.server.port)
        for path in (
            "/static/..%2f..%2ftls.py",
            "/static/%2e%2e/%2e%2e/tls.py",
            "/static/",
            "/static//etc",
        ):
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 404"), path
            found = re.search(rb"Content-Length: (\d+)", head)
            assert found is not None
            assert b"Authority" not in await reader.readexactly(int(found[1]))
        writer.close()


@pytest.mark.parametrize(
    "head",
    [
        "POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /livez",
        "POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        "POST /login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost : x\r\n\r\n",
    ],
)
async def test_where_a_request_ends_is_not_a_matter_of_taste(tmp_path: Path, head: str) -> None:
    """Two lengths, a length and chunks, a name before a blank: refused, and the connection ends."""
    async with open_door(Ledger(), tmp_path, {}) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.client.server.port)
        writer.write(head.encode())
        async with asyncio.timeout(10):
            said = await reader.read()
        assert re.match(rb"HTTP/1.[01] 4\d\d ", said)
        assert said.count(b"HTTP/1.") == 1
        writer.close()


async def test_a_body_has_an_end(tmp_path: Path) -> None:
    """More than 4 MiB is refused before it is read to its end."""
    async with open_door(Ledger(), tmp_path, {"root": "administrator"}) as door:
        _, _, cookie = await door.sign_in("root")
        big = "x" * (BODY_BYTES_MAX + 1)
        assert (await door.ask("POST", "/api/v1/import/crontab", {"text": big}, cookie=cookie)).status == 413


async def test_only_what_a_route_names_is_taken(tmp_path: Path) -> None:
    """No field of a row is set by naming it, no type is guessed, and what stands in the address is no field."""
    ledger = Ledger()
    async with open_door(ledger, tmp_path, {"root": "administrator", "bob": "user"}) as door:
        _, _, cookie = await door.sign_in("root")
        made = {
            "name": "eve",
            "password": "new battery",
            "id": 1,
            "tenant": "acme",
            "disabled_at_us": 1,
            "role": "user",
        }
        assert (await door.ask("POST", "/api/v1/users", made, cookie=cookie)).status == 201
        row = ledger.connection.execute("SELECT id, tenant, disabled_at_us FROM users WHERE name = 'eve'").fetchone()
        assert (row[0] > 1, row[1], row[2]) == (True, "", None)
        for wrong in ({"disabled": "false"}, {"disabled": 0}, {"role": ["administrator"]}, {"locked": "no"}):
            assert (await door.ask("PUT", "/api/v1/users/eve", wrong, cookie=cookie)).status == 400, wrong
        assert (await door.ask("PUT", "/api/v1/users/eve?role=administrator", {}, cookie=cookie)).status == 400
        assert (await door.ask("POST", f"/login?name=root&password={PASSWORD}", {}, html=True)).status == 401
        _, _, own = await door.sign_in("bob")
        assert (await door.ask("PUT", "/api/v1/users/bob", {"role": "administrator"}, cookie=own)).status == 403


async def test_answers_have_no_hashes(tmp_path: Path) -> None:
    """What is kept of passwords, sessions and tokens is in no answer and on no page, for nobody."""
    ledger = Ledger()
    async with open_door(ledger, tmp_path, {"root": "administrator"}) as door:
        ledger.do(tokens.create("root", "ci", secret_hash("us_secret"), None, SYSTEM, START_US))
        _, _, cookie = await door.sign_in("root")
        for path in ("/api/v1/users", "/api/v1/sessions", "/api/v1/tokens", "/users", "/users/tokens", "/audit"):
            text = await (await door.ask("GET", path, cookie=cookie, html=not path.startswith("/api"))).text()
            for kept in ("argon2", secret_hash("us_secret"), secret_hash(cookie), cookie):
                assert kept not in text, path
        rows = "\n".join(ledger.connection.iterdump())
        assert cookie not in rows
        assert secret_hash(cookie) in rows


def test_no_secret_stands_in_an_address() -> None:
    """No parameter behind a question mark takes a password, a code or a token."""
    for endpoint in ENDPOINTS:
        assert not {"password", "token", "code", "secret", "key"} & set(endpoint.query), endpoint.path


async def test_signing_in_again_ends_the_session_before(tmp_path: Path) -> None:
    """The token of a session is new at each sign-in, and the one that the browser had is worth nothing."""
    ledger = Ledger()
    async with open_door(ledger, tmp_path, {"bob": "user"}) as door:
        _, _, first = await door.sign_in("bob")
        typed = {"name": "bob", "password": PASSWORD}
        again = await door.ask("POST", "/login", typed, cookie=first, html=True)
        assert again.status == 303
        assert (await door.ask("GET", "/api/v1/jobs", cookie=first)).status == 401
        assert len(session_rows.page(ledger.connection, door.clock.now_us)) == 1


async def test_who_signs_in_is_written_down(tmp_path: Path) -> None:
    """When, who, from where, with what; and a page of another site that tried is in the log, not in the rows."""
    ledger = Ledger()
    async with open_door(ledger, tmp_path, {"bob": "user"}) as door:
        await door.sign_in("bob")
        entry = next(one for one in audit.page(ledger.connection) if one.action == "sessions.create")
        assert (entry.who, entry.address) == ("bob", "127.0.0.1")
        assert msgspec.json.decode(entry.after) == {"factors": ["password"]}
        assert entry.at_us == door.clock.now_us


async def test_a_password_never_ends_by_itself(tmp_path: Path) -> None:
    """Ten years later it is still good: who must change often chooses badly."""
    async with open_door(Ledger(), tmp_path, {"bob": "user"}) as door:
        door.clock.now_us += 10 * 366 * 24 * HOUR_US
        assert (await door.sign_in("bob"))[0] == 200


async def test_a_session_has_an_end(tmp_path: Path) -> None:
    """Twelve hours after the sign-in it is over, however it is used meanwhile."""
    ledger = Ledger()
    async with open_door(ledger, tmp_path, {"bob": "user"}) as door:
        ledger.do(settings.put("session_idle_minutes", "43200", SYSTEM, START_US))
        _, _, cookie = await door.sign_in("bob")
        door.clock.now_us += 12 * HOUR_US - 1
        assert (await door.ask("GET", "/api/v1/jobs", cookie=cookie)).status == 200
        door.clock.now_us += 1
        assert (await door.ask("GET", "/api/v1/jobs", cookie=cookie)).status == 401


async def test_every_page_has_the_way_out(tmp_path: Path) -> None:
    """The button that signs out is on every page that needs a sign-in."""
    async with open_door(Ledger(), tmp_path, {"root": "administrator"}) as door:
        _, _, cookie = await door.sign_in("root")
        for path in ("/", "/jobs", "/runs", "/users", "/users/password", "/audit", "/messages", "/no/such/page"):
            assert 'action="/logout"' in await (await door.ask("GET", path, cookie=cookie, html=True)).text(), path


async def test_answers_say_what_they_are(tmp_path: Path) -> None:
    """Each has its type, and text its alphabet; JSON has one by definition (RFC 8259)."""
    async with open_door(Ledger(), tmp_path, {"root": "administrator"}) as door:
        _, _, cookie = await door.sign_in("root")
        for path in ("/", "/jobs.csv", "/audit.csv", "/audit.json", "/metrics", "/no", "/api/v1/jobs", "/api/v1/no"):
            answer = await door.ask("GET", path, cookie=cookie, html=True)
            kind = answer.headers["Content-Type"]
            assert "json" in kind or "charset=utf-8" in kind, path


def _from(site_flag: bool, forwarded: str, tmp_path: Path) -> str:
    site = new_site(Ledger(), tmp_path, HandClock())
    object.__setattr__(site.config, "behind_proxy", site_flag)
    app = {SITE: site}
    request = make_mocked_request("GET", "/", {"X-Forwarded-For": forwarded}, app=app)  # type: ignore[arg-type]  # all that is asked of it
    return remote_address(request)


def test_nobody_says_where_they_come_from(tmp_path: Path) -> None:
    """The header counts behind a proxy alone, and there only what the proxy itself added."""
    assert _from(False, "192.0.2.66", tmp_path) != "192.0.2.66"
    assert _from(True, "192.0.2.66, 198.51.100.1", tmp_path) == "198.51.100.1"


class Handed(msgspec.Struct, frozen=True):
    """Something that is signed."""

    user: str


def test_a_signed_text_is_good_for_what_it_was_made_for() -> None:
    """Neither changed, nor with another key, nor for another purpose, nor unsigned."""
    key, other = bytes(32), b"x" * 32
    text = sign(key, "hand-over", Handed("bob"))
    assert opened(key, "hand-over", text, Handed) == Handed("bob")
    body, _, mark = text.partition(".")
    forged = sign(other, "hand-over", Handed("root")).partition(".")[0]
    for wrong in (f"{forged}.{mark}", body, f"{body}.", f"{body}.{mark[:-2]}", text + "A"):
        assert opened(key, "hand-over", wrong, Handed) is None, wrong
    assert opened(other, "hand-over", text, Handed) is None
    assert opened(key, "second factor", text, Handed) is None


def test_what_nobody_may_guess_is_long_enough() -> None:
    """Session and API tokens have 256 bits, recovery codes and the first password over 112; none comes twice."""
    assert len({new_token() for _ in range(100)}) == 100
    assert len(new_token()) >= 43
    codes = recovery_codes("seed")
    assert min(len(code.replace("-", "")) * 5 for code in codes) >= 112
    assert len({new_password() for _ in range(100)}) == 100
    assert len(new_password().replace("-", "")) >= 20


def test_keys_and_signatures_are_strong() -> None:
    """P-256 with SHA-256; a seal takes 256 bits, says when it was changed, and never uses a nonce twice."""
    authority = tls.Authority.create("c" * 32, datetime.now(UTC))
    leaf = authority.issue(tls.certificate_request(tls.new_key()), tls.Peer("node", "a" * 32), (), datetime.now(UTC))
    for certificate in (authority.certificate, x509.load_pem_x509_certificate(leaf)):
        key = certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.curve.key_size >= 256
        assert isinstance(certificate.signature_hash_algorithm, hashes.SHA256)
    assert len({tls.seal(bytes(32), "x", b"secret")[0] for _ in range(100)}) == 100
    with pytest.raises(ValueError, match="256"):
        tls.seal(b"short", "x", b"secret")


async def test_a_subject_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a job prints, or how it is called, adds no header to a mail and no receiver."""
    sent = []

    async def send(message: object, **_: object) -> None:
        sent.append(str(message))

    monkeypatch.setattr("aiosmtplib.send", send)
    bad = "failed\r\nBcc: everybody@example.net\r\n\r\nforged"
    said = {"what": "test", "key": "x", "subject": bad, "text": "t", "created_at_us": 0}
    mail = Delivery(id=1, list="ops", kind="mail", address="a@example.net", **said)
    await couriers.send_mail(mail, "c" * 32, Smtp(host="mail.example.net", sender="u@example.net"), "")
    assert not re.search(r"^Bcc:", sent[0], re.MULTILINE)


def test_what_lies_in_the_directory_is_the_owners(tmp_path: Path) -> None:
    """The directory, what is written into it, and the socket: for whoever owns it alone, however lax the process is."""
    before = os.umask(0)
    try:
        data = tmp_path / "data"
        identity.make_directory(data)
        identity.write_private(data / "seal.key", b"secret")
        with bind_local(data / "understudy.sock"):
            modes = [path.stat().st_mode & 0o777 for path in (data, data / "seal.key", data / "understudy.sock")]
    finally:
        os.umask(before)
    assert modes == [0o700, 0o600, 0o600]


def test_old_ways_of_encryption_are_refused(tmp_path: Path) -> None:
    """Web port: TLS 1.2 with fresh keys and authenticated ciphers, or 1.3; cluster port: 1.3, with certificates."""
    authority, key = tls.Authority.create("c" * 32, datetime.now(UTC)), tls.new_key()
    leaf = authority.issue(tls.certificate_request(key), tls.Peer("node", "a" * 32), (), datetime.now(UTC))
    files = [tmp_path / name for name in ("node.crt", "node.key", "ca.crt")]
    for path, content in zip(files, (leaf, tls.private_pem(key), authority.certificate_pem()), strict=True):
        path.write_bytes(content)
    web, cluster = tls.web_context(*files[:2]), tls.cluster_context(*files)
    assert (web.minimum_version, cluster.minimum_version) == (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    assert cluster.verify_mode != ssl.CERT_NONE
    assert tls.client_context(files[2]).verify_mode == ssl.CERT_REQUIRED
    for cipher in web.get_ciphers():
        assert cipher["aead"], cipher["name"]
        assert cipher["protocol"] == "TLSv1.3" or cipher["kea"] == "kx-ecdhe", cipher["name"]


def test_permissions_are_closed_by_default() -> None:
    """A role that is not named in the table has nothing of it."""
    from server.core.access import may
    from server.core.model import Principal

    for name in PERMISSIONS:
        assert not may(Principal("eve", "no such role"), name)
