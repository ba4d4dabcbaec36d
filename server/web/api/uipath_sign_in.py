"""UiPath's sign-in by password: what its clients call before all else, and again when their token has expired."""

from __future__ import annotations

import msgspec
from aiohttp import web

from server.core.tenancy import qualified
from server.errors import Forbidden
from server.people.sign_in import check_password
from server.storage import tenants
from server.web.api.endpoint import Call, Endpoint, respond
from server.web.session import remote_address
from server.web.signing_in import begin

HOSTS = ("", "host", "default")
"""What clients call the host's tenancy; a tenant that is called `default` goes before."""


class Authenticate(msgspec.Struct, frozen=True):
    """As UiPath's documentation writes the names, and as its Node.js client does."""

    tenancyName: str = ""
    usernameOrEmailAddress: str = ""
    password: str = ""
    TenancyName: str = ""
    UsernameOrEmailAddress: str = ""
    Password: str = ""


class Authenticated(msgspec.Struct, frozen=True):
    """`result` is for `Authorization: Bearer`; it is a session: listed, idle and signed out like a browser's."""

    result: str
    targetUrl: str | None = None
    success: bool = True
    error: str | None = None
    unAuthorizedRequest: bool = False


async def authenticate(call: Call) -> web.StreamResponse:
    """Sign a program in. 403 for who has a second factor: a program has none; it takes an API token."""
    body: Authenticate = call.body
    tenancy = (body.tenancyName or body.TenancyName).lower()
    if tenancy in HOSTS and await call.site.read_now(lambda rows: tenants.by_name(rows, tenancy)) is None:
        tenancy = ""
    name = qualified(tenancy, body.usernameOrEmailAddress or body.UsernameOrEmailAddress)
    advice = f"A program cannot give its code. Make a token for it: understudy user token create {name}"
    known = await check_password(call.site, name, body.password or body.Password, remote_address(call.request))
    if known.has_factor or known.is_factor_missing:
        raise Forbidden(f"{name} signs in with a second factor. {advice}")
    signed = await begin(call.site, call.request, known, None)
    return respond(msgspec.to_builtins(Authenticated(signed.token)), 200)


ENDPOINTS = (
    Endpoint(
        "POST",
        "/api/Account/Authenticate",
        authenticate,
        "Sign in, as UiPath's clients ask",
        answer=Authenticated,
        body=Authenticate,
        public=True,
    ),
)
