"""Signing in and out (SKY-13)."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import urlsplit

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
from server.web.oidc_sign_in import come_back, forget, is_linking, leave, provider_of, remember, state_of
from server.web.pages import serve, standby
from server.web.proxy_sign_in import heard, sign_in_by_proxy
from server.web.session import forget_here, principal, set_cookie
from server.web.signing_in import Signed, sign_in, sign_out


@dataclass(frozen=True, slots=True)
class SignInPage:
    """The first page. With a `ticket` the password was right, and a code is asked for.

    `proxied` is whom a trusted proxy names, `provider` the text of the button of the OpenID provider.
    """

    template: ClassVar[str] = "pages/session_create.html"
    frame: Frame
    next: str = "/"
    name: str = ""
    error: str = ""
    ticket: str = ""
    proxied: str = ""
    provider: str = ""
    signed_out: bool = False


@dataclass(frozen=True, slots=True)
class LeavePage:
    """Leads to the provider, at `where`."""

    template: ClassVar[str] = "pages/session_leave.html"
    frame: Frame
    where: str

    @property
    def host(self) -> str:
        """The machine that asks there."""
        return urlsplit(self.where).netloc


SIGNED_OUT = "out"


def local_path(text: str) -> str:
    """Where to go after signing in: a path on this node, never another site."""
    is_plain = text.isprintable() and "\\" not in text
    return text if is_plain and text.startswith("/") and not text.startswith("//") else "/"


async def show_sign_in(request: web.Request) -> web.Response:
    """`GET /login`. Whom a trusted proxy names has one button to press: nobody is signed in by opening a page."""
    site = serve.site(request)
    if not site.in_office:
        return await standby.show(request)
    if principal(request) is not None:
        return serve.back("/")
    return await _page(request, local_path(request.query.get("next", "/")))


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


async def leave_to_provider(request: web.Request) -> web.Response:
    """`POST /login/oidc`: to the provider, to sign in, or to link the account of who is signed in (`link=1`).

    A page leads there: browsers let a form lead to no other site, and it tells where one goes.
    """
    site, fields = serve.site(request), await serve.form(request)
    wanted = local_path(fields.get("next", "/"))
    try:
        where, cookie = await leave(site, request, wanted, is_linking(principal(request), fields.get("link", "")))
    except (Conflict, Unavailable) as error:
        return await _page(request, wanted, error=str(error), status=error.status)
    response = serve.html(LeavePage(await serve.bare_frame(request, "Sign in"), where))
    response.headers["Refresh"] = f"0; url={where}"
    remember(response, cookie)
    return response


async def come_from_provider(request: web.Request) -> web.Response:
    """`GET /login/oidc/callback`: where the provider sends the browser."""
    site = serve.site(request)
    try:
        state = state_of(site, request)
    except Invalid as error:
        return await _page(request, "/", error=str(error), status=error.status)

    async def signing() -> Signed | None:
        return await come_back(site, request, state)

    response = await _answer(request, signing(), local_path(state.next))
    forget(response)
    return response


async def _answer(
    request: web.Request, signing: Awaitable[Signed | None], wanted: str, name: str = "", ticket: str = ""
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
    if signed is not None:
        set_cookie(response, signed.token)
    return response


async def _page(
    request: web.Request, wanted: str, name: str = "", error: str = "", ticket: str = "", status: int = 200
) -> web.Response:
    frame = await serve.bare_frame(request, "Sign in")
    named, _ = await heard(serve.site(request), request)
    proxied = named.user if named is not None else ""
    provider = await provider_of(serve.site(request))
    button, out = provider.button if provider.issuer else "", SIGNED_OUT in request.query
    return serve.html(SignInPage(frame, wanted, name, error, ticket, proxied, button, out), status)


async def end_own(request: web.Request) -> web.Response:
    """`POST /logout`. On a node that is not in office only the cookie goes; the session ends with its time."""
    by = principal(request)
    if by is not None:
        with contextlib.suppress(NotMaster, Unavailable):
            await sign_out(serve.site(request), request, by)
    named, _ = await heard(serve.site(request), request)
    others = named is not None or bool((await provider_of(serve.site(request))).issuer)
    response = serve.back(f"/login?{SIGNED_OUT}=1" if others else "/login")
    forget_here(response)
    return response


ROUTES = (
    serve.get("/login", show_sign_in, signed_in=False),
    serve.post("/login", create_session, signed_in=False),
    serve.post("/login/proxy", create_by_proxy, signed_in=False),
    serve.post("/login/oidc", leave_to_provider, signed_in=False),
    serve.get("/login/oidc/callback", come_from_provider, signed_in=False),
    serve.post("/logout", end_own, signed_in=False),
)
