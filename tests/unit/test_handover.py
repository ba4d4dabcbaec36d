"""A browser goes on at the new master after a swap, and nobody else does; sessions end by time, idle time and hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from aiohttp import ClientResponse

from replication.core.types import Role, State, Status
from server.actions import nodes, sessions, settings, users
from server.core.model import HOUR_US, MINUTE_US, SYSTEM, NodeRow, Principal
from server.errors import Unauthenticated
from server.storage import audit
from server.trust.signed_text import opened, sign
from server.trust.tls import secret_hash
from server.web.pages.handover import GOOD_FOR_US, PURPOSE, STATE_COOKIE, Voucher
from server.web.pages.sign_in import local_path
from tests.storybook.fixture import MASTER, STANDBY, status
from tests.unit.ledger import START_US, HandClock, Ledger
from tests.unit.web_desk import DeskSite
from tests.unit.web_door import PHC, Door, cookie_of, new_site, open_door


class FormerSite(DeskSite):
    """The node that has just given office away: it reads the same rows, and is master no more."""

    def status(self) -> Status:
        """A standby that knows the new master."""
        return status(node=STANDBY, name="south", role=Role.STANDBY, state=State.IN_SYNC, master=MASTER)

    @property
    def in_office(self) -> bool:
        """No more."""
        return False


@asynccontextmanager
async def swapped(directory: Path) -> AsyncIterator[tuple[Door, Door, Ledger]]:
    """The former master, the new one, and their rows; root is an administrator."""
    ledger, clock, roster = Ledger(), HandClock(), {}
    for name in ("former", "new"):
        (directory / name).mkdir()
    former, new = new_site(ledger, directory / "former", clock, FormerSite), new_site(ledger, directory / "new", clock)
    async with (
        open_door(ledger, directory / "former", {"root": "administrator"}, former) as left,
        open_door(ledger, directory / "new", {}, new) as entered,
    ):
        for node, door in ((STANDBY, left), (MASTER, entered)):
            port = door.client.server.port
            roster[node] = NodeRow(
                id=node, name=node[:5], address="127.0.0.1", web_port=port or 0, cluster_port=1, enrolled_at_us=START_US
            )
        for row in roster.values():
            ledger.do(nodes.put(row, SYSTEM, START_US))
        former.roster = new.roster = roster
        yield left, entered, ledger


async def follow(door: Door, address: str, **cookies: str) -> ClientResponse:
    """What a browser does with a redirect to this node: a cookie for each name."""
    text = "; ".join(f"{name}={value}" for name, value in cookies.items())
    path = urlsplit(address)._replace(scheme="", netloc="").geturl()
    return await door.client.get(path, headers={"Cookie": text, "Accept": "text/html"}, allow_redirects=False)


def signed_in(ledger: Ledger, cookie: str = "old") -> None:
    """A session of root from before the swap."""
    change = sessions.create("root", PHC, secret_hash(cookie), Principal("root", "", "192.0.2.1"), START_US, "browser")
    ledger.do(change)


async def test_a_browser_follows_to_the_new_master(tmp_path: Path) -> None:
    """SKY-13: three redirects and no password; the session before is over, the new one ends when that would have."""
    async with swapped(tmp_path) as (left, entered, ledger):
        signed_in(ledger)
        mine = {"__Host-understudy": "old"}
        page = await (await follow(left, "/swap", **mine)).text()
        begun = await follow(entered, "/handover/begin?from=" + STANDBY + "&next=/swap")
        assert f"/handover/begin?from={STANDBY}" in page
        state = begun.cookies[STATE_COOKIE].value
        given = await follow(left, begun.headers["Location"], **mine)
        assert given.headers["Location"].startswith(str(entered.client.make_url("/handover/take?code=")))
        taken = await follow(entered, given.headers["Location"], **{STATE_COOKIE: state})
        assert (taken.status, taken.headers["Location"]) == (303, "/swap")
        cookie = cookie_of(taken)
        assert cookie not in ("", "old")
        assert (await entered.ask("GET", "/api/v1/jobs", cookie=cookie)).status == 200
        assert (await entered.ask("GET", "/api/v1/jobs", cookie="old")).status == 401
        lines = msgspec.json.decode(await (await entered.ask("GET", "/api/v1/sessions", cookie=cookie)).read())
        assert [(line["user"], line["expires_at_us"], line["own"]) for line in lines] == [
            ("root", START_US + 12 * HOUR_US, True)
        ]
        assert "sessions.hand_over" in [entry.action for entry in audit.page(ledger.connection)]
        again = await follow(entered, given.headers["Location"], **{STATE_COOKIE: state})
        assert (again.status, cookie_of(again)) == (401, "")


async def test_only_the_browser_that_began_gets_in(tmp_path: Path) -> None:
    """A code is worth nothing without the new master's cookie, late, changed, for another node or another purpose."""
    async with swapped(tmp_path) as (left, entered, ledger):
        signed_in(ledger)
        begun = await follow(entered, "/handover/begin?from=" + STANDBY)
        state = begun.cookies[STATE_COOKIE].value
        given = await follow(left, begun.headers["Location"], **{"__Host-understudy": "old"})
        code = parse_qs(urlsplit(given.headers["Location"]).query)["code"][0]
        key = entered.site.seal_key
        voucher = opened(key, PURPOSE, code, Voucher)
        assert voucher is not None
        other = sign(key, PURPOSE, msgspec.structs.replace(voucher, to=STANDBY))
        purpose, stranger = sign(key, "second factor", voucher), sign(b"x" * 32, PURPOSE, voucher)
        for text, kept in (
            *((code, ""), (code, "another"), (code[:-2] + "AA", state), (other, state), (purpose, state)),
            *((stranger, state), ("", state), ("a.b", state), ("ä.b", state), (code.partition(".")[0], state)),
        ):
            refused = await follow(entered, f"/handover/take?code={text}", **{STATE_COOKIE: kept})
            assert (refused.status, cookie_of(refused)) == (401, ""), text
        entered.clock.now_us += GOOD_FOR_US + 1
        late = await follow(entered, f"/handover/take?code={code}", **{STATE_COOKIE: state})
        assert late.status == 401


