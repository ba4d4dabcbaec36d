"""Every route of the web port on one screen, and the application that has them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from server.core.access import ENROL_ONLY
from server.core.model import Principal
from server.errors import Forbidden
from server.ports.secure_headers import put_headers
from server.ports.turnstile import counting
from server.site import SITE, Site
from server.web import live, pages
from server.web.api import (
    agents,
    announcements,
    asides,
    audit,
    calendars,
    certificates,
    checkpoints,
    drains,
    environments,
    exceptions,
    explanations,
    forecast,
    forks,
    groups,
    health,
    history,
    imports,
    job_monitors,
    jobs,
    maintenance,
    maintenance_windows,
    missed,
    monitors,
    node,
    notifications,
    openapi,
    passkeys,
    people,
    proving,
    requests,
    resources,
    roles,
    runs,
    scheduler,
    second_factor,
    settings,
    sign_in,
    silence,
    status,
    swap,
    tenants,
    tokens,
    uipath_sign_in,
    variables,
    verify,
    witnesses,
    workflow_runs,
    workflows,
)
from server.web.api.endpoint import Endpoint
from server.web.bounds import check_shape
from server.web.csrf import SAFE_METHODS, check_origin
from server.web.door import keeping_the_door
from server.web.errors import errors_as_answers
from server.web.live import LIVE, Live
from server.web.maintenance import admit
from server.web.pages.proving import ask_again
from server.web.permissions import asked_of
from server.web.refusals import REFUSALS, Refusals
from server.web.session import enter_tenant, identify, is_local, principal

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
BODY_BYTES_MAX = 4 << 20
ENROL_PATHS = ("/users/second-factor", "/api/v1/second-factor", "/login", "/logout", "/api/v1/logout", "/static/")
PASSWORD_PATHS = frozenset({"/users/password", "/login", "/logout", "/api/v1/login", "/api/v1/logout"})
"""Open to who has to set a password of their own."""
SIGN_IN_BYTES_MAX = 16 << 10
SIGN_IN_PATHS = frozenset({
    "/login", "/login/proxy", "/login/oidc", "/api/Account/Authenticate",
    "/api/v1/login", "/api/v1/login/proxy", "/api/v1/login/passkey/begin", "/api/v1/login/passkey",
})  # fmt: skip
"""Open to everybody: what is sent there is small, and says how long it is."""

ENDPOINTS: tuple[Endpoint, ...] = (
    *health.ENDPOINTS,
    *status.ENDPOINTS,
    *swap.ENDPOINTS,
    *scheduler.ENDPOINTS,
    *maintenance.ENDPOINTS,
    *maintenance_windows.ENDPOINTS,
    *asides.ENDPOINTS,
    *requests.ENDPOINTS,
    *agents.ENDPOINTS,
    *drains.ENDPOINTS,
    *groups.ENDPOINTS,
    *witnesses.ENDPOINTS,
    *jobs.ENDPOINTS,
    *calendars.ENDPOINTS,
    *imports.ENDPOINTS,
    *forecast.ENDPOINTS,
    *explanations.ENDPOINTS,
    *job_monitors.ENDPOINTS,
    *exceptions.ENDPOINTS,
    *variables.ENDPOINTS,
    *workflows.ENDPOINTS,
    *environments.ENDPOINTS,
    *resources.ENDPOINTS,
    *runs.ENDPOINTS,
    *missed.ENDPOINTS,
    *checkpoints.ENDPOINTS,
    *monitors.ENDPOINTS,
    *workflow_runs.ENDPOINTS,
    *notifications.ENDPOINTS,
    *silence.ENDPOINTS,
    *history.ENDPOINTS,
    *announcements.ENDPOINTS,
    *audit.ENDPOINTS,
    *people.ENDPOINTS,
    *proving.ENDPOINTS,
    *roles.ENDPOINTS,
    *second_factor.ENDPOINTS,
    *passkeys.ENDPOINTS,
    *tokens.ENDPOINTS,
    *tenants.ENDPOINTS,
    *uipath_sign_in.ENDPOINTS,
    *settings.ENDPOINTS,
    *sign_in.ENDPOINTS,
    *node.ENDPOINTS,
    *certificates.ENDPOINTS,
    *forks.ENDPOINTS,
    *verify.ENDPOINTS,
)


def check_small(request: web.Request) -> None:
    """Raise 411 or 413 before a byte of the body is read."""
    if request.content_length is None:
        raise web.HTTPLengthRequired(text="A sign-in says how long it is: Content-Length is missing.")
    if request.content_length > SIGN_IN_BYTES_MAX:
        raise web.HTTPRequestEntityTooLarge(
            SIGN_IN_BYTES_MAX, request.content_length, text=f"A sign-in has at most {SIGN_IN_BYTES_MAX} bytes."
        )


def check_enrolled(request: web.Request) -> None:
    """Who must set up a second factor gets there and nowhere else."""
    by = principal(request)
    if by is not None and by.must_change_password:
        check_changes_password(request, by)
        return
    if by is None or by.granted != ENROL_ONLY or request.path.startswith(ENROL_PATHS):
        return
    if request.path.startswith("/api/") or request.method not in SAFE_METHODS:
        raise Forbidden(f"The role {by.role} asks for a second factor. Set it up first: POST /api/v1/second-factor")
    raise web.HTTPSeeOther("/users/second-factor")


def check_changes_password(request: web.Request, by: Principal) -> None:
    """Who came in with a password that somebody else gave sets another or signs out, and does nothing else."""
    own = (request.method, request.path) == ("PUT", f"/api/v1/users/{by.name}")
    if own or request.path in PASSWORD_PATHS or request.path.startswith("/static/"):
        return
    if request.path.startswith("/api/") or request.method not in SAFE_METHODS:
        raise Forbidden(
            "Somebody else gave you this password: set one of your own first. PUT /api/v1/users/NAME with password and"
            " old_password, or the page /users/password"
        )
    raise web.HTTPSeeOther("/users/password")


def check_permission(request: web.Request) -> None:
    """Raise Forbidden for who is signed in and lacks what the route declares. Who is not, the handler sends in."""
    by, resource = principal(request), request.match_info.route.resource
    if by is not None and resource is not None:
        asked_of(request.method, resource.canonical).check(by)


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Who asks, whether another site made the browser ask, that a sign-in is small, what a maintenance answers, whether
    who asks may, and whether they have to say once more who they are.

    Unsafe requests with a token or by the socket may pass.
    """
    check_shape(request)
    if request.method == "POST" and request.path in SIGN_IN_PATHS:
        check_small(request)
    await identify(request)
    enter_tenant(request)
    if request.method not in SAFE_METHODS and "Authorization" not in request.headers and not is_local(request):
        check_origin(request)
    check_enrolled(request)
    await admit(request)
    check_permission(request)
    asked = await ask_again(request)
    return asked if asked is not None else await handler(request)


def make_app(site: Site) -> web.Application:
    """The application of the web port and of the local socket: API, events and pages."""
    app = web.Application(middlewares=[counting, errors_as_answers, guard], client_max_size=BODY_BYTES_MAX)
    app[SITE] = site
    app[LIVE], app[REFUSALS] = Live(site), Refusals()
    app.on_response_prepare.append(put_headers)
    app.cleanup_ctx.append(keeping_the_door)
    for endpoint in ENDPOINTS:
        app.router.add_route(endpoint.method, endpoint.path, endpoint.handler())
    app.router.add_get("/api/v1/openapi.json", openapi.handler(ENDPOINTS))
    app.router.add_get("/api/v1/events", live.events)
    pages.add_routes(app)
    for route in app.router.routes():
        asked_of(route.method, route.resource.canonical if route.resource is not None else "")
    return app
