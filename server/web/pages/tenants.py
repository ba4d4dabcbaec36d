"""Tenants, for people of the host: the list, a new one, closing, whose an agent is, and working in the name of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from aiohttp import web

from server.actions import tenants as actions
from server.actions.change import require
from server.core.tenancy import wrong_name
from server.errors import UnderstudyError
from server.storage import tenants
from server.storage.tenants import TenantLine
from server.web.frame import Frame
from server.web.pages import serve
from server.web.session import TENANT_COOKIE, require_principal

HERE = "/tenants"
EMPTY = {"name": "", "title": ""}
LIMIT = 1000


@dataclass(frozen=True, slots=True)
class TenantsPage:
    """The list and the form: `values` as typed, `errors` by field."""

    template: ClassVar[str] = "pages/tenant_list.html"
    frame: Frame
    tenants: tuple[TenantLine, ...]
    values: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    errors: Mapping[str, str] = field(default_factory=dict)


async def show(request: web.Request) -> web.Response:
    """`GET /tenants`."""
    require(require_principal(request), "tenants.manage")
    frame, found = await serve.load(request, "Tenants", lambda c: tenants.lines(c, limit=LIMIT))
    return serve.html(TenantsPage(frame, tuple(found)))


async def create(request: web.Request) -> web.Response:
    """`POST /tenants`: a new one, or the form again with what is wrong."""
    values = {**EMPTY, **await serve.form(request)}
    try:
        await serve.write(request, lambda by, now_us: actions.create(values["name"], values["title"], by, now_us))
    except UnderstudyError as error:
        if error.status not in (400, 409):
            raise
        frame, found = await serve.load(request, "Tenants", lambda c: tenants.lines(c, limit=LIMIT))
        return serve.html(TenantsPage(frame.with_problem(str(error)), tuple(found), values, error.fields), 422)
    return serve.back(HERE, "tenant-saved")


async def close(request: web.Request) -> web.Response:
    """`POST /tenants/close`: nobody of it signs in any more; with `open` they do again."""
    values = await serve.form(request)
    make = actions.reopen if values.get("open") else actions.close
    name, reason = values.get("name", ""), values.get("reason", "")
    await serve.write(request, lambda by, now_us: make(name, by, now_us, reason))
    return serve.back(HERE, "tenant-saved")


async def give_agent(request: web.Request) -> web.Response:
    """`POST /tenants/agents`: an agent or group becomes one's own, or shared."""
    values = await serve.form(request)
    place, name = values.get("agent", ""), values.get("tenant", "")
    await serve.write(request, lambda by, now_us: actions.give_agent(place, name, by, now_us))
    return serve.back(HERE, "tenant-agent")


async def enter(request: web.Request) -> web.Response:
    """`POST /tenants/enter`: from now on this browser asks in the name of that tenant; without a name as the host."""
    name = (await serve.form(request)).get("name", "")
    answer = serve.back("/")
    if name and not wrong_name(name):
        answer.set_cookie(TENANT_COOKIE, name, secure=True, httponly=True, samesite="Lax", path="/")
    else:
        answer.del_cookie(TENANT_COOKIE, path="/", secure=True, httponly=True, samesite="Lax")
    return answer


ROUTES = (
    serve.get(HERE, show),
    serve.post(HERE, create),
    serve.post(HERE + "/close", close),
    serve.post(HERE + "/agents", give_agent),
    serve.post(HERE + "/enter", enter),
)
