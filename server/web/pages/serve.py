"""From a request to a page: who asks, the frame, one read of the rows, and the answer. Shared by all pages."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote, urlencode

from aiohttp import web

from server.actions.change import Change, for_tenant
from server.core.gates import QUEUE_LOCKED, SCHEDULER_STOPPED, SWAP
from server.core.maintenance import Session, meaning
from server.core.model import Gate, Principal
from server.ports.numbers import is_number
from server.site import SEQUENCE, Site, site_of
from server.storage import gates, maintenance
from server.web import told
from server.web.frame import Frame, GateLine
from server.web.listings import LISTINGS
from server.web.render import Page, render
from server.web.session import principal

T = TypeVar("T")
P = TypeVar("P", bound=Page)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

NO_FILTERS = frozenset({"after", "done", "confirm"})
"""Words of an address that do not say which rows are meant."""

GATES = {
    SCHEDULER_STOPPED: ("Scheduler stopped", "/scheduler", "circle-stop"),
    QUEUE_LOCKED: ("All job queues locked", "/agents", "lock"),
    SWAP: ("Role swap in progress", "/swap", "arrow-left-right"),
}

NOTICES = {
    "password-changed": "Your password is changed. Your other sessions are over.",
    "locked": "All agent job queues are locked. Each row shows Locked once its agent has acknowledged it.",
    "unlocked": "All agent job queues are unlocked. Waiting runs start in order.",
    "agent-locked": "The queue is locked. It shows Locked once the agent has acknowledged it.",
    "agent-unlocked": "The queue is unlocked.",
    "stopped": "The scheduler is stopped. What falls due now is recorded as missed.",
    "started": "The scheduler runs.",
    "job-saved": "The job is saved.",
    "job-deleted": "The job is deleted. Its runs stay in the history.",
    "job-held": "The job is held: its due times are recorded as missed.",
    "workflow-saved": "The workflow is saved as a new version. Runs that have begun go on with theirs.",
    "workflow-deleted": "The workflow is deleted. Its versions and runs stay.",
    "workflow-held": "The workflow is held: no run of it begins.",
    "workflow-released": "The workflow is released.",
    "workflow-back": "The text of the old version is the current one again, as a new version.",
    "notification-saved": "The list is saved. Send it a test.",
    "notification-test": "The test is on its way: the log below says what became of it.",
    "notification-deleted": "The list is deleted.",
    "smtp-saved": "The mail server is saved. Send a test to a list with an e-mail address.",
    "hosts-saved": "The allowed hosts are saved. They hold from the next message and the next sign-in on.",
    "monitor-saved": "The monitor is saved. It is in force once its agent has confirmed it.",
    "monitor-deleted": "The monitor is deleted. The runs that it started stay.",
    "monitor-enabled": "The monitor is enabled.",
    "monitor-disabled": "The monitor is disabled: its agent stops watching.",
    "event-fired": "The event is recorded. What it started is below.",
    "variable-set": "The variable is set. Agents get it with the next version of their orders, at once if connected.",
    "shared-set": "It is set. Agents get it with the next version of their orders, at once if connected.",
    "resource-set": "It is set. What waits for it is looked at again.",
    "shared-deleted": "It is deleted.",
    "variable-deleted": "The variable is deleted.",
    "job-released": "The job is released.",
    "run-suspend": "The request is recorded. The run stops at its next checkpoint.",
    "run-cancel": "The request is recorded. The agent is told, now or when it is back.",
    "maintenance-on": "Maintenance is on. Agents are told now; each row below shows what still runs.",
    "maintenance-off": "Maintenance is off. What waits starts in order.",
    "missed-run": "It is submitted.",
    "missed-dismissed": "Dismissed.",
    "aside-retried": "It is tried again. What fails again is listed again.",
    "aside-dismissed": "Dismissed.",
    "tenant-saved": "The tenant is saved.",
    "tenant-agent": "It is saved. Whoever it is not for does not see it any more.",
    "users-out": "Everybody else is signed out.",
    "user-saved": "The user is saved.",
    "role-saved": "The role is saved. It holds at the next request of whoever has it.",
    "role-deleted": "The role is deleted.",
    "second-factor-removed": "The second factor is removed. You sign in with the password alone.",
    "second-factor-rule": "It holds at the next request of whoever has the role.",
    "passkey-renamed": "The passkey has another name.",
    "passkey-removed": "The passkey is removed. Take it out of your device, too.",
    "sign-in-saved": "It is saved. It holds for the next sign-in.",
    "token-revoked": "The token is revoked.",
    "session-ended": "The session is ended.",
    "swap-abort": "Abort is requested. The master undoes the steps that were done.",
    "acknowledged": "Acknowledged.",
    "audit-verified": "Every entry was checked. What was found is below.",
    "banner-saved": "The text is saved. It is shown while it is switched on and within its times.",
    "banner-on": "It is switched on.",
    "banner-off": "It is switched off.",
    "window-planned": "The window is planned. It begins and ends by itself.",
    "window-removed": "The window is removed.",
    "agent-maintenance": "It is in maintenance. It takes no new runs once it has heard of it.",
    "agent-drain": "It is to be drained. It takes no new runs once it has heard of it.",
    "agent-undrain": "It takes runs again once it has heard of it.",
    "request-withdrawn": "The request is withdrawn.",
    "agent-stop": "The setting is saved. It holds once the agent has heard of it.",
    "agent-reboot": "The setting is saved. It holds once the agent has kept it.",
    "agent-dead": "The machine is declared dead. Give its jobs to another agent, and look at what is unknown.",
    "unknown-dismissed": "It is let be: nobody runs it again.",
    "agent-accepted": "The agent is accepted as it is.",
    "seat-given": "That node has the seat: it is counted on, the others are observers.",
    "node-removed": "The node is removed from this cluster. Its name is free.",
    "agent-capacity": "The capacity is set.",
    "calendar-saved": "The calendar is saved. Jobs that use it are planned again by its days.",
    "calendar-imported": "The days of the file are in the calendar. Jobs that use it are planned again.",
    "calendar-deleted": "The calendar is deleted.",
    "group-saved": "The group is made.",
    "group-deployed": "The members are replaced. Each agent shows a confirmed deployment once it has kept it.",
    "group-deleted": "The group is deleted.",
    "agent-removed": "The agent is removed.",
    "fork-adopted": "The run is on record in Server History, with its output. It was not started.",
    "exception-put": "That occurrence differs. Below is what its agent knows of it.",
    "exception-removed": "The occurrence is due at its own time again.",
    "history-adopted": "It is in Job History now, with its output and times. It was not started by that.",
    "rotation-begun": "The next authority is introduced. Everything else follows by itself.",
    "rotation-cancelled": "The exchange is given up.",
    "rotation-advanced": "The exchange goes on without those that were away.",
    "fork-deleted": "The fork is deleted. The audit history says by whom.",
}
"""What the page that a form leads to says, by the word in its address; other words say nothing."""


@dataclass(frozen=True, slots=True)
class Route:
    """One route of the pages. Those with `signed_in` send people without a session to the sign-in page."""

    method: str
    path: str
    handler: Handler
    signed_in: bool = True


def get(path: str, handler: Handler, signed_in: bool = True) -> Route:
    """A page."""
    return Route("GET", path, handler, signed_in)


def post(path: str, handler: Handler, signed_in: bool = True) -> Route:
    """A form's target: does one thing and leads back to a page with 303."""
    return Route("POST", path, handler, signed_in)


