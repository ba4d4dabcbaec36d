"""How often a token or a session may ask in a minute; what ends trouble is never counted (docs/connections.md)."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.actions import settings, tokens
from server.core.model import SYSTEM, Principal
from server.core.request_quota import BUCKETS_MAX, Quota, is_free
from server.errors import Invalid
from server.trust.tls import secret_hash
from server.web.permissions import DECLARED
from tests.unit.ledger import START_US, Ledger
from tests.unit.web_desk import open_desk
from tests.unit.web_door import open_door

LEAST = 600


def test_the_bucket() -> None:
    """A minute's worth at once, then as it fills; each has its own; who waited a minute has a full one again."""
    quota = Quota()
    assert [quota.wait_s("a", 60, 100.0) for _ in range(60)] == [0.0] * 60
    assert quota.wait_s("a", 60, 100.0) == 1.0
    assert quota.wait_s("a", 60, 100.5) == 0.5
    assert quota.wait_s("b", 60, 100.5) == 0.0
    assert quota.wait_s("a", 60, 101.0) == 0.0
    assert quota.wait_s("a", 60, 101.0) == 1.0
    assert [quota.wait_s("a", 60, 999.0) for _ in range(61)][-2:] == [0.0, 1.0]
    assert quota.wait_s("a", 6000, 999.0) > 0.0, "a quota that is raised fills from now on"


def test_memory_is_bounded() -> None:
    """The one that was used longest ago is forgotten."""
    quota = Quota()
    for number in range(BUCKETS_MAX + 5):
        quota.wait_s(str(number), 60, 0.0)
    assert (len(quota._buckets), "4" in quota._buckets, "5" in quota._buckets) == (BUCKETS_MAX, False, True)


def test_what_is_never_counted() -> None:
    """How the pair does, swaps, the end of a maintenance, signing out: each is a route that there is."""
    free = {route for _, route in DECLARED if is_free(route)}
    assert free == {
        "/api/v1/status", "/api/Status/Get", "/api/Maintenance/End", "/api/v1/maintenance/end",
        "/api/v1/maintenance/off", "/maintenance/end", "/logout", "/api/v1/logout", "/static/{name}",
        "/api/v1/swap", "/api/v1/swap/check", "/api/v1/swap/abort", "/swap", "/swap/start", "/swap/abort", "/swap/{id}",
    }  # fmt: skip


async def test_who_asks_too_often_is_told(tmp_path: Path) -> None:
    """429 with Retry-After for the token, then for the session; others and what ends trouble go on; then it is over."""
    ledger = Ledger()
    ledger.do(settings.put("requests_per_minute", str(LEAST), SYSTEM, START_US))
    async with open_door(ledger, tmp_path, {"root": "administrator"}) as door:
        for name in ("ci", "other"):
            ledger.do(tokens.create("root", name, secret_hash(f"us_{name}"), None, SYSTEM, START_US))
        _, _, cookie = await door.sign_in("root")
        now_s = door.site.clock.monotonic()
        for whose in ("token 1", f"session {secret_hash(cookie)}"):
            assert {door.site.door.quota.wait_s(whose, LEAST, now_s) for _ in range(LEAST)} == {0.0}
        for credentials in ({"token": "us_ci"}, {"cookie": cookie}):
            refused = await door.ask("GET", "/api/v1/jobs", **credentials)
            assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
            document = await refused.json()
            assert (document["code"], "asks too often" in document["detail"]) == ("too_many_requests", True)
            assert (await door.ask("GET", "/api/v1/status", **credentials)).status == 200
            assert (await door.ask("POST", "/api/Maintenance/End", {}, **credentials)).status != 429
            assert (await door.ask("GET", "/api/v1/swap", **credentials)).status != 429
        page = await door.ask("GET", "/jobs", cookie=cookie, html=True)
        assert (page.status, "Too often" in await page.text()) == (429, True)
        assert (await door.ask("GET", "/api/v1/jobs", token="us_other")).status == 200
        door.site.door.quota = Quota()
        assert (await door.ask("GET", "/api/v1/jobs", token="us_ci")).status == 200


def test_the_socket_has_no_quota(tmp_path: Path) -> None:
    """Whoever owns the machine gets in, however often; the setting has bounds, and is an administrator's."""
    ledger = Ledger()
    with pytest.raises(Invalid, match="from 600"):
        ledger.do(settings.put("requests_per_minute", "599", Principal("root", "administrator"), START_US))
    ledger.do(settings.put("requests_per_minute", str(LEAST), SYSTEM, START_US))
    with open_desk(ledger, tmp_path) as desk:
        assert len([desk.client.get("/api/v1/tags") for _ in range(LEAST + 10)]) == LEAST + 10
