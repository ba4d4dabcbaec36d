"""Maintenance: the phase and what it means, who still runs and until when, and what each session did (UIP-6, CRY-3)."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import quote

from aiohttp import web

from server.actions import maintenance as actions
from server.actions import missed as missed_actions
from server.core.access import may
from server.core.maintenance import (
    AGENT,
    CRYOSPARC,
    HOST,
    TENANT,
    UIPATH,
    Phase,
    Policy,
    Running,
    Session,
    Submissions,
    Wish,
    tenant_of,
)
from server.errors import Invalid
from server.storage import maintenance as rows
from server.storage import maintenance_states
from server.storage.maintenance_states import Record, State
from server.web.api.maintenance import aware, former_agents
from server.web.frame import Frame
from server.web.pages import serve
from server.web.session import require_principal

SESSIONS = 10
LISTED = 100

WAYS = {
    "on": Wish(phase=Phase.DRAINING, policy=CRYOSPARC, keeps=True),
    "draining": Wish(phase=Phase.DRAINING, policy=UIPATH),
    "suspended": Wish(phase=Phase.SUSPENDED, policy=UIPATH),
    "force": Wish(phase=Phase.SUSPENDED, policy=UIPATH, force=True),
    "kill": Wish(phase=Phase.SUSPENDED, policy=UIPATH, kill_runs=True),
}
"""What the buttons ask for."""

MEANINGS = {
    "runs finish": "what runs goes on",
    "runs stop": "what runs is asked to stop",
    "runs kill": "what runs is killed",
    "submissions queue": "what comes waits",
    "submissions reject": "what comes is refused",
    "pages notice": "the pages stay open",
    "pages closed": "the pages are for administrators alone",
}
"""The log's short words for what a policy does (storage/maintenance.py), as people read them."""


@dataclass(frozen=True, slots=True)
class MaintenancePage:
    """`records` are the latest sessions, the newest first; () for who may not read the log. `others`: open ones of
    single agents and tenants."""

    template: ClassVar[str] = "pages/maintenance_show.html"
    frame: Frame
    state: State
    records: tuple[Record, ...]
    others: tuple[Session, ...] = ()

    @property
    def tenant(self) -> str:
        """Whose it is, "" for everything; to its own people it is simply theirs."""
        return "" if self.frame.tenant else tenant_of(self.state.scope)

    @property
    def is_on(self) -> bool:
        """Whether a session is open."""
        return self.state.phase is not Phase.NONE

    @property
    def is_suspended(self) -> bool:
        """Whether it is Suspended."""
        return self.state.phase is Phase.SUSPENDED

    @property
    def refuses(self) -> bool:
        """Whether new work is refused now: nothing can be run from the ledger."""
        session = self.state.session
        return self.is_suspended or (self.is_on and session is not None and session.submissions is Submissions.REJECT)

    def meaning(self, policy: str) -> str:
        """What a policy of the log does."""
        return ", ".join(MEANINGS.get(part, part) for part in policy.split(", "))


async def show(request: web.Request) -> web.Response:
    """`GET /maintenance`: a person of a tenant sees that tenant's, unless everything is in maintenance."""
    by = require_principal(request)
    return await _show(request, TENANT + by.tenant if by.tenant else HOST)


async def show_tenant(request: web.Request) -> web.Response:
    """`GET /maintenance/tenants/{tenant}`: one tenant's, for people of the host."""
    return await _show(request, TENANT + request.match_info["tenant"])


async def _show(request: web.Request, scope: str) -> web.Response:
    by = require_principal(request)
    reads, former = may(by, "maintenance.read"), former_agents(serve.site(request))

    def query(connection: sqlite3.Connection) -> tuple[State, tuple[Record, ...], tuple[Session, ...]]:
        place = actions.find_place(connection, scope)
        session = rows.concerning(connection, by.tenant)
        state = maintenance_states.read(connection, (session.scope, "") if session and by.tenant else place)
        records = maintenance_states.records(connection, scope, None, SESSIONS, LISTED) if reads else []
        others = [one for one in rows.every_open(connection) if one.scope not in (HOST, scope)] if reads else []
        return aware(former, connection, state), tuple(records), tuple(others)

    frame, found = await serve.load(request, "Maintenance", query)
    return serve.html(MaintenancePage(frame, *found))


