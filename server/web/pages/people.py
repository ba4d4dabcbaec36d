"""Signing in and out, users, and who is signed in (SKY-13)."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from aiohttp import web

from server.actions import sessions as session_actions
from server.actions import users as user_actions
from server.actions.change import require
from server.actions.second_factor import WRONG as WRONG_CODE
from server.core.access import ROLES, may
from server.core.people import User
from server.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    NotMaster,
    SecondFactorNeeded,
    Unauthenticated,
    Unavailable,
    UnderstudyError,
)
from server.passwords import check_new_password
from server.storage import roles as role_rows
from server.storage import sessions, users
from server.storage.sessions import SignedIn
from server.web.api.people import sign_in, sign_out
from server.web.frame import Frame
from server.web.pages import serve, standby
from server.web.session import SESSION_HASH, forget_here, principal, require_principal, set_cookie

LIMIT = 500


@dataclass(frozen=True, slots=True)
class SignInPage:
    """The first page. With a `ticket` the password was right, and a code is asked for."""

    template: ClassVar[str] = "pages/session_create.html"
    frame: Frame
    next: str = "/"
    name: str = ""
    error: str = ""
    ticket: str = ""


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


def local_path(text: str) -> str:
    """Where to go after signing in: a path on this node, never another site."""
    is_plain = text.isprintable() and "\\" not in text
    return text if is_plain and text.startswith("/") and not text.startswith("//") else "/"


async def show_sign_in(request: web.Request) -> web.Response:
    """`GET /login`."""
    if not serve.site(request).in_office:
        return await standby.show(request)
    if principal(request) is not None:
        return serve.back("/")
    frame = await serve.bare_frame(request, "Sign in")
    return serve.html(SignInPage(frame, local_path(request.query.get("next", "/"))))


async def create_session(request: web.Request) -> web.Response:
    """`POST /login`."""
    fields = await request.post()
    name, password = str(fields.get("name", "")).strip(), str(fields.get("password", ""))
    wanted = local_path(str(fields.get("next", "/")))
    code, ticket = str(fields.get("code", "")), str(fields.get("ticket", ""))
    try:
        token, _, _ = await sign_in(serve.site(request), request, name, password, code, ticket)
    except SecondFactorNeeded as needed:
        frame = await serve.bare_frame(request, "Sign in")
        return serve.html(SignInPage(frame, wanted, ticket=needed.ticket))
    except (Unauthenticated, Conflict, Forbidden, Invalid, Unavailable) as error:
        frame = await serve.bare_frame(request, "Sign in")
        again = ticket if str(error) == WRONG_CODE else ""
        response = serve.html(SignInPage(frame, wanted, name, str(error), again), error.status)
        if isinstance(error, Unavailable):
            response.headers["Retry-After"] = str(error.retry_after_s)
        return response
    response = serve.back(wanted)
    set_cookie(response, token)
    return response


async def end_own(request: web.Request) -> web.Response:
    """`POST /logout`. On a node that is not in office only the cookie goes; the session ends with its time."""
    by = principal(request)
    if by is not None:
        with contextlib.suppress(NotMaster, Unavailable):
            await sign_out(serve.site(request), request, by)
    response = serve.back("/login")
    forget_here(response)
    return response


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
    serve.get("/login", show_sign_in, signed_in=False),
    serve.post("/login", create_session, signed_in=False),
    serve.post("/logout", end_own, signed_in=False),
    serve.get("/users", show),
    serve.post("/users", create_user),
    serve.post("/users/sign-out-all", end_all),
    serve.post(r"/users/{name}/{what:disable|enable|unlock}", switch_user),
    serve.post("/users/{name}/role", give_role),
    serve.post(r"/users/sessions/{start:[0-9a-f]{16}}/end", end_one),
)
