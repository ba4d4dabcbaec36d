"""Notifications: real receivers on loopback, a queue that survives, secrets that show nowhere (SKY-17, SKY-15)."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import socket
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP as Server
from aiosmtpd.smtp import Envelope, Session

from server.actions import notifications
from server.core.model import HOUR_US, SECOND_US, SYSTEM
from server.core.notifications import (
    TRAP,
    Delivery,
    ListSpec,
    Smtp,
    TrapReceiver,
    Webhook,
    after_failure,
    place_of,
    signature,
    split_address,
    wait_us,
    wrong_list,
    wrong_smtp,
)
from server.core.snmp_trap import trap
from server.errors import Invalid
from server.office import couriers
from server.office.notifier import Notifier
from server.storage import notifications as rows
from server.storage import sealed, system_messages
from server.trust.sealing import Seal
from tests.unit.ledger import START_US, Ledger, LocalStore

SECRET = "a very secret word"
SEAL = Seal(lambda: bytes(range(32)))


class Site:
    """A ledger with a notifier that a test starts and ends, as an office does."""

    def __init__(self, ledger: Ledger | None = None) -> None:
        self.ledger = Ledger() if ledger is None else ledger
        self.store = LocalStore(self.ledger)
        self.now_us = START_US

    def put(self, name: str = "ops", **more: Any) -> None:
        self.ledger.do(notifications.put_list(name, ListSpec(**more), SEAL.seal, SYSTEM, START_US))

    async def send(self, name: str = "ops", once: str = "x") -> None:
        await self.store.write(notifications.send_test(name, once, SYSTEM, self.now_us))

    @contextlib.asynccontextmanager
    async def office(self) -> AsyncIterator[None]:
        task = asyncio.create_task(Notifier(self.store, SEAL.opened, lambda: "c" * 32, lambda: self.now_us).run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def log(self) -> list[Delivery]:
        return list(reversed(rows.log(self.ledger.connection)))

    async def until(self, state: Callable[[Delivery], bool]) -> None:
        async with asyncio.timeout(20):
            while not self.log() or not all(state(one) for one in self.log()):
                await asyncio.sleep(0.01)


class Hook:
    """A webhook on loopback that answers what a test says, and keeps what it got."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status = 204
        self.location = ""
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.got.append((dict(request.headers), await request.read()))
        headers = {"Location": self.location} if self.location else {}
        return web.Response(status=self.status, headers=headers)


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    made = Hook()
    application = web.Application()
    application.router.add_post("/hook", made.take)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield made
    await runner.cleanup()


class Mails:
    """What a mail server got."""

    def __init__(self) -> None:
        self.got: list[Envelope] = []

    async def handle_DATA(self, server: Server, session: Session, envelope: Envelope) -> str:
        self.got.append(envelope)
        return "250 taken"


async def test_a_webhook_gets_what_it_can_check(hook: Hook) -> None:
    """The signature is HMAC-SHA256 over time and body, computed here by itself; the id is the delivery's."""
    site = Site()
    site.put(webhooks=[Webhook(url=hook.url, secret=SECRET)])
    async with site.office():
        await site.send()
        await site.until(lambda one: one.state == "sent")
    ((headers, content),) = hook.got
    signed = headers["Understudy-Timestamp"].encode() + b"." + content
    assert headers["Understudy-Signature"] == "sha256=" + hmac.new(SECRET.encode(), signed, "sha256").hexdigest()
    said = json.loads(content)
    assert (said["id"], said["what"], said["list"]) == (headers["Understudy-Delivery"], "test", "ops")
    assert headers["Understudy-Signature"] == signature(SECRET, int(headers["Understudy-Timestamp"]), content)


