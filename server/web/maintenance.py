"""What calls of the web port answer during a maintenance: one table of routes, looked at beside the guard.

The rule is `core.maintenance.answer`. Nothing here concerns the cluster port: heartbeats, gates, epochs, witness
messages and what agents report pass in every phase.
"""

from __future__ import annotations

import time

import msgspec
from aiohttp import web

from server.core.access import may
from server.core.maintenance import Answer, Asks, Phase, Session, answer, meaning
from server.core.model import SECOND_US, Principal
from server.core.tenancy import tenant_of
from server.errors import InMaintenance, Unavailable
from server.site import site_of
from server.storage import maintenance
from server.web.csrf import SAFE_METHODS
from server.web.session import principal

RETRY_S = 60
"""When to ask again while nobody has said when it ends."""

ALWAYS = frozenset({
    "/livez", "/readyz", "/primary", "/replica", "/health", "/metrics", "/api/Status/Get", "/static/{name}",
    "/api/v1/status", "/api/v1/openapi.json", "/api/v1/ca", "/api/v1/events", "/api/v1/gates",
    "/api/v1/outcomes/{key}",
    "/login", "/logout", "/api/v1/login", "/api/v1/logout", "/login/proxy", "/api/v1/login/proxy",
    "/login/oidc", "/login/oidc/callback",
    "/api/v1/login/passkey/begin", "/api/v1/login/passkey", "/api/Account/Authenticate",
    "/api/v1/maintenance", "/api/v1/maintenance/log", "/api/v1/maintenance/on", "/api/v1/maintenance/off",
    "/api/v1/maintenance/start", "/api/v1/maintenance/end",
    "/api/Maintenance/Start", "/api/Maintenance/End", "/api/Maintenance/Get",
    "/maintenance/start", "/maintenance/end",
})  # fmt: skip
"""Routes that pass in every phase, whoever asks; their own permissions stay. Of a maintenance nobody is locked out."""

WORK = frozenset({
    ("POST", "/api/v1/jobs"), ("PUT", "/api/v1/jobs/{name}"), ("POST", "/api/v1/jobs/{name}/run"),
    ("POST", "/api/v1/runs/{number}/rerun"), ("POST", "/api/v1/runs/{number}/resume"),
    ("POST", "/api/v1/missed/run"), ("POST", "/api/v1/missed/{id}/run"), ("POST", "/api/v1/unknown/{key}/rerun"),
    ("POST", "/api/v1/workflows"), ("PUT", "/api/v1/workflows/{name}"), ("POST", "/api/v1/workflows/{name}/run"),
    ("POST", "/api/v1/workflow-runs/{id}/resume"), ("POST", "/api/v1/workflow-runs/{id}/restart"),
    ("POST", "/api/v1/monitors"), ("PUT", "/api/v1/monitors/{name}"),
    ("POST", "/api/v1/import/all"), ("POST", "/api/v1/import/crontab"), ("POST", "/api/v1/import/cronicle"),
    ("POST", "/jobs/new"), ("POST", "/jobs/{id}/edit"), ("POST", "/jobs/{id}/run"),
    ("POST", "/runs/{number}/rerun"), ("POST", "/runs/{number}/resume"),
    ("POST", "/scheduler/missed/run"), ("POST", "/scheduler/missed/{id}/run"), ("POST", "/unknown/{key}/rerun"),
    ("POST", "/workflows/new"), ("POST", "/workflows/{id}/edit"), ("POST", "/workflows/{id}/run"),
    ("POST", "/workflow-runs/{id}/resume"), ("POST", "/workflow-runs/{id}/restart"),
    ("POST", "/monitors/new"), ("POST", "/monitors/{id}/edit"), ("POST", "/maintenance/missed/{id}/run"),
})  # fmt: skip
"""Routes that create work: a run, or what begins runs. Firing an event is none: it is recorded, and submits nothing."""


def asks(method: str, route: str) -> Asks:
    """What a call of a route is about; one that is in no table changes something, or looks."""
    if route in ALWAYS:
        return Asks.ALWAYS
    if (method, route) in WORK:
        return Asks.WORK
    return Asks.LOOK if method in SAFE_METHODS else Asks.CHANGE


async def admit(request: web.Request) -> None:
    """Let a call pass, or raise what a maintenance answers. Rows are looked at only where a phase could matter.

    Nobody is told of it who is not signed in: the pages lead to the sign-in, the API answers 401.
    """
    site, by = site_of(request), principal(request)
    resource = request.match_info.route.resource
    if resource is None or by is None or not site.in_office:
        return
    about = asks(request.method, resource.canonical)
    administers = is_administrator(by)
    if about is Asks.ALWAYS or (administers and about is not Asks.WORK):
        return
    session = await site.read_now(lambda connection: maintenance.concerning(connection, by.tenant))
    if session is None:
        return
    is_page = not resource.canonical.startswith("/api/")
    refuse(session, answer(session.phase, session.policy, about, administers, is_page), site.clock.utc_us())


def refuse(session: Session, answered: Answer, now_us: int) -> None:
    """Raise what an answer is to whoever asks; nothing for one that passes."""
    if answered is Answer.NOT_ALLOWED:
        raise InMaintenance(f"{sentence(session)} New work is refused until it ends.")
    if answered is Answer.UNAVAILABLE:
        raise Unavailable(sentence(session), retry_after_s=retry_after_s(session, now_us))


def is_administrator(by: Principal) -> bool:
    """Whether a maintenance keeps nothing from them but new work: administrators of the host, in any tenant's name."""
    return not tenant_of(by.name) and may(msgspec.structs.replace(by, tenant=""), "maintenance.change")


def sentence(session: Session) -> str:
    """Since when, by whom, why, and what it means."""
    since = time.strftime("%Y-%m-%d %H:%M", time.gmtime(session.started_at_us / SECOND_US))
    why = f": {session.reason}" if session.reason else ""
    closed = ""
    if session.phase is Phase.DRAINING and session.pages == "closed":
        closed = " These pages are for administrators until it ends."
    return (
        f"Maintenance ({session.phase.capitalize()}) since {since} UTC by {session.started_by}{why}. "
        f"{meaning(session.phase, session.policy)}{closed}"
    )


def retry_after_s(session: Session, now_us: int) -> int:
    """Seconds until its planned end; a minute while nobody has planned one."""
    if session.end_at_us is None:
        return RETRY_S
    return max(1, -(-(session.end_at_us - now_us) // SECOND_US))
