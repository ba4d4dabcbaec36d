"""Role Swap: the verdict at any time, the steps as they happen with their proofs, abort, report and history."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from aiohttp import web

from server.actions import swap as actions
from server.core.model import NodeRow, Step, Swap
from server.core.swap_plan import HAND_OFF, LOCK, SwapCheck
from server.errors import NotFound, UnderstudyError
from server.storage import agents, nodes, settings, swaps
from server.web.frame import Frame
from server.web.pages import handover, serve, standby
from server.web.pages.home import SWAP_DUE_US
from server.web.session import principal

TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class SwapView:
    """A swap with the names of its nodes."""

    row: Swap
    from_name: str
    to_name: str

    @property
    def line_before(self) -> str:
        """The name of the step before which the point of no return is drawn, or empty."""
        return next((step.name for step in self.row.steps if step.name == HAND_OFF), "")

    @property
    def can_abort(self) -> bool:
        """Whether there is still a way back."""
        passed = [step for step in self.row.steps if step.name == HAND_OFF and step.state != "waiting"]
        return self.row.state == "running" and not passed and not self.row.abort_requested_by

    def whole_s(self, now_us: int) -> float:
        """How long the swap took, or has taken so far."""
        return max(0, (self.row.ended_at_us or now_us) - self.row.requested_at_us) / 1e6

    def took_s(self, step: Step, now_us: int) -> float | None:
        """How long a step took, or has taken so far."""
        if step.started_at_us is None:
            return None
        return max(0, (step.ended_at_us or now_us) - step.started_at_us) / 1e6


@dataclass(frozen=True, slots=True)
class SwapPage:
    """The verdict or the running swap, and all. `check` is None while one runs; else `check_error` may say why.

    `waiting_agents` have not acknowledged the lock that the running swap waits for.
    """

    template: ClassVar[str] = "pages/swap_show.html"
    frame: Frame
    check: SwapCheck | None
    check_error: str
    running: SwapView | None
    target: str
    history: tuple[SwapView, ...]
    due_us: int | None
    waiting_agents: tuple[str, ...] = ()

    @property
    def acceptable(self) -> bool:
        """Not safe, but everything against it may be accepted."""
        return self.check is not None and not self.check.safe and not self.check.refusals


@dataclass(frozen=True, slots=True)
class SwapReportPage:
    """One swap on one printed page."""

    template: ClassVar[str] = "pages/swap_report.html"
    frame: Frame
    swap: SwapView


def view(row: Swap, names: dict[str, str]) -> SwapView:
    """A swap with names."""
    return SwapView(row, *(names.get(node, node[:8]) for node in (row.from_node, row.to_node)))


def page_from(
    frame: Frame,
    rows: list[Swap],
    roster: list[NodeRow],
    own: str,
    check: SwapCheck | None,
    check_error: str,
    waiting: Sequence[str] = (),
) -> SwapPage:
    """Put the page together. `rows` are the newest first; `own` is this node's id."""
    names = {node.id: node.name for node in roster}
    views = [view(row, names) for row in rows]
    running = next((one for one in views if one.row.state == "running"), None)
    done = next((one.row for one in views if one.row.state == "done" and one.row.kind != swaps.TAKEOVER), None)
    target = next((node.name for node in roster if node.id != own), "")
    due_us = (done.ended_at_us or done.requested_at_us) + SWAP_DUE_US if done else None
    return SwapPage(frame, check, check_error, running, target, tuple(views), due_us, tuple(waiting))


async def show(request: web.Request) -> web.Response:
    """`GET /swap`; on the node that has just given office away, the way to the new master."""
    site = serve.site(request)
    if not site.in_office:
        follow = handover.begin_address(request, site.master_url(), "/swap")
        return serve.html(await standby.page(request, follow))
    if principal(request) is None:
        raise web.HTTPSeeOther("/login?next=/swap")
    frame, (rows, roster, waiting) = await serve.load(request, "Role Swap", _rows)
    status = site.status()
    own = status.node if status else ""
    check, error = None, ""
    if not any(row.state == "running" for row in rows):
        try:
            check = await site.guide().check("")
        except UnderstudyError as refused:
            error = str(refused)
    return serve.html(page_from(frame, rows, roster, own, check, error, waiting))


def _rows(connection: sqlite3.Connection) -> tuple[list[Swap], list[NodeRow], list[str]]:
    """The swaps, the roster, and who has not acknowledged while a swap waits for the lock."""
    rows = swaps.page(connection, None, 20)
    steps = [step for row in rows if row.state == "running" for step in row.steps]
    is_locking = any(step.name == LOCK and step.state == "running" for step in steps)
    revision = settings.gate_revision(connection)
    return rows, nodes.page(connection), agents.unacknowledged_names(connection, revision) if is_locking else []


async def show_report(request: web.Request) -> web.Response:
    """`GET /swap/{id}`."""
    number = int(request.match_info["id"])
    frame, (row, roster) = await serve.load(request, f"Swap {number}", lambda c: (swaps.get(c, number), nodes.page(c)))
    if row is None:
        raise NotFound(f"There is no swap {number}. See Role Swap for all of them.")
    return serve.html(SwapReportPage(frame, view(row, {node.id: node.name for node in roster})))


async def start(request: web.Request) -> web.Response:
    """`POST /swap/start`: `accept` in the form accepts what the verdict lists as acceptable."""
    site, fields, by = serve.site(request), await serve.form(request), principal(request)
    assert by is not None, "a guarded route has a principal"
    now_us = site.clock.utc_us()
    change = await site.guide().begin("", TIMEOUT_S, fields.get("accept") == "1", by, now_us)
    await site.store().write(change)
    return serve.back("/swap")


async def abort(request: web.Request) -> web.Response:
    """`POST /swap/abort`. It waits for this node alone."""
    site, by = serve.site(request), principal(request)
    assert by is not None, "a guarded route has a principal"
    reason = (await serve.form(request)).get("reason", "")
    await site.store().write_ungated(actions.request_abort(by, site.clock.utc_us(), reason))
    return serve.back("/swap", "swap-abort")


ROUTES = (
    serve.get("/swap", show, signed_in=False),
    serve.get(r"/swap/{id:\d+}", show_report),
    serve.post("/swap/start", start),
    serve.post("/swap/abort", abort),
)
