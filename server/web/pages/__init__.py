"""Pages for people. `add_routes` is all that the application of the web port needs."""

from __future__ import annotations

from aiohttp import web

from server.web.errors import ERROR_PAGE
from server.web.pages import (
    agent_drain,
    agent_groups,
    agent_reboot,
    agent_requests,
    agent_silence,
    agents,
    announcements,
    api_docs,
    asides,
    calendars,
    certificates,
    environments,
    exceptions,
    exports,
    forecast,
    forks,
    groups,
    handover,
    history,
    home,
    jobs,
    ledgers,
    maintenance,
    maintenance_windows,
    monitors,
    nodes,
    notifications,
    password,
    people,
    problems,
    resources,
    roles,
    run_checkpoints,
    runs,
    scheduler,
    second_factor,
    serve,
    sign_in,
    sign_in_ways,
    swap,
    tenants,
    tokens,
    variables,
    workflow_runs,
    workflows,
)
from server.web.pages.flow import FLOW, Sampler, sampling
from server.web.render import STATIC

PAGES = (
    tenants,
    home,
    agents,
    agent_requests,
    agent_drain,
    agent_reboot,
    agent_silence,
    agent_groups,
    groups,
    jobs,
    calendars,
    exceptions,
    workflows,
    variables,
    environments,
    resources,
    monitors,
    runs,
    forecast,
    run_checkpoints,
    workflow_runs,
    scheduler,
    asides,
    maintenance,
    nodes,
    certificates,
    forks,
    swap,
    people,
    sign_in,
    sign_in_ways,
    handover,
    password,
    second_factor,
    roles,
    tokens,
    ledgers,
    announcements,
    maintenance_windows,
    notifications,
    history,
    exports,
    api_docs,
)


async def static(request: web.Request) -> web.StreamResponse:
    """`GET /static/…`: files of this package; an address with a hash never changes what it names."""
    path = (STATIC / request.match_info["name"]).resolve()
    if not path.is_relative_to(STATIC) or not path.is_file():
        raise web.HTTPNotFound
    response = web.FileResponse(path)
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if request.query else "no-cache"
    return response


def add_routes(app: web.Application) -> None:
    """Add every page, the static files, the error page, and the sampler of the backlog's chart."""
    app[FLOW] = Sampler()
    app[ERROR_PAGE] = problems.show
    app.cleanup_ctx.append(sampling)
    app.router.add_get("/static/{name:.+}", static)
    for page in PAGES:
        for route in page.ROUTES:
            app.router.add_route(route.method, route.path, serve.guarded(route))
