"""Home: is the pair well, what runs, what waits, and what is next. On a standby, its own page instead."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import ClassVar

from aiohttp import web

from replication.core.types import Status
from server.core.model import DAY_US, NodeRow, Swap
from server.site import Site
from server.storage import nodes, overview, runs, swaps
from server.storage.overview import Counts, Upcoming
from server.storage.runs import RunLine
from server.web.frame import Frame
from server.web.pages import serve, standby
from server.web.pages.flow import FLOW
from server.web.pages.pair import Flow, Pair, page_pair
from server.web.session import principal

SWAP_DUE_US = 61 * DAY_US
"""BEY-2: two months between swaps, as the longest two months are long."""
SHOWN = 5


@dataclass(frozen=True, slots=True)
class LastSwap:
    """The latest finished swap and when the next is due."""

    number: int
    ended_us: int
    sentence: str
    due_us: int


@dataclass(frozen=True, slots=True)
class HomePage:
    """`counts` counts all; the tuples hold the first few. `agents_active` are connected now."""

    template: ClassVar[str] = "pages/home_show.html"
    frame: Frame
    pair: Pair
    counts: Counts
    running: tuple[RunLine, ...]
    failed: tuple[RunLine, ...]
    waiting: tuple[RunLine, ...]
    upcoming: tuple[Upcoming, ...]
    agents_active: int
    last_swap: LastSwap | None
    swap_running: bool = False


@dataclass(frozen=True, slots=True)
class HomeRows:
    """What Home reads."""

    counts: Counts
    running: list[RunLine]
    failed: list[RunLine]
    waiting: list[RunLine]
    upcoming: list[Upcoming]
    last: Swap | None
    open: Swap | None
    nodes: list[NodeRow]


def rows(connection: sqlite3.Connection, now_us: int) -> HomeRows:
    """Read Home."""
    since_us = now_us - DAY_US
    return HomeRows(
        overview.counts(connection, since_us),
        runs.page(connection, state="running", limit=SHOWN),
        overview.failed_since(connection, since_us, SHOWN),
        runs.page(connection, state="waiting", limit=SHOWN),
        overview.upcoming(connection, now_us, now_us + 7 * DAY_US, SHOWN, each=1),
        swaps.newest(connection),
        swaps.open_swap(connection),
        nodes.page(connection),
    )


def page_from(frame: Frame, status: Status, flow: Flow, found: HomeRows, agents_active: int) -> HomePage:
    """Put Home together."""
    names = {node.id: node.name for node in found.nodes}
    web_addresses = {node.id: web_address(node) for node in found.nodes}
    return HomePage(
        frame=frame,
        pair=page_pair(status, flow, names, frame.now_us, web_addresses),
        counts=found.counts,
        running=tuple(found.running),
        failed=tuple(found.failed),
        waiting=tuple(found.waiting),
        upcoming=tuple(found.upcoming),
        agents_active=agents_active,
        last_swap=_last(found.last, names) if found.last else None,
        swap_running=found.open is not None,
    )


def web_address(node: NodeRow) -> str:
    """Where a browser finds a node."""
    host = f"[{node.address}]" if ":" in node.address else node.address
    return f"https://{host}:{node.web_port}"


def _last(swap: Swap, names: dict[str, str]) -> LastSwap:
    ended_us = swap.ended_at_us or swap.requested_at_us
    new, old = (names.get(node, node[:8]) for node in (swap.to_node, swap.from_node))
    return LastSwap(swap.id, ended_us, f"{new} took over from {old}", ended_us + SWAP_DUE_US)


async def show(request: web.Request) -> web.StreamResponse:
    """`GET /`: Home in office, else the node's own page, which needs no sign-in."""
    site = serve.site(request)
    if not site.in_office:
        return await standby.show(request)
    return await _home(request, site)


async def _home(request: web.Request, site: Site) -> web.StreamResponse:
    if principal(request) is None:
        raise web.HTTPSeeOther("/login")
    now_us = site.clock.utc_us()
    frame, found = await serve.load(request, "Home", lambda connection: rows(connection, now_us))
    status = site.status()
    assert status is not None, "a node in office has a status"
    return serve.html(page_from(frame, status, request.app[FLOW].flow(), found, site.agents_active()))


ROUTES = (serve.get("/", show, signed_in=False),)
