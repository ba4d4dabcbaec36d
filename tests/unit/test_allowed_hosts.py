"""Allowed hosts: what an administrator lets this server talk to, when something is set and when it is sent (SKY-17)."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from server.actions import allowed_hosts, notifications, sign_in_ways, tenants
from server.actions.change import for_tenant
from server.core.egress import AllowedHosts
from server.core.model import SYSTEM, Principal
from server.core.notifications import ListSpec, Smtp, TrapReceiver, Webhook
from server.core.oidc import Provider
from server.errors import Forbidden, Invalid
from server.storage import audit
from tests.unit.ledger import START_US, Ledger
from tests.unit.test_notifications import SEAL, SECRET, Hook, Mails, Site, hook
from tests.unit.web_desk import open_desk

__all__ = ["hook"]
NAMES = ("hooks.example.net", "*.chat.example.net", "192.0.2.0/28", "2001:db8::/64", "nms.example.net=198.51.100.0/24")


def allow(ledger: Ledger, *hosts: str, by: Principal = SYSTEM) -> AllowedHosts:
    """Set the list."""
    return ledger.do(allowed_hosts.put(AllowedHosts(hosts=hosts), by, START_US))


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("hooks.example.net", "203.0.113.9"),
        ("Hooks.Example.NET.", "10.0.0.1"),
        ("a.b.chat.example.net", "2001:db8:1::1"),
        ("192.0.2.15", "192.0.2.15"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("nms.example.net", "198.51.100.7"),
    ],
)
def test_what_is_allowed(host: str, address: str) -> None:
    """By its name, or by where it is; everything where nobody bounded it."""
    assert AllowedHosts(hosts=NAMES).why_not(host, address) == AllowedHosts().why_not(host, address) == ""
    assert AllowedHosts(hosts=NAMES).why_not_named(host) == ""


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("chat.example.net", "203.0.113.9"),
        ("hooks.example.net.evil.example", "203.0.113.9"),
        ("xhooks.example.net", "203.0.113.9"),
        ("192.0.2.16", "192.0.2.16"),
        ("elsewhere.example", "192.0.2.1"),
        ("nms.example.net", "198.51.101.7"),
        ("hooks.example.net", "127.0.0.1"),
        ("hooks.example.net", "::1"),
        ("hooks.example.net", "nowhere"),
    ],
)
def test_what_is_not(host: str, address: str) -> None:
    """A name that only looks alike, a neighbour's address, a name that leads elsewhere or to this machine itself."""
    assert "not among the allowed hosts" in AllowedHosts(hosts=NAMES).why_not(host, address)


@pytest.mark.parametrize(
    "text", ["10.0.0.1/8", "a b", "http://x.example", "*", "=10.0.0.0/8", "x.example=y", "*.1", ""]
)
def test_what_no_entry_is(text: str) -> None:
    """It is named; a list that is too long is refused too."""
    assert AllowedHosts(hosts=(*NAMES, text)).wrong()["hosts"].startswith(f"{text}: no name, address or network")
    assert AllowedHosts(hosts=("x.example",) * 101).wrong() == {"hosts": "at most 100; name networks"}
    assert AllowedHosts(hosts=NAMES).wrong() == {}


def _webhook(url: str) -> Callable[[], Any]:
    return lambda: notifications.put_list(
        "ops", ListSpec(webhooks=[Webhook(url=url, secret=SECRET)]), SEAL.seal, SYSTEM, START_US
    )


def _trap(address: str) -> Callable[[], Any]:
    return lambda: notifications.put_list(
        "ops", ListSpec(traps=[TrapReceiver(address=address, community="c")]), SEAL.seal, SYSTEM, START_US
    )


def _mail(host: str) -> Callable[[], Any]:
    return lambda: notifications.put_smtp(Smtp(host=host, sender="a@b.net"), None, SEAL.seal, SYSTEM, START_US)


def _provider(host: str) -> Callable[[], Any]:
    provider = Provider(issuer=f"https://{host}/realm", client_id="understudy")
    return lambda: sign_in_ways.put_provider(provider, "secret", SEAL.seal, SYSTEM, START_US)


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("webhooks", _webhook("https://hooks.example.net/in"), _webhook("https://evil.example/in")),
        ("traps", _trap("hooks.example.net:162"), _trap("evil.example:162")),
        ("host", _mail("hooks.example.net"), _mail("evil.example")),
        ("issuer", _provider("hooks.example.net"), _provider("evil.example")),
    ],
)
def test_what_is_set_is_refused(field: str, good: Callable[[], Any], bad: Callable[[], Any]) -> None:
    """Receivers, the mail server and the provider; the field is named, what is allowed is set."""
    ledger = Ledger()
    ledger.do(bad())
    allow(ledger, "hooks.example.net", "192.0.2.0/28")
    assert len(allowed_hosts.shut_out(ledger.connection)) == 1
    with pytest.raises(Invalid, match="not among the allowed hosts") as refused:
        ledger.do(bad())
    assert set(refused.value.fields) == {field}
    ledger.do(good())
    assert allowed_hosts.shut_out(ledger.connection) == ()