async def test_what_is_refused_is_tried_again_later_under_the_same_id(hook: Hook) -> None:
    """500, then a redirect that is not followed, then taken: 10 s and 20 s apart by the clock of the rows."""
    site, elsewhere = Site(), Hook()
    site.put(webhooks=[Webhook(url=hook.url, secret=SECRET)])
    hook.status = 500
    async with site.office():
        await site.send()
        await site.until(lambda one: one.attempts == 1)
        assert (site.log()[0].error, site.log()[0].next_us) == ("it answered 500", START_US + 10 * SECOND_US)
        hook.status, hook.location = 307, hook.url
    site.now_us += 10 * SECOND_US
    async with site.office():
        await site.until(lambda one: one.attempts == 2)
        assert "redirect is not followed" in site.log()[0].error
    hook.status = 200
    site.now_us += 20 * SECOND_US
    async with site.office():
        await site.until(lambda one: one.state == "sent")
    assert len({headers["Understudy-Delivery"] for headers, _ in hook.got}) == 1
    assert len(hook.got) == 3
    assert elsewhere.got == []


async def test_what_an_office_left_unsent_the_next_one_sends(hook: Hook) -> None:
    """Queued without an office, and when one ended before it was sent: both go out once the next one is there."""
    site = Site()
    site.put(webhooks=[Webhook(url=hook.url, secret=SECRET)])
    await site.send(once="a")
    async with site.office():
        pass
    await site.send(once="b")
    async with site.office():
        await site.until(lambda one: one.state == "sent")
    assert {json.loads(content)["about"] for _, content in hook.got} == {"test a", "test b"}


async def test_mail_goes_over_the_clusters_mail_server() -> None:
    """To each address, from the sender that is set, with an id that stays; without a server it says what to type."""
    mails = Mails()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(mails, hostname="127.0.0.1", port=port)
    controller.start()
    site = Site()
    site.put(emails=["ada@example.net", "bob@example.net"])
    try:
        async with site.office():
            await site.send()
            await site.until(lambda one: one.attempts == 1)
            assert {one.error for one in site.log()} == {couriers.NO_SERVER}
        server = Smtp(host="127.0.0.1", port=port, sender="understudy@example.net", security="none")
        site.ledger.do(notifications.put_smtp(server, None, SEAL.seal, SYSTEM, START_US))
        site.now_us += 10 * SECOND_US
        async with site.office():
            await site.until(lambda one: one.state == "sent")
    finally:
        controller.stop()
    assert sorted(one.rcpt_tos[0] for one in mails.got) == ["ada@example.net", "bob@example.net"]
    text = bytes(mails.got[0].content or b"").decode()
    assert "Message-ID: <cccccccccccc-" in text
    assert "Subject: Understudy: test of ops" in text


