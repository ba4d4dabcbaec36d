"""Users, and who is signed in (SKY-13)."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from aiohttp import web

from server.actions import sessions as session_actions
from server.actions import users as user_actions
from server.actions.change import require
from server.core.access import ROLES, may
from server.core.people import User
from server.errors import Conflict, Forbidden, Invalid, NotFound, UnderstudyError
from server.people.passwords import check_new_password
from server.storage import roles as role_rows
from server.storage import sessions, users
from server.storage.sessions import SignedIn
from server.web.frame import Frame
from server.web.pages import serve
from server.web.session import SESSION_HASH, require_principal

LIMIT = 500


@dataclass(frozen=True, slots=True)
class SessionView:
    """Somebody who is signed in. `own` is this browser."""

    session: SignedIn
    own: bool


@dataclass(frozen=True, slots=True)
class UsersPage:
    """Users and sessions. `values` and `errors` are those of the form for a new user."""

    template: ClassVar[str] = "pages/user_list.html"
    frame: Frame
    users: tuple[User, ...]
    sessions: tuple[SessionView, ...]
    values: Mapping[str, str] = field(default_factory=lambda: {"name": "", "role": "user"})
    errors: Mapping[str, str] = field(default_factory=dict)
    roles: tuple[str, ...] = ROLES

    @property
    def others(self) -> int:
        """How many sessions *sign out all* ends."""
        return sum(1 for one in self.sessions if not one.own)


Rows = tuple[list[User], list[SignedIn], list[str]]


def page_from(frame: Frame, found: Rows, own: str) -> UsersPage:
    """Put the page together; `own` is the hash of this browser's session."""
    people, signed_in, own_roles = found
    views = tuple(SessionView(one, one.token_hash == own) for one in signed_in)
    newest_first = tuple(sorted(views, key=lambda one: -one.session.created_at_us))
    return UsersPage(frame, tuple(people), newest_first, roles=(*ROLES, *own_roles))


async def _page(request: web.Request) -> UsersPage:
    by = require_principal(request)
    now_us, everybody = serve.site(request).clock.utc_us(), may(by, "users.manage")

    def query(connection: sqlite3.Connection) -> Rows:
        people = users.page(connection, limit=LIMIT)
        signed_in = sessions.page(connection, now_us, limit=LIMIT)
        if everybody:
            return people, signed_in, [role.name for role in role_rows.every(connection)]
        return [u for u in people if u.name == by.name], [s for s in signed_in if s.name == by.name], []

    frame, found = await serve.load(request, "Users and Sessions", query)
    return page_from(frame, found, request.get(SESSION_HASH, ""))


async def show(request: web.Request) -> web.Response:
    """`GET /users`."""
    return serve.html(await _page(request))


async def create_user(request: web.Request) -> web.Response:
    """`POST /users`."""
    require(require_principal(request), "users.manage")
    posted = await request.post()
    name, role = str(posted.get("name", "")).strip(), str(posted.get("role", "user"))
    password = str(posted.get("password", ""))
    try:
        check_new_password(password, name)
        phc = await serve.site(request).passwords.hash(password)
        await serve.write(request, lambda by, now_us: user_actions.create(name, phc, role, by, now_us))
    except (Invalid, Conflict, Forbidden) as error:
        return await _again(request, {"name": name, "role": role}, error)
    return serve.back("/users", "user-saved")


async def _again(request: web.Request, values: Mapping[str, str], error: UnderstudyError) -> web.Response:
    page = await _page(request)
    errors = error.fields or {"name": str(error)}
    frame = page.frame.with_problem(str(error))
    return serve.html(UsersPage(frame, page.users, page.sessions, values, errors, page.roles), 422)


async def switch_user(request: web.Request) -> web.Response:
    """`POST /users/{name}/disable`, `/enable` and `/unlock`."""
    name, what = request.match_info["name"], request.match_info["what"]
    action = {"disable": user_actions.disable, "enable": user_actions.enable, "unlock": user_actions.unlock}[what]
    await serve.write(request, lambda by, now_us: action(name, by, now_us))
    if what == "unlock":
        serve.site(request).door.guard.forget(name)
    return serve.back("/users", "user-saved")


async def give_role(request: web.Request) -> web.Response:
    """`POST /users/{name}/role`."""
    name, role = request.match_info["name"], (await serve.form(request)).get("role", "")
    await serve.write(request, lambda by, now_us: user_actions.update_role(name, role, by, now_us))
    return serve.back("/users", "user-saved")


async def end_all(request: web.Request) -> web.Response:
    """`POST /users/sign-out-all`: everybody but this browser."""
    reason, keep = (await serve.form(request)).get("reason", ""), request.get(SESSION_HASH, "")
    await serve.write(request, lambda by, now_us: session_actions.end_all(by, now_us, keep, reason))
    return serve.back("/users", "users-out")


async def end_one(request: web.Request) -> web.Response:
    """`POST /users/sessions/{start}/end`: by the first 16 characters of the token's hash."""
    start, now_us = request.match_info["start"], serve.site(request).clock.utc_us()
    _, found = await serve.load(request, "", lambda c: sessions.page(c, now_us, start, 1))
    if not found or not found[0].token_hash.startswith(start):
        raise NotFound("That session has ended already.")
    await serve.write(request, lambda by, at_us: session_actions.end(found[0].token_hash, by, at_us))
    return serve.back("/users", "session-ended")


ROUTES = (
    serve.get("/users", show),
    serve.post("/users", create_user),
    serve.post("/users/sign-out-all", end_all),
    serve.post(r"/users/{name}/{what:disable|enable|unlock}", switch_user),
    serve.post("/users/{name}/role", give_role),
    serve.post(r"/users/sessions/{start:[0-9a-f]{16}}/end", end_one),
)
