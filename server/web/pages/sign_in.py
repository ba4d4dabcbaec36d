"""Signing in and out (SKY-13)."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable
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
from server.web.frame import Frame
from server.web.pages import serve, standby
from server.web.proxy_sign_in import heard, sign_in_by_proxy
from server.web.session import forget_here, principal, set_cookie
from server.web.signing_in import Signed, sign_in, sign_out


@dataclass(frozen=True, slots=True)
class SignInPage:
    """The first page. With a `ticket` the password was right, and a code is asked for.

    `proxied` is whom a trusted proxy names.
    """

    template: ClassVar[str] = "pages/session_create.html"
    frame: Frame
    next: str = "/"
    name: str = ""
    error: str = ""
    ticket: str = ""
    proxied: str = ""


SIGNED_OUT = "out"


def local_path(text: str) -> str:
    """Where to go after signing in: a path on this node, never another site."""
    is_plain = text.isprintable() and "\\" not in text
    return text if is_plain and text.startswith("/") and not text.startswith("//") else "/"


async def show_sign_in(request: web.Request) -> web.Response:
    """`GET /login`. Whom a trusted proxy names is signed in at once, but not just after signing out."""
    site = serve.site(request)
    if not site.in_office:
        return await standby.show(request)
    if principal(request) is not None:
        return serve.back("/")
    wanted = local_path(request.query.get("next", "/"))
    named, _ = await heard(site, request)
    if named is not None and not named.refusal and SIGNED_OUT not in request.query:
        return await _answer(request, sign_in_by_proxy(site, request), wanted)
    return await _page(request, wanted)


async def create_session(request: web.Request) -> web.Response:
    """`POST /login`."""
    fields = await request.post()
    name, password = str(fields.get("name", "")).strip(), str(fields.get("password", ""))
    wanted = local_path(str(fields.get("next", "/")))
    code, ticket = str(fields.get("code", "")), str(fields.get("ticket", ""))
    signing = sign_in(serve.site(request), request, name, password, code, ticket)
    return await _answer(request, signing, wanted, name, ticket)


async def create_by_proxy(request: web.Request) -> web.Response:
    """`POST /login/proxy`: as whom the proxy names."""
    wanted = local_path((await serve.form(request)).get("next", "/"))
    return await _answer(request, sign_in_by_proxy(serve.site(request), request), wanted)


async def _answer(
    request: web.Request, signing: Awaitable[Signed], wanted: str, name: str = "", ticket: str = ""
) -> web.Response:
    """On to `wanted` with the cookie, or the page with what is wrong, or the page that asks for a code."""
    try:
        signed = await signing
    except SecondFactorNeeded as needed:
        return await _page(request, wanted, ticket=needed.ticket)
    except (Unauthenticated, Conflict, Forbidden, Invalid, Unavailable) as error:
        again = ticket if str(error) == WRONG_CODE else ""
        response = await _page(request, wanted, name, str(error), again, error.status)
        if isinstance(error, Unavailable):
            response.headers["Retry-After"] = str(error.retry_after_s)
        return response
    response = serve.back(wanted)
    set_cookie(response, signed.token)
    return response


async def _page(
    request: web.Request, wanted: str, name: str = "", error: str = "", ticket: str = "", status: int = 200
) -> web.Response:
    frame = await serve.bare_frame(request, "Sign in")
    named, _ = await heard(serve.site(request), request)
    proxied = named.user if named is not None else ""
    return serve.html(SignInPage(frame, wanted, name, error, ticket, proxied), status)


async def end_own(request: web.Request) -> web.Response:
    """`POST /logout`. On a node that is not in office only the cookie goes; the session ends with its time."""
    by = principal(request)
    if by is not None:
        with contextlib.suppress(NotMaster, Unavailable):
            await sign_out(serve.site(request), request, by)
    named, _ = await heard(serve.site(request), request)
    response = serve.back(f"/login?{SIGNED_OUT}=1" if named is not None else "/login")
    forget_here(response)
    return response


ROUTES = (
    serve.get("/login", show_sign_in, signed_in=False),
    serve.post("/login", create_session, signed_in=False),
    serve.post("/login/proxy", create_by_proxy, signed_in=False),
    serve.post("/logout", end_own, signed_in=False),
)
