"""Roles: what people may do, under a name (SKY-13). A part of Users and Sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from aiohttp import web

from server.actions import roles as actions
from server.actions import second_factor
from server.core import access
from server.errors import Conflict, Forbidden, Invalid, UnderstudyError
from server.storage import roles as rows
from server.web.api.roles import PermissionLine, RoleLine, lines, permission_lines
from server.web.frame import Frame
from server.web.pages import serve
from server.web.session import require_principal

HERE = "/users/roles"
EMPTY = {"name": "", "description": ""}


@dataclass(frozen=True, slots=True)
class RolesPage:
    """The list and the form: `values` as typed, `chosen` the permissions ticked, `errors` by field.

    `changes`: the form changes one that there is.
    """

    template: ClassVar[str] = "pages/role_list.html"
    frame: Frame
    roles: tuple[RoleLine, ...]
    values: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    chosen: frozenset[str] = frozenset()
    errors: Mapping[str, str] = field(default_factory=dict)
    changes: bool = False
    permissions: tuple[PermissionLine, ...] = field(default_factory=lambda: tuple(permission_lines()))
    always: frozenset[str] = access.EVERY_ROLE


async def show(request: web.Request) -> web.Response:
    """`GET /users/roles`; with `name=` the form is filled with that one. Of the host alone."""
    actions.require_host(require_principal(request))
    name = request.query.get("name", "")
    frame, (found, known) = await serve.load(request, "Roles", lambda c: (lines(c), rows.get(c, name)))
    if known is None:
        return serve.html(RolesPage(frame, tuple(found)))
    values = {"name": known.name, "description": known.description}
    return serve.html(RolesPage(frame, tuple(found), values, frozenset(known.permissions), {}, True))


async def put(request: web.Request) -> web.Response:
    """`POST /users/roles`: makes or changes it, or shows the form again with what is wrong."""
    fields = await serve.form(request)
    name, description = fields.get("name", ""), fields.get("description", "")
    chosen = frozenset(word.removeprefix("may.") for word in fields if word.startswith("may."))
    is_change = fields.get("changes") == "1"
    try:
        if is_change:
            await serve.write(request, lambda by, now_us: actions.update(name, chosen, description, by, now_us))
        else:
            await serve.write(request, lambda by, now_us: actions.create(name, chosen, description, by, now_us))
    except (Invalid, Conflict, Forbidden) as error:
        return await _again(request, {"name": name, "description": description}, chosen, is_change, error)
    return serve.back(HERE, "role-saved")


async def _again(
    request: web.Request, values: Mapping[str, str], chosen: frozenset[str], changes: bool, error: UnderstudyError
) -> web.Response:
    actions.require_host(require_principal(request))
    frame, found = await serve.load(request, "Roles", lines)
    errors = error.fields or {"permissions": str(error)}
    page = RolesPage(frame.with_problem(str(error)), tuple(found), values, chosen, errors, changes)
    return serve.html(page, 422)


async def rule(request: web.Request) -> web.Response:
    """`POST /users/roles/{name}/second-factor`: `required` in the form says whether the role asks for one."""
    name, required = request.match_info["name"], (await serve.form(request)).get("required") == "1"
    await serve.write(request, lambda by, now_us: second_factor.require_of_role(name, required, by, now_us))
    return serve.back(HERE, "second-factor-rule")


async def delete(request: web.Request) -> web.Response:
    """`POST /users/roles/{name}/delete`."""
    name = request.match_info["name"]
    await serve.write(request, lambda by, now_us: actions.delete(name, by, now_us))
    return serve.back(HERE, "role-deleted")


ROUTES = (
    serve.get(HERE, show),
    serve.post(HERE, put),
    serve.post(HERE + "/{name}/delete", delete),
    serve.post(HERE + "/{name}/second-factor", rule),
)