async def test_without_the_library_mail_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node without the extra says so on the delivery, and goes on."""
    monkeypatch.setitem(sys.modules, "aiosmtplib", None)
    server = Smtp(host="127.0.0.1", sender="a@b.net")
    one = delivery()
    assert await couriers.attempt(lambda: couriers.send_mail(one, "c", server, "")) == couriers.NO_LIBRARY


async def test_a_trap_is_one_datagram(caplog: pytest.LogCaptureFixture) -> None:
    """The bytes reach the socket, with the sealed community in them; the log of the program does not show it."""
    site = Site()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        address = f"127.0.0.1:{receiver.getsockname()[1]}"
        site.put(traps=[TrapReceiver(address=address, community="hidden-community")])
        async with site.office():
            await site.send()
            await site.until(lambda one: one.state == "sent")
        datagram = receiver.recv(65536)
    assert b"\x04\x10hidden-community\xa7" in datagram
    assert b"Understudy: test of ops" in datagram
    assert "hidden-community" not in caplog.text


async def test_a_trap_needs_a_community_of_its_own() -> None:
    """A new receiver is refused without one and with a default; one from before goes on, and a message names it."""
    site, address = Site(), "127.0.0.1:9"
    for community in (None, "public", "Private"):
        with pytest.raises(Invalid, match=r"community of (its|your) own"):
            site.put(traps=[TrapReceiver(address=address, community=community)])
    site.put(traps=[TrapReceiver(address=address, community="ours")])
    site.put(traps=[TrapReceiver(address=address)])
    await _open_once(site)
    assert system_messages.page(site.ledger.connection) == []
    place = place_of("ops", TRAP, address)
    sealed.put(site.ledger.connection, place, *SEAL.seal(place, "public"))
    site.put(traps=[TrapReceiver(address=address)])
    for _ in range(2):
        await _open_once(site)
        (said,) = system_messages.page(site.ledger.connection)
        assert (said.severity, "to 127.0.0.1:9 of the list ops" in said.text) == ("warning", True)
    assert site.log()[-1].state == "sent"


async def _open_once(site: Site) -> None:
    """An office that sends what is asked of it, and is over."""
    async with site.office():
        await site.send(once=str(len(site.log())))
        await site.until(lambda one: one.state == "sent")


def parts(data: bytes) -> list[tuple[int, Any]]:
    """BER taken apart by the rules of X.690: (tag, parts inside or content)."""
    found: list[tuple[int, Any]] = []
    while data:
        tag, size, at = data[0], data[1], 2
        if size & 0x80:
            size, at = int.from_bytes(data[2 : 2 + (size & 0x7F)], "big"), 2 + (size & 0x7F)
        content, data = data[at : at + size], data[at + size :]
        assert len(content) == size
        found.append((tag, parts(content) if tag in (0x30, 0xA7) else content))
    return found


def test_the_bytes_of_a_trap_are_those_of_the_standard() -> None:
    """RFC 3416: version 1, community, trap PDU with id, 0, 0, then up time, the trap's name, values."""
    ((_, message),) = parts(trap("public", 7, 200, [("subject", "x" * 200)]))
    assert message[0] == (0x02, b"\x01")
    assert message[1] == (0x04, b"public")
    assert message[2][0] == 0xA7
    request, status, index, (_, bindings) = message[2][1]
    assert (request, status, index) == ((0x02, b"\x07"), (0x02, b"\x00"), (0x02, b"\x00"))
    ours = bytes.fromhex("2b06010401bf08ce0fce0fbe48")
    assert [one[1] for one in bindings] == [
        [(0x06, bytes.fromhex("2b06010201010300")), (0x43, b"\x00\xc8")],
        [(0x06, bytes.fromhex("2b060106030101040100")), (0x06, ours + b"\x00\x01")],
        [(0x06, ours + b"\x01\x04\x00"), (0x04, b"x" * 200)],
    ]
    ((_, long),) = parts(trap("public", 2**40, 2**40, [("text", "ü" * 2000)]))
    assert len(long[2][1][3][1][2][1][1][1]) == 900


def delivery(**more: object) -> Delivery:
    values = {"id": 1, "list": "ops", "kind": "mail", "address": "a@b.net", "what": "test", "key": "k"}
    made = Delivery(**values, subject="s", text="t", created_at_us=START_US)  # type: ignore[arg-type]  # a mapping
    return msgspec.structs.replace(made, **more)