def guarded(route: Route) -> Handler:
    """The handler behind the sign-in page, unless the route does without."""
    if not route.signed_in:
        return route.handler

    async def handler(request: web.Request) -> web.StreamResponse:
        if principal(request) is None and site_of(request).in_office:
            wanted = request.rel_url.path_qs if request.method == "GET" else "/"
            raise web.HTTPSeeOther(f"/login?next={quote(wanted)}")
        return await route.handler(request)

    return handler


def gate_lines(found: list[Gate]) -> tuple[GateLine, ...]:
    """Host-wide gates for the top of the page."""
    return tuple(
        GateLine(*GATES[gate.kind], gate.set_by, gate.set_at_us, gate.reason)
        for gate in found
        if gate.agent_id == "" and gate.kind in GATES
    )


def maintenance_line(session: Session | None) -> tuple[GateLine, ...]:
    """The maintenance that concerns who looks, with what it means for them (CRY-3)."""
    if session is None:
        return ()
    word = f"Maintenance ({session.phase.capitalize()})"
    means = meaning(session.phase, session.policy)
    line = GateLine(word, "/maintenance", "settings", session.started_by, session.started_at_us, session.reason, means)
    return (line,)


def frame_of(
    request: web.Request,
    title: str,
    found: list[Gate] | None = None,
    confirmed: bool = True,
    said: told.Told = told.NOTHING,
    session: Session | None = None,
) -> Frame:
    """The frame of this request; `said` is what people are told on it, `session` the maintenance that is on."""
    site, by = site_of(request), principal(request)
    status, listing = site.status(), LISTINGS.get(request.path)
    return Frame(
        title=title,
        path=_section(request.path),
        now_us=site.clock.utc_us(),
        cluster=status.cluster if status else "",
        node=status.name if status else "",
        role=str(status.role) if status else "none",
        user=by.name if by else "",
        user_role=by.role if by else "",
        tenant=by.tenant if by else "",
        granted=by.granted if by else None,
        gates=(*maintenance_line(session), *gate_lines(found or [])),
        waiting_for=status.waiting_for if status else "",
        unconfirmed=not confirmed,
        notice=NOTICES.get(request.query.get("done", ""), ""),
        confirm=request.query.get("confirm", ""),
        master_address="" if site.in_office else site.master_url(),
        exports=request.path if listing is not None else "",
        exports_word=listing.word if listing is not None else "",
        filters=urlencode([(name, value) for name, value in request.query.items() if name not in NO_FILTERS and value]),
        banners=said.banners,
        login_message=said.login_message,
    )