async def start(request: web.Request) -> web.Response:
    """`POST /maintenance/start`: `way` is one of `WAYS`."""
    fields = await serve.form(request)
    wish = WAYS.get(fields.get("way", ""))
    if wish is None:
        raise Invalid("Choose how the maintenance begins.", field="way")
    asked = Wish(
        phase=wish.phase,
        policy=wish.policy,
        force=wish.force,
        kill_runs=wish.kill_runs,
        keeps=wish.keeps,
        reason=fields.get("reason", ""),
    )
    scope = _scope(request, fields)
    await serve.write(request, lambda by, now_us: actions.start(asked, scope, by, now_us))
    here = _path(request, scope)
    return serve.back(here, "maintenance-on")


async def end(request: web.Request) -> web.Response:
    """`POST /maintenance/end`."""
    fields = await serve.form(request)
    scope, reason = _scope(request, fields), fields.get("reason", "")
    await serve.write(request, lambda by, now_us: actions.end(scope, by, now_us, reason))
    here = _path(request, scope)
    return serve.back(here, "maintenance-off")


async def of_agent(request: web.Request) -> web.Response:
    """`POST /agents/{name}/maintenance`: `way` is wait (what runs there ends by itself), kill, or off (UIP-10)."""
    name, fields = request.match_info["name"], await serve.form(request)
    scope, way, reason = AGENT + name, fields.get("way", ""), fields.get("reason", "")
    if way == "off":
        await serve.write(request, lambda by, now_us: actions.end(scope, by, now_us, reason))
        return serve.back(f"/agents/{name}", "agent-undrain")
    if way not in ("wait", "kill"):
        raise Invalid("Choose what becomes of the runs: wait, or kill.", field="way")
    policy = Policy(Running.KILL if way == "kill" else Running.FINISH)
    wish = Wish(phase=Phase.DRAINING, policy=policy, reason=reason)
    await serve.write(request, lambda by, now_us: actions.start(wish, scope, by, now_us))
    return serve.back(f"/agents/{name}", "agent-maintenance")


async def run_missed(request: web.Request) -> web.Response:
    """`POST /maintenance/missed/{id}/run`."""
    number = int(request.match_info["id"])
    await serve.write(request, lambda by, now_us: missed_actions.run(number, by, now_us))
    return serve.back("/maintenance", "missed-run")


async def dismiss_missed(request: web.Request) -> web.Response:
    """`POST /maintenance/missed/{id}/dismiss`."""
    number = int(request.match_info["id"])
    await serve.write(request, lambda by, now_us: missed_actions.dismiss(number, by, now_us))
    return serve.back("/maintenance", "missed-dismissed")


def _scope(request: web.Request, fields: Mapping[str, str]) -> str:
    """What is meant: for people of a tenant that one, for those of the host what the form says."""
    by = require_principal(request)
    return TENANT + by.tenant if by.tenant else fields.get("scope", HOST)


def _path(request: web.Request, scope: str) -> str:
    named = tenant_of(scope)
    return f"/maintenance/tenants/{quote(named)}" if named and not require_principal(request).tenant else "/maintenance"


ROUTES = (
    serve.get("/maintenance", show),
    serve.get("/maintenance/tenants/{tenant}", show_tenant),
    serve.post("/maintenance/start", start),
    serve.post("/maintenance/end", end),
    serve.post("/agents/{name}/maintenance", of_agent),
    serve.post(r"/maintenance/missed/{id:\d+}/run", run_missed),
    serve.post(r"/maintenance/missed/{id:\d+}/dismiss", dismiss_missed),
)