def test_waits_grow_and_end() -> None:
    """10, 20, 40 ... 900 s; given up when the next attempt would come later than it may."""
    assert [wait_us(n) // SECOND_US for n in (1, 2, 3, 7, 8, 50)] == [10, 20, 40, 640, 900, 900]
    once = after_failure(delivery(), "no", START_US, HOUR_US)
    assert (once.state, once.attempts, once.next_us) == ("waiting", 1, START_US + 10 * SECOND_US)
    late = after_failure(delivery(attempts=9), "no", START_US + HOUR_US - 900 * SECOND_US, HOUR_US)
    assert (late.state, late.attempts) == ("given up", 10)


def test_given_up_is_said_once_and_tells_nobody() -> None:
    """A system message, a warning: a list that wants alarms is not told by what does not work."""
    site = Site()
    site.put(emails=["ada@example.net"], alarms=True)
    site.ledger.do(notifications.send_test("ops", "x", SYSTEM, START_US))
    result = notifications.Result(site.log()[0].id, "no route")
    assert site.ledger.do(notifications.settle([result], START_US + 24 * HOUR_US)) == 1
    assert site.ledger.do(notifications.settle([result], START_US + 25 * HOUR_US)) == 0
    (message,) = system_messages.page(site.ledger.connection)
    assert message.severity == "warning"
    assert "ada@example.net of the list ops was given up after 24 h and 1 attempts: no route" in message.text
    assert [one.state for one in site.log()] == ["given up"]


def test_secrets_are_in_no_row_but_sealed_ones() -> None:
    """Neither the list, nor the audit history, nor another table has them; sealed, they open under their name only."""
    site = Site()
    hidden = {"webhooks": [Webhook(url="https://x.net/h", secret=SECRET)]}
    site.put(**hidden, traps=[TrapReceiver(address="nms.example.net:162", community="hidden-community")])
    server = Smtp(host="mail.example.net", sender="a@b.net", user="ada")
    site.ledger.do(notifications.put_smtp(server, "the-password", SEAL.seal, SYSTEM, START_US))
    text = "\n".join(site.ledger.connection.iterdump())
    for secret in (SECRET, "hidden-community", "the-password"):
        assert secret not in text
        assert secret.encode().hex().upper() not in text.upper()
    place = "notification-list/ops/webhook/https://x.net/h"
    kept = sealed.get(site.ledger.connection, place)
    assert kept is not None
    assert SEAL.opened(place, *kept) == SECRET
    with pytest.raises(Invalid):
        SEAL.opened(place + "x", *kept)


def test_a_secret_stays_until_it_is_replaced_or_its_address_goes() -> None:
    """Changed without one it stays; a new address needs one; an address taken out takes its secret along."""
    site = Site()
    url, place = "https://x.net/h", "notification-list/ops/webhook/https://x.net/h"
    site.put(webhooks=[Webhook(url=url, secret=SECRET)])
    site.put(webhooks=[Webhook(url=url)], description="changed")
    assert SEAL.opened(place, *(sealed.get(site.ledger.connection, place) or (b"", b""))) == SECRET
    with pytest.raises(Invalid, match="needs a secret"):
        site.put(webhooks=[Webhook(url=url), Webhook(url=url + "2")])
    site.put(emails=["ada@example.net"])
    assert sealed.get(site.ledger.connection, place) is None


@pytest.mark.parametrize(
    ("field", "spec"),
    [
        ("emails", ListSpec(emails=["no address"])),
        ("emails", ListSpec(emails=["a@b.net\nBcc: c@d.net"])),
        ("webhooks", ListSpec(webhooks=[Webhook(url="ftp://x.net", secret=SECRET)])),
        ("webhooks", ListSpec(webhooks=[Webhook(url="https://user:word@x.net/", secret=SECRET)])),
        ("webhooks", ListSpec(webhooks=[Webhook(url="https://x.net/", secret="short")])),
        ("traps", ListSpec(traps=[TrapReceiver(address="x.net")])),
        ("traps", ListSpec(traps=[TrapReceiver(address="x.net:0")])),
        ("name", ListSpec(emails=["a@b.net", "a@b.net"])),
    ],
)
def test_wrong_receivers_are_named(field: str, spec: ListSpec) -> None:
    """Each by its field, before anything is written."""
    assert set(wrong_list("ops", spec)) == {field}


def test_a_password_needs_an_encrypted_way() -> None:
    """A user without TLS is refused, and so is a server that is none."""
    assert set(wrong_smtp(Smtp(host="h", sender="a@b.net", user="ada", security="none"))) == {"security"}
    assert set(wrong_smtp(Smtp(host="-", port=0, sender="x", security="?"))) == {"host", "port", "sender", "security"}
    assert split_address("[::1]:162") == ("::1", 162)