async def test_who_is_not_signed_in_goes_to_the_sign_in_page(tmp_path: Path) -> None:
    """The former master vouches for nobody without a session there, and sends nobody to a stranger."""
    async with swapped(tmp_path) as (left, entered, _):
        begun = await follow(entered, f"/handover/begin?from={STANDBY}&next=/swap")
        sent = await follow(left, begun.headers["Location"])
        assert sent.headers["Location"] == str(entered.client.make_url("/login")) + "?next=%2Fswap"
        stranger = await follow(left, "/handover/give?to=" + "e" * 32)
        assert stranger.headers["Location"] == "/"
        nowhere = await follow(entered, "/handover/begin?from=" + "e" * 32 + "&next=//evil.example")
        assert nowhere.headers["Location"] == "/login?next=%2F"


async def test_nothing_is_handed_over_without_tls(tmp_path: Path) -> None:
    """Behind a proxy the way of a code is not known: one signs in again."""
    async with open_door(Ledger(), tmp_path, {}) as door:
        door.site.roster = {
            STANDBY: NodeRow(id=STANDBY, name="s", address="a", web_port=1, cluster_port=1, enrolled_at_us=1)
        }
        begun = await follow(door, f"/handover/begin?from={STANDBY}")
        assert begun.headers["Location"].startswith("/login")


def test_a_session_that_nobody_uses_ends() -> None:
    """The idle time counts from the last use, the absolute time from the sign-in; both are settings."""
    ledger = Ledger()
    ledger.do(users.create("root", PHC, "administrator", SYSTEM, START_US))
    signed_in(ledger, "old")
    hashed = secret_hash("old")

    def is_in(after_us: int) -> bool:
        return sessions.authenticate(ledger.connection, hashed, START_US + after_us, "") is not None

    assert is_in(4 * HOUR_US - 1)
    assert not is_in(4 * HOUR_US)
    for hours in (3, 6, 9):
        assert ledger.do(sessions.note_seen({hashed: START_US + hours * HOUR_US})) == 1
        assert ledger.do(sessions.note_seen({hashed: START_US + hours * HOUR_US + 9 * MINUTE_US})) == 0
    assert is_in(12 * HOUR_US - 1)
    assert not is_in(12 * HOUR_US)
    ledger.do(settings.put("session_idle_minutes", "5", SYSTEM, START_US))
    assert not is_in(10 * HOUR_US)
    with pytest.raises(Unauthenticated):
        ledger.do(sessions.hand_over(hashed, "new", Principal("", ""), START_US + 10 * HOUR_US, ""))


async def test_a_page_that_refreshes_itself_keeps_no_session_alive(tmp_path: Path) -> None:
    """Only what a person asks for counts as use."""
    ledger = Ledger()
    async with open_door(ledger, tmp_path, {"root": "administrator"}) as door:
        signed_in(ledger)
        door.clock.now_us += 2 * HOUR_US
        headers = {"Cookie": "__Host-understudy=old", "X-Live": "1"}
        assert (await door.client.get("/api/v1/jobs", headers=headers)).status == 200
        await door.site.door.sweep(door.site.rows, door.clock.now_us)
        assert ledger.count("sessions", "seen_at_us IS NOT NULL") == 0
        await door.ask("GET", "/api/v1/jobs", cookie="old")
        await door.site.door.sweep(door.site.rows, door.clock.now_us)
        assert ledger.count("sessions", f"seen_at_us = {START_US + 2 * HOUR_US}") == 1


@pytest.mark.parametrize("text", ["//evil", "/\\\\evil", "/\t/evil", "https://evil", "", "/a\\b", "/\r\nSet-Cookie: x"])
def test_no_address_leads_away(text: str) -> None:
    """What comes after signing in is a path of this node."""
    assert local_path(text) == "/"
    assert local_path("/jobs?x=1") == "/jobs?x=1"
