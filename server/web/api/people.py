"""Sign in and out, users and sessions."""

from __future__ import annotations

import sqlite3

import msgspec
from aiohttp import web

from server.actions import second_factor, sessions, users
from server.core.access import may
from server.core.people import User
from server.core.tenancy import qualified
from server.errors import Invalid, NotFound
from server.people.passwords import check_new_password
from server.people.sign_in import check_password
from server.storage import sessions as session_rows
from server.storage import users as user_rows
from server.web.api.endpoint import Answer, Call, Endpoint, respond, shape
from server.web.proxy_sign_in import sign_in_by_proxy
from server.web.session import SESSION_HASH, Renewal, forget_here, set_cookie
from server.web.signing_in import Signed, sign_in, sign_out


class Login(msgspec.Struct, frozen=True):
    """Name and password, and a code for who has a second factor: without it the answer is `second_factor_needed`."""

    user: str
    password: str
    code: str = ""


class ByProxy(msgspec.Struct, frozen=True):
    """The code of a second factor, for who has one."""

    code: str = ""


class NewUser(msgspec.Struct, frozen=True):
    """A user to add."""

    name: str
    password: str
    role: str = "user"


class UserChange(msgspec.Struct, frozen=True):
    """What is to change of a user; None stays. `old_password` is needed for one's own password.

    `locked` can only be false: it lets an account sign in again that failed too often.
    """

    role: str | None = None
    password: str | None = None
    old_password: str | None = None
    disabled: bool | None = None
    locked: bool | None = None


class UserLine(msgspec.Struct, frozen=True):
    """A user, without the password. `password_ends_at_us`: when a password that was given is good no more, unless its
    user sets one of their own before.
    """

    name: str
    role: str
    created_at_us: int
    disabled_at_us: int | None
    locked_until_us: int | None
    password_ends_at_us: int | None = None


class SessionLine(msgspec.Struct, frozen=True):
    """Somebody who is signed in. `id` is the start of the token's hash; `own` marks the asker's."""

    id: str
    user: str
    role: str
    created_at_us: int
    expires_at_us: int
    address: str
    user_agent: str
    own: bool
    seen_at_us: int


async def login(call: Call) -> web.StreamResponse:
    """Sign a browser in: the answer sets the cookie."""
    return welcome(await sign_in(call.site, call.request, call.body.user, call.body.password, call.body.code))


async def login_by_proxy(call: Call) -> web.StreamResponse:
    """Sign a browser in whose user a trusted proxy names; a code for who has a second factor."""
    return welcome(await sign_in_by_proxy(call.site, call.request, call.body.code))


def welcome(signed: Signed) -> web.StreamResponse:
    """The answer to who has signed in, with the cookie."""
    must = {"must_change_password": True} if signed.must_change_password else {}
    response = respond({"user": signed.by.name, "role": signed.by.role, **must}, 200)
    set_cookie(response, signed.token)
    return response


async def logout(call: Call) -> web.StreamResponse:
    """Sign this browser out."""
    await sign_out(call.site, call.request, call.by)
    response = respond({"signed_out": True}, 200)
    forget_here(response)
    return response


async def list_users(call: Call) -> list[UserLine]:
    """All users."""
    found = await call.read(lambda rows: user_rows.page(rows, call.query("after"), call.limit()))
    return [_user_line(user) for user in found]


def _user_line(user: User) -> UserLine:
    ends_us = user.password_ends_at_us
    return UserLine(user.name, user.role, user.created_at_us, user.disabled_at_us, user.locked_until_us, ends_us)


async def create_user(call: Call) -> Answer:
    """Add a user."""
    check_new_password(call.body.password, call.body.name)
    phc = await call.site.passwords.hash(call.body.password)
    change = users.create(call.body.name, phc, call.body.role, call.by, call.now_us)
    name = qualified(call.by.tenant, call.body.name)
    return await call.write(change, lambda _: {"name": name, "role": call.body.role}, 201, is_secret=True)


async def update_user(call: Call) -> Answer | web.StreamResponse:
    """Change role, password or whether the account is open; one thing at a time."""
    name, body = call.path("name"), call.body
    wanted = [value for value in (body.role, body.password, body.disabled, body.locked) if value is not None]
    if len(wanted) != 1:
        raise Invalid("Give one of role, password, disabled or locked.")
    answer = {"name": name, "changed": True}
    if body.role is not None:
        return await call.write(users.update_role(name, body.role, call.by, call.now_us), lambda _: answer)
    if body.disabled is not None:
        make = users.disable if body.disabled else users.enable
        return await call.write(make(name, call.by, call.now_us), lambda _: answer)
    if body.locked is not None:
        return await unlock(call, name)
    return await change_password(call, name)