def test_who_sets_it() -> None:
    """An Administrator of the host; what it was and is stands in the audit history, once for one change."""
    ledger = Ledger()
    for by in (Principal("op", "operator"), Principal("ten", "administrator", tenant="acme")):
        with pytest.raises(Forbidden):
            allow(ledger, "x.example", by=by)
    assert allow(ledger, " X.example ", "x.example", "") == AllowedHosts(hosts=("x.example",))
    allow(ledger, "x.example")
    with pytest.raises(Invalid):
        allow(ledger, "no such thing")
    (entry,) = audit.page(ledger.connection)
    assert (entry.action, "x.example" in entry.after) == ("allowed_hosts.put", True)


async def test_nothing_is_sent_past_the_list(hook: Hook) -> None:
    """What was set before the list: webhook, trap and mail are refused as they are sent, with the reason in the row."""
    mails, site = Mails(), Site()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(mails, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        server = Smtp(host="127.0.0.1", port=port, sender="understudy@example.net", security="none")
        site.ledger.do(notifications.put_smtp(server, None, SEAL.seal, SYSTEM, START_US))
        traps = [TrapReceiver(address="127.0.0.1:9", community="c")]
        site.put(webhooks=[Webhook(url=hook.url, secret=SECRET)], traps=traps, emails=["ada@example.net"])
        allow(site.ledger, "192.0.2.0/28", "localhost")
        await site.send()
        async with site.office():
            await site.until(lambda one: one.attempts == 1)
        assert [(one.state, "127.0.0.1 is not among the allowed hosts" in one.error) for one in site.log()] == [
            ("waiting", True)
        ] * 3
        assert (hook.got, mails.got) == ([], [])
        allow(site.ledger, "127.0.0.1")
        site.now_us += 10_000_000
        async with site.office():
            await site.until(lambda one: one.state == "sent")
        assert (len(hook.got), len(mails.got)) == (1, 1)
    finally:
        controller.stop()


async def test_a_name_that_leads_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch, hook: Hook) -> None:
    """It was set while it led into the network; what it leads to when something is sent decides."""
    leads = ["127.0.0.1"]
    original = socket.getaddrinfo

    def found(host: Any, port: Any, *more: Any, **words: Any) -> Any:
        asked = host == "hooks.test" and words.get("flags") != socket.AI_NUMERICHOST
        return original(leads[-1] if asked else host, port, *more, **words)

    monkeypatch.setattr(socket, "getaddrinfo", found)
    site = Site()
    allow(site.ledger, "hooks.test=127.0.0.0/30")
    site.put(webhooks=[Webhook(url=hook.url.replace("127.0.0.1", "hooks.test"), secret=SECRET)])
    await site.send(once="a")
    async with site.office():
        await site.until(lambda one: one.state == "sent")
    leads.append("127.0.0.9")
    await site.send(once="b")
    async with site.office():
        await site.until(lambda one: one.state == "sent" or one.attempts == 1)
    assert "hooks.test at 127.0.0.9 is not among the allowed hosts" in site.log()[-1].error
    assert len(hook.got) == 1


def test_the_page_the_program_and_the_command(tmp_path: Path) -> None:
    """Set by a command, shown with what it shuts out, refused with the field on the page and in the API."""
    ledger = Ledger()
    ledger.do(_webhook("https://evil.example/in")())
    with open_desk(ledger, tmp_path) as desk:
        assert desk.run("notification", "hosts")[1] == "It may talk to every host that something names.\n"
        assert "every host that a list" in desk.page("/notifications")[1]
        code, said = desk.run("notification", "hosts", "hooks.example.net", "--reason", "audit")
        assert (code, said.splitlines()) == (
            0,
            ["It may talk to hooks.example.net.", "Not allowed, and told nothing: list ops: evil.example"],
        )
        _, page = desk.page("/notifications")
        assert "list ops: evil.example" in page
        assert "reach these hosts alone" in page
        typed = {"name": "new", "webhooks": "https://evil.example/x", "secret": SECRET, "emails": "", "traps": ""}
        status, page = desk.page("/notifications", typed)
        assert (status, "evil.example is not among the allowed hosts" in page) == (422, True)
        status, page = desk.page("/notifications/hosts", {"hosts": "good.example\nno_/such"})
        assert (status, "no_/such: no name, address or network" in page, "good.example" in page) == (422, True, True)
        assert desk.page("/notifications/hosts", {"hosts": ""})[0] == 303
        assert desk.client.get("/api/v1/allowed-hosts") == {"hosts": [], "shut_out": []}
        assert desk.run("notification", "hosts", "x.example", "--every")[0] == 78


def test_a_tenant_is_bounded_by_the_same_list() -> None:
    """What its people name is judged by the list of the host."""
    ledger = Ledger()
    ledger.do(tenants.create("acme", "", SYSTEM, START_US))
    allow(ledger, "hooks.example.net")
    ledger.do(for_tenant("acme", _webhook("https://hooks.example.net/in")()))
    with pytest.raises(Invalid, match="not among the allowed hosts"):
        ledger.do(for_tenant("acme", _webhook("https://evil.example/in")()))
