"""Where notifications are never sent to, whoever names it and however it is written (SKY-17)."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from server.core.egress import Bounds, why_not
from server.core.notifications import Delivery
from server.office import couriers, egress

REFUSED = ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1%lo", "224.0.0.1", "ff02::1", "0.0.0.0", "::"]


def delivery(address: str, kind: str = "webhook", name: str = "ops") -> Delivery:
    """One that is due."""
    said = {"what": "test", "key": "x", "subject": "s", "text": "t", "created_at_us": 0}
    return Delivery(id=1, list=name, kind=kind, address=address, **said)


@pytest.mark.parametrize("address", REFUSED)
def test_what_is_near_is_refused(address: str) -> None:
    """Link-local, multicast and unspecified, also written as IPv6."""
    assert why_not(address, "")
    assert why_not(address, "acme")


def test_this_machine_is_for_lists_of_the_host() -> None:
    """A relay on this machine is usual; a tenant has no business there. Other addresses are for both."""
    for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "127.9.9.9"):
        assert why_not(address, "") == "" != why_not(address, "acme")
    for address in ("192.0.2.1", "10.0.0.1", "2001:db8::1"):
        assert why_not(address, "") == why_not(address, "acme") == ""


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "2852039166", "0251.0376.0251.0376", "0xa9fea9fe"])
async def test_a_webhook_is_not_sent_there(host: str) -> None:
    """However the number is written: what is dialled is what was looked at."""
    with pytest.raises(couriers.NotDelivered, match="nothing is sent to"):
        await couriers.send_webhook(delivery(f"http://{host}/latest/meta-data"), "c" * 32, "")


async def test_a_name_that_leads_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the name resolves to decides, for webhooks and for traps; a trap goes to what is left of the addresses."""

    def found(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))]

    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *a, **k: found() if host == "meta.test" else [][0])
    with pytest.raises(egress.NotAllowed, match="nothing is sent to"):
        await egress.Guarded(Bounds()).resolve("meta.test", 80)
    with pytest.raises(couriers.NotDelivered, match="nothing is sent to"):
        await couriers.send_trap(delivery("meta.test:162", "trap"), "c" * 32, "public")


async def test_a_tenant_reaches_no_service_of_this_machine(tmp_path: Path) -> None:
    """The host's list reaches a receiver on this machine, a tenant's does not; neither is led on by a redirect."""
    asked: list[str] = []

    async def take(request: web.Request) -> web.Response:
        asked.append(request.path)
        if request.path == "/away":
            return web.Response(status=302, headers={"Location": "/hook"})
        return web.Response()

    app = web.Application()
    app.router.add_post("/{any}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    try:
        await couriers.send_webhook(delivery(f"http://127.0.0.1:{port}/hook"), "c" * 32, "")
        with pytest.raises(couriers.NotDelivered, match="a list of a tenant"):
            await couriers.send_webhook(delivery(f"http://localhost:{port}/hook", name="acme:ops"), "c" * 32, "")
        with pytest.raises(couriers.NotDelivered, match="redirect is not followed"):
            await couriers.send_webhook(delivery(f"http://127.0.0.1:{port}/away"), "c" * 32, "")
    finally:
        await runner.cleanup()
    assert asked == ["/hook", "/away"]
