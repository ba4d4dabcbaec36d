"""Every route by everybody: who may is not refused, who may not is; what a route asks is declared in one place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from server.actions import users
from server.config import Config
from server.core import access
from server.core.model import SYSTEM, Principal
from server.errors import Invalid
from server.people.passwords import Passwords
from server.web import permissions, routes
from server.web.permissions import DECLARED, Asked
from tests.unit.ledger import START_US, HandClock, Ledger
from tests.unit.role_stage import ALL, WHO, Cast, asked, open_cast
from tests.unit.tenant_stage import PHC
from tests.unit.web_desk import DeskSite


@pytest.fixture(scope="module")
def cast() -> Iterator[Cast]:
    """Everybody and everything; nothing that is asked lasts."""
    with open_cast() as made:
        yield made


def application(directory: Path) -> web.Application:
    return routes.make_app(DeskSite(Config(data=directory), HandClock(), Passwords()))


def test_a_route_without_a_permission_makes_no_application(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A new route is in the table, and so in this matrix, or nothing starts; the table has no route that is gone."""
    there = {
        (route.method, route.resource.canonical) for route in application(tmp_path).router.routes() if route.resource
    }
    assert DECLARED.keys() == there - {one for one in there if one[0] == "HEAD"}
    monkeypatch.delitem(permissions.DECLARED, ("POST", "/api/v1/jobs/{name}/run"))
    with pytest.raises(LookupError, match=r"server/web/permissions\.py"):
        application(tmp_path)


LOCAL_ONLY = {"/api/v1/node/standby", "/api/v1/node/master"}
"""Refused to whoever comes over the network: the role scripts use the local socket."""
BY_A_CODE = "/handover/take"
"""Public, and refuses whoever brings no word of the former master."""
NOT_MORE = "nobody gives more than they have"


@pytest.mark.parametrize("who", WHO)
def test_every_route_by_everybody(cast: Cast, who: str) -> None:
    """Refused is exactly who lacks what the route declares; nobody is sent to the sign-in."""
    by, wrong, passed = WHO[who], [], 0
    for method, route, is_page in ALL:
        declared = asked(method, route)
        status, said = cast.ask("" if by is None else f"us_{who}", method, route, is_page)
        passed += status not in (401, 403)
        if not _is_right(by, declared, route, is_page, status, said) or (status >= 500 and status != 503):
            wrong.append(f"{who}: {method} {route} asks for {declared} and answered {status} {said[-300:]}")
    assert not wrong, "\n".join(wrong)
    assert passed > 20


def _is_right(by: Principal | None, declared: Asked, route: str, is_page: bool, status: int, said: str) -> bool:
    if declared.is_public:
        return status not in (401, 403) or route == BY_A_CODE
    if by is None:
        return said.startswith("/login") if is_page else status == 401
    if not declared.is_met(by):
        return status == 403
    all_ways = all(Asked((way,)).is_met(by) for way in declared.ways)
    return status not in (401, 403) or not all_ways or route in LOCAL_ONLY


def test_who_has_what_is_declared_is_not_refused(cast: Cast) -> None:
    """No action asks for more than its route declares: a token with that scope alone gets through."""
    wrong = []
    for method, route, is_page in ALL:
        declared = asked(method, route)
        if declared.is_public or route in LOCAL_ONLY:
            continue
        answers = [cast.ask(f"us_{'+'.join(way)}", method, route, is_page) for way in declared.ways]
        if all(status == 403 and NOT_MORE not in said for status, said in answers):
            wrong.append(f"{method} {route} declares {declared} and its action refuses that")
    assert not wrong, "\n".join(wrong)


IN_THE_ROUTE = {
    "/api/v1/swap", "/swap/start",  # the guide of swaps, which a node without a pair lacks, comes before its action
    "/api/v1/nodes/{id}/seat", "/api/v1/go-alone", "/api/v1/verify", "/api/v1/sql",  # of the node: no rows, no action
    "/api/v1/certificates/rotate",  # makes the next key before its action
    "/api/v1/agents", "/api/v1/agents/{name}/replace",  # look at this node's certificate before their action
    "/api/v1/forks/{name}", "/replication/forks/{name}/delete",  # there is no fork, and so no action
    "/api/v1/sessions/{id}", r"/users/sessions/{start:[0-9a-f]{16}}/end",  # as little a session
    "/api/v1/second-factor/confirm", "/api/v1/second-factor/remove",  # or a second factor
    "/users/second-factor/confirm", "/users/second-factor/remove",
    "/api/v1/second-factor", "/users/second-factor/begin", "/users/password",  # ask for the password first
    "/api/v1/prove",
    "/api/v1/second-factor/passkeys/begin", "/api/v1/second-factor/passkeys",  # or ask the browser
    "/api/v1/second-factor/passkeys/{id}/remove", r"/users/second-factor/passkeys/{id:\d{1,18}}/remove",
    "/api/v1/logout", "/api/v1/workflows/check", "/tenants/enter",  # ask for what everybody has
}  # fmt: skip
"""Routes whose declaration is all that asks in this test, and why no action behind them did."""


def test_an_action_asks_for_what_its_route_declares(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """No route declares more than its action asks for: behind the guard it asks for one of those permissions again."""
    heard: set[str] = set()
    original = access.may

    def listening(by: Principal, name: str) -> bool:
        heard.add(name)
        return original(by, name)

    monkeypatch.setattr(access, "may", listening)
    wrong = []
    for method, route, is_page in ALL:
        declared = asked(method, route)
        if method == "GET" or declared.is_public or route in LOCAL_ONLY:
            continue
        heard.clear()
        cast.ask("us_administrator", method, route, is_page)
        silent = not heard & {name for way in declared.ways for name in way}
        if silent != (route in IN_THE_ROUTE and method != "GET"):
            wrong.append(f"{method} {route} declares {declared}; its action asked for {sorted(heard) or 'nothing'}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", ["local", "system"])
def test_nobody_is_called_as_the_program_is(name: str) -> None:
    """An account named `local` would be taken for whoever owns the data directory: there is none."""
    with pytest.raises(Invalid, match="program's own name"):
        Ledger().do(users.create(name, PHC, "administrator", SYSTEM, START_US))


@pytest.mark.parametrize("who", WHO)
async def test_the_web_socket_by_everybody(cast: Cast, who: str) -> None:
    """It says how the pair does and which kinds of rows changed, and names none; from another site nobody gets in."""
    headers = {} if WHO[who] is None else {"Authorization": f"Bearer us_{who}"}
    address = f"http://127.0.0.1:{cast.desk.port}/api/v1/events"
    async with ClientSession(headers=headers) as session:
        async with session.ws_connect(address) as socket:
            said = [await socket.receive_json(timeout=30) for _ in range(2)]
        assert [one["type"] for one in said] == ["status", "backlog"]
        assert not {"apple", "zebra", "acme", "bravo"} & set(re.findall(r"[a-z]+", json.dumps(said)))
        answer = await session.get(address, headers={"Origin": "https://elsewhere.example"})
        assert answer.status == 403