async def bare_frame(request: web.Request, title: str) -> Frame:
    """The frame of a page that reads no rows of its own: sign-in, an error, a node that is not in office."""
    said = await told.look(request)
    return frame_of(request, title, said=said, session=said.maintenance)


def _section(path: str) -> str:
    return "/" + path.lstrip("/").partition("/")[0]


async def load(request: web.Request, title: str, query: Callable[[sqlite3.Connection], T]) -> tuple[Frame, T]:
    """The frame and what `query` reads, at one sequence; not yet confirmed rows are shown and marked as such."""
    said = told.reader(request)
    site = site_of(request)
    site.store()
    whose = tenant(request)

    def read(rows: sqlite3.Connection) -> tuple[list[Gate], told.Told, Session | None, T]:
        return gates.host_wide(rows), said(rows), maintenance.concerning(rows, whose), query(rows)

    (found, heard, session, value), sequence, confirmed = await site.read(read, whose)
    request[SEQUENCE] = sequence
    return frame_of(request, title, found, confirmed, heard, session), value


def tenant(request: web.Request) -> str:
    """Whose rows the person who asks may see; "" for the host's people and for nobody."""
    by = principal(request)
    return by.tenant if by is not None else ""


def html(page: Page, status: int = 200) -> web.Response:
    """The page as an answer."""
    return web.Response(text=render(page), status=status, content_type="text/html")


async def write(request: web.Request, action: Callable[[Principal, int], Change[T]]) -> T:
    """Carry out an action as the person who asks; returns when it is committed."""
    site = site_of(request)
    by = principal(request)
    assert by is not None, "a guarded route has a principal"
    change = for_tenant(by.tenant, action(by, site.clock.utc_us()))
    value, sequence = await site.store().write(change)
    request[SEQUENCE] = sequence
    return value


def back(path: str, done: str = "") -> web.Response:
    """303 to a page, with the word of a notice."""
    where = f"{path}{'&' if '?' in path else '?'}done={done}" if done else path
    return web.Response(status=303, headers={"Location": where})


async def form(request: web.Request) -> dict[str, str]:
    """The text fields of a form; surrounding blanks are cut, files ignored."""
    fields = await request.post()
    return {name: value.strip() for name, value in fields.items() if isinstance(value, str)}


def before(request: web.Request) -> int | None:
    """The key to page on from, `after=` in the address; anything but a number begins at the top."""
    text = request.query.get("after", "")
    return int(text) if is_number(text) else None


def site(request: web.Request) -> Site:
    """The site of this request."""
    return site_of(request)