async def unlock(call: Call, name: str) -> Answer:
    """Let an account that failed too often sign in again."""
    if call.body.locked:
        raise Invalid("An account is locked by failed sign-ins alone. To close it: understudy user disable NAME")
    answer = await call.write(users.unlock(name, call.by, call.now_us), lambda _: {"name": name, "changed": True})
    call.site.door.guard.forget(name)
    return answer


async def change_password(call: Call, name: str) -> web.StreamResponse:
    """Set a password; one's own needs the old one. Ends the user's other sessions."""
    body, renewal = call.body, Renewal(call.request)
    check_new_password(body.password, name, body.old_password if name == call.by.name else None)
    if name == call.by.name:
        await check_password(call.site, name, body.old_password or "", call.by.address)
    phc = await call.site.passwords.hash(body.password)
    fresh = renewal.fresh if name == call.by.name else ""
    change = users.change_password(name, phc, call.by, call.now_us, renewal.keep, fresh)
    shown = {"name": name, "changed": True}
    renewing = renewal.of(change, lambda _: bool(fresh))
    answer = await call.write(renewing, lambda ended: shown | {"sessions_ended": ended}, is_secret=True)
    return renewal.give(respond(answer, 200))


async def list_sessions(call: Call) -> list[SessionLine]:
    """Who is signed in: everybody for administrators, else one's own."""
    everybody = may(call.by, "users.manage")
    found = await call.read(lambda rows: session_rows.page(rows, call.now_us, call.query("after"), call.limit()))
    own = call.request.get(SESSION_HASH, "")
    return [
        SessionLine(
            id=row.token_hash[:16],
            user=row.name,
            role=row.role,
            created_at_us=row.created_at_us,
            expires_at_us=row.expires_at_us,
            address=row.address,
            user_agent=row.user_agent,
            own=row.token_hash == own,
            seen_at_us=row.seen_at_us,
        )
        for row in found
        if everybody or row.name == call.by.name
    ]


async def end_session(call: Call) -> Answer:
    """Sign one browser out, by the id of the list."""
    start = call.path("id")
    found = await call.read(lambda rows: _session_by_start(rows, start, call.now_us))
    if found is None:
        raise NotFound(f"There is no session {start}. GET /api/v1/sessions lists those that are signed in.")
    return await call.write(sessions.end(found, call.by, call.now_us), lambda ended: {"ended": ended})


def _session_by_start(connection: sqlite3.Connection, start: str, now_us: int) -> str | None:
    found = [row.token_hash for row in session_rows.page(connection, now_us, start, 2)]
    return found[0] if found and len(start) == 16 and found[0].startswith(start) else None


async def reset_second_factor(call: Call) -> Answer:
    """Take the second factor away from somebody who lost it."""
    name = call.path("name")
    return await call.write(second_factor.reset(name, call.by, call.now_us), lambda done: {"name": name, "reset": done})


async def end_all_sessions(call: Call) -> Answer:
    """Sign everybody out but the asker."""
    keep = call.request.get(SESSION_HASH, "")
    change = sessions.end_all(call.by, call.now_us, keep, call.query("reason"))
    return await call.write(change, lambda ended: {"ended": ended})


ENDPOINTS = (
    Endpoint("POST", "/api/v1/login", login, "Sign in", answer=shape(user=str, role=str), body=Login, public=True),
    Endpoint(
        "POST",
        "/api/v1/login/proxy",
        login_by_proxy,
        "Sign in by the word of a trusted proxy",
        answer=shape(user=str, role=str),
        body=ByProxy,
        public=True,
    ),
    Endpoint("POST", "/api/v1/logout", logout, "Sign out", answer=shape(signed_out=bool)),
    Endpoint("GET", "/api/v1/users", list_users, "All users", answer=list[UserLine], query=("after", "limit")),
    Endpoint(
        "POST", "/api/v1/users", create_user, "Add a user", answer=shape(name=str, role=str), body=NewUser, status=201
    ),
    Endpoint("PUT", "/api/v1/users/{name}", update_user, "Change a user", body=UserChange),
    Endpoint(
        "DELETE",
        "/api/v1/users/{name}/second-factor",
        reset_second_factor,
        "Reset a lost second factor",
        answer=shape(name=str, reset=bool),
    ),
    Endpoint(
        "GET", "/api/v1/sessions", list_sessions, "Who is signed in", answer=list[SessionLine], query=("after", "limit")
    ),
    Endpoint(
        "DELETE",
        "/api/v1/sessions",
        end_all_sessions,
        "Sign everybody else out",
        answer=shape(ended=int),
        query=("reason",),
    ),
    Endpoint("DELETE", "/api/v1/sessions/{id}", end_session, "Sign one browser out", answer=shape(ended=bool)),
)
