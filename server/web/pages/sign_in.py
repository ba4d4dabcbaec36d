"""Signing in and out (SKY-13)."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import ClassVar

from aiohttp import web

from server.actions.second_factor import WRONG as WRONG_CODE
from server.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotMaster,
    SecondFactorNeeded,
    Unauthenticated,
    Unavailable,
)
from server.web.api.people import sign_in, sign_out
from server.web.frame import Frame
from server.web.pages import serve, standby
from server.web.session import forget_here, principal, set_cookie


@dataclass(frozen=True, slots=True)
class SignInPage:
    """The first page. With a `ticket` the password was right, and a code is asked for."""

    template: ClassVar[str] = "pages/session_create.html"
    frame: Frame
    next: str = "/"
    name: str = ""
    error: str = ""
    ticket: str = ""


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


ROUTES = (
    serve.get("/login", show_sign_in, signed_in=False),
    serve.post("/login", create_session, signed_in=False),
    serve.post("/logout", end_own, signed_in=False),
)
