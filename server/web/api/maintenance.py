"""Maintenance, in this API and under the paths that UiPath's clients ask (UIP-1 to UIP-6, CRY-1)."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from server.actions import maintenance
from server.core.gates import TENANTS_PROTOCOL
from server.core.maintenance import CRYOSPARC, HOST, PRESETS, TENANT, Phase, Wish, tenant_of
from server.core.model import SECOND_US
from server.errors import Forbidden, Invalid
from server.ports.numbers import NUMBER_MAX
from server.site import Site
from server.storage import agents, maintenance_states
from server.storage.maintenance_states import Record, State
from server.web.api.endpoint import AFTER, KEY_HEADER, Answer, Call, Endpoint, Number

WORDS = {Phase.NONE: "None", Phase.DRAINING: "Draining", Phase.SUSPENDED: "Suspended"}
"""The phases as UiPath's clients spell them."""


class Begin(msgspec.Struct, frozen=True):
    """`phase`: draining or suspended. `preset`: `uipath` or `cryosparc`. `scope`: "" all, `agent:NAME`, `tenant:NAME`.

    `suspend_when_idle`, `suspend_at_us`: when Draining becomes Suspended by itself; `suspend_kill`: what runs then is
    killed; `end_at_us`: when it ends by itself.
    """

    phase: str
    preset: str = "uipath"
    force: bool = False
    kill_jobs: bool = False
    reason: str = ""
    scope: str = ""
    suspend_at_us: int | None = None
    suspend_when_idle: bool = False
    suspend_kill: bool = False
    end_at_us: int | None = None


class Why(msgspec.Struct, frozen=True):
    """Why, for the log and the audit history, and of what scope."""

    reason: str = ""
    scope: str = ""


class MaintenanceLog(msgspec.Struct, frozen=True):
    """UiPath's: a phase, and since when, in ISO 8601."""

    state: str
    timeStamp: str


class MaintenanceSetting(msgspec.Struct, frozen=True):
    """UiPath's: the present or last session."""

    state: str
    maintenanceLogs: list[MaintenanceLog]
    jobStopsAttempted: int
    jobKillsAttempted: int
    triggersSkipped: int
    systemTriggersSkipped: int


async def show_maintenance(call: Call) -> State:
    """The phase, what it means, who still runs and until when, what was suppressed so far."""
    scope = _scope(call, call.query("scope"))
    former = former_agents(call.site)
    return await call.read(lambda c: aware(former, c, maintenance_states.read(c, maintenance.find_place(c, scope))))


def former_agents(site: Site) -> list[str]:
    """Ids of the connected agents that cannot tell tenants apart: no row says it, they said so in their `Hello`."""
    fleet = site.office.fleet if site.office is not None else None
    links = [fleet.contact(agent_id) for agent_id in fleet.connected()] if fleet is not None else []
    return [link.agent_id for link in links if link is not None and link.hello.protocol < TENANTS_PROTOCOL]


def aware(former: Sequence[str], connection: sqlite3.Connection, state: State) -> State:
    """The state of one tenant with the names of `former` agents: what the master gives waits for them too, no more."""
    if not former or not tenant_of(state.scope) or state.phase is Phase.NONE:
        return state
    return msgspec.structs.replace(state, unaware_agents=sorted(agents.names(connection, former).values()))


async def maintenance_log(call: Call) -> list[Record]:
    """Sessions, newest first: each change, each run that was ended, each execution that was suppressed."""
    scope, limit = _scope(call, call.query("scope")), call.query_number("limit", 20, 1, 100)
    after = call.query_number("after", NUMBER_MAX, 0, NUMBER_MAX)
    return await call.read(lambda c: maintenance_states.records(c, scope, after, limit))


async def maintenance_on(call: Call) -> Answer:
    """Draining: what runs goes on, what is submitted waits. What is on already stays as it is."""
    wish = Wish(phase=Phase.DRAINING, policy=CRYOSPARC, keeps=True, reason=call.body.reason)
    return await call.write(maintenance.start(wish, _scope(call, call.body.scope), call.by, call.now_us))


async def maintenance_off(call: Call) -> Answer:
    """End it; without one nothing changes."""
    scope = _scope(call, call.body.scope)
    return await call.write(maintenance.end(scope, call.by, call.now_us, call.body.reason))


async def start_maintenance(call: Call) -> Answer:
    """Begin a phase, by a preset. 409 names the runs that stand against Suspended."""
    body: Begin = call.body
    policy = PRESETS.get(body.preset)
    if policy is None:
        raise Invalid(f"The preset is {' or '.join(PRESETS)}.", field="preset")
    wish = Wish(
        phase=body.phase.lower(),
        policy=policy,
        force=body.force,
        kill_runs=body.kill_jobs,
        reason=body.reason,
        suspend_at_us=body.suspend_at_us,
        suspend_when_idle=body.suspend_when_idle,
        suspend_kill=body.suspend_kill,
        end_at_us=body.end_at_us,
    )
    return await call.write(maintenance.start(wish, _scope(call, body.scope), call.by, call.now_us))


