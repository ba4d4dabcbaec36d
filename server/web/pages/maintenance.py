"""Maintenance: the phase and what it means, who still runs and until when, and what each session did (UIP-6, CRY-3)."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import ClassVar

from aiohttp import web

from server.actions import maintenance as actions
from server.actions import missed as missed_actions
from server.core.access import may
from server.core.maintenance import AGENT, CRYOSPARC, HOST, TENANT, UIPATH, Phase, Policy, Running, Submissions, Wish
from server.errors import Invalid
from server.storage import maintenance as rows
from server.storage import maintenance_states
from server.storage.maintenance_states import Record, State
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


@dataclass(frozen=True, slots=True)
class MaintenancePage:
    """`records` are the latest sessions, the newest first; () for who may not read the log."""

    template: ClassVar[str] = "pages/maintenance_show.html"
    frame: Frame
    state: State
    records: tuple[Record, ...]

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


async def show(request: web.Request) -> web.Response:
    """`GET /maintenance`: a person of a tenant sees that tenant's, unless everything is in maintenance."""
    by = require_principal(request)
    scope = TENANT + by.tenant if by.tenant else HOST
    reads = may(by, "maintenance.read")

    def query(connection: sqlite3.Connection) -> tuple[State, tuple[Record, ...]]:
        session = rows.concerning(connection, by.tenant)
        state = maintenance_states.read(connection, (session.scope if session is not None else scope, ""))
        records = maintenance_states.records(connection, scope, None, SESSIONS, LISTED) if reads else []
        return state, tuple(records)

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
    await serve.write(request, lambda by, now_us: actions.start(asked, _scope(request), by, now_us))
    return serve.back("/maintenance", "maintenance-on")


async def end(request: web.Request) -> web.Response:
    """`POST /maintenance/end`."""
    reason = (await serve.form(request)).get("reason", "")
    await serve.write(request, lambda by, now_us: actions.end(_scope(request), by, now_us, reason))
    return serve.back("/maintenance", "maintenance-off")


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


def _scope(request: web.Request) -> str:
    by = require_principal(request)
    return TENANT + by.tenant if by.tenant else HOST


ROUTES = (
    serve.get("/maintenance", show),
    serve.post("/maintenance/start", start),
    serve.post("/maintenance/end", end),
    serve.post("/agents/{name}/maintenance", of_agent),
    serve.post(r"/maintenance/missed/{id:\d+}/run", run_missed),
    serve.post(r"/maintenance/missed/{id:\d+}/dismiss", dismiss_missed),
)