async def end_maintenance(call: Call) -> Answer:
    """End it; 409 when it is not in maintenance."""
    scope = _scope(call, call.body.scope)
    return await call.write(maintenance.end(scope, call.by, call.now_us, call.body.reason, must_be=True))


async def uipath_start(call: Call) -> web.StreamResponse:
    """UiPath's Start: 204 without a body; 400 says what cannot be asked for together, 409 names the runs."""
    phase = call.query("phase").lower()
    wish = Wish(phase=phase, force=_flag(call, "force"), kill_runs=_flag(call, "killJobs"))
    return await _without_body(call, maintenance.start(wish, _uipath_scope(call), call.by, call.now_us))


async def uipath_end(call: Call) -> web.StreamResponse:
    """UiPath's End: 204 without a body; 409 when it is not in maintenance."""
    return await _without_body(call, maintenance.end(_uipath_scope(call), call.by, call.now_us, must_be=True))


async def uipath_get(call: Call) -> MaintenanceSetting:
    """UiPath's Get: the present or last session, with its log and counts."""
    scope = _uipath_scope(call)
    found = await call.read(lambda c: maintenance_states.records(c, scope, limit=1, listed=0))
    return _setting(found[0] if found else None)


def _setting(found: Record | None) -> MaintenanceSetting:
    if found is None:
        return MaintenanceSetting(WORDS[Phase.NONE], [], 0, 0, 0, 0)
    logs: list[MaintenanceLog] = []
    for row in found.log:
        word = WORDS[Phase(row.phase)]
        if not logs or logs[-1].state != word:
            logs.append(MaintenanceLog(word, _iso(row.at_us)))
    session = found.session
    return MaintenanceSetting(
        WORDS[session.phase],
        logs,
        session.stops_attempted,
        session.kills_attempted,
        found.triggers_skipped,
        found.system_triggers_skipped,
    )


def _iso(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / SECOND_US, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def _without_body(call: Call, change: Any) -> web.StreamResponse:
    await call.write(change, lambda _: None, 204)
    return web.Response(status=204, headers={KEY_HEADER: call.key})


def _flag(call: Call, name: str) -> bool:
    text = call.query(name).lower()
    if text not in ("", "true", "false"):
        raise Invalid(f"{name} is true or false.", field=name)
    return text == "true"


def _uipath_scope(call: Call) -> str:
    """`tenantId` is the name of a tenant; without it everything, and for a person of a tenant that tenant."""
    named = call.query("tenantId")
    return _scope(call, TENANT + named if named else HOST)


def _scope(call: Call, scope: str) -> str:
    """The scope that is meant; people of a tenant have that one alone."""
    if not call.by.tenant:
        return scope
    own = TENANT + call.by.tenant
    if scope in (HOST, own):
        return own
    raise Forbidden("People of a tenant see and change the maintenance of that tenant alone.")


_PATH = "/api/v1/maintenance"
_UIPATH_START = ("phase", "force", "killJobs", "tenantId")
ENDPOINTS = (
    Endpoint("GET", _PATH, show_maintenance, "The state of maintenance", answer=State, query=("scope",)),
    Endpoint(
        "GET",
        f"{_PATH}/log",
        maintenance_log,
        "What each maintenance did",
        answer=list[Record],
        query=("scope", AFTER, Number("limit", 1, 100)),
    ),
    Endpoint("POST", f"{_PATH}/on", maintenance_on, "Maintenance on", body=Why, answer=maintenance.Changed),
    Endpoint("POST", f"{_PATH}/off", maintenance_off, "Maintenance off", body=Why, answer=maintenance.Changed),
    Endpoint("POST", f"{_PATH}/start", start_maintenance, "Begin a phase", body=Begin, answer=maintenance.Changed),
    Endpoint("POST", f"{_PATH}/end", end_maintenance, "End a maintenance", body=Why, answer=maintenance.Changed),
    Endpoint(
        "POST",
        "/api/Maintenance/Start",
        uipath_start,
        "Begin a phase, as UiPath's clients ask",
        status=204,
        query=_UIPATH_START,
    ),
    Endpoint(
        "POST",
        "/api/Maintenance/End",
        uipath_end,
        "End a maintenance, as UiPath's clients ask",
        status=204,
        query=("tenantId",),
    ),
    Endpoint(
        "GET",
        "/api/Maintenance/Get",
        uipath_get,
        "The session, as UiPath's clients ask",
        answer=MaintenanceSetting,
        query=("tenantId",),
    ),
)
