"""Who asks: the local socket, a token, or a browser's session. Only hashes of tokens are stored."""

from __future__ import annotations

import math
import secrets
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import TypeVar

import msgspec
from aiohttp import web

from replication.errors import ReplicationError
from server.actions import sessions, settings, tokens
from server.actions.change import Change, Transaction
from server.core.model import Principal
from server.core.request_quota import is_free
from server.core.tenancy import tenant_of, wrong_name
from server.errors import TooManyRequests, Unauthenticated, Unavailable
from server.site import Site, site_of
from server.trust.tls import secret_hash
from server.web.csrf import SAFE_METHODS

T = TypeVar("T")
COOKIE = "__Host-understudy"
TOKEN_PREFIX = "us_"
LIVE_HEADER = "X-Live"
"""On what a page asks by itself to stay up to date: nobody is at work there, so it keeps no session alive."""
LOCAL = Principal("local", "administrator")
"""Who comes in by the local socket: whoever may open it owns the data directory."""

TENANT_HEADER = "Understudy-Tenant"
TENANT_COOKIE = "__Host-understudy-tenant"
"""In whose name a browser of the host's people asks."""

PER_MINUTE = "requests_per_minute"
"""The setting: how often a token or a session may ask."""

PRINCIPAL = web.RequestKey("principal", Principal)
SESSION_HASH = web.RequestKey("session_hash", str)


def new_token(prefix: str = "") -> str:
    """A random secret of 256 bits, URL-safe."""
    return prefix + secrets.token_urlsafe(32)


def is_local(request: web.Request) -> bool:
    """Whether the request came by the unix socket in the data directory."""
    transport = request.transport
    connected = transport.get_extra_info("socket") if transport is not None else None
    return connected is not None and connected.family == socket.AF_UNIX


def is_loopback(request: web.Request) -> bool:
    """Whether it came from this machine: the local socket or a loopback address, and not through a proxy."""
    if is_local(request):
        return True
    if request.remote is None or site_of(request).config.behind_proxy:
        return False
    try:
        return ip_address(request.remote).is_loopback
    except ValueError:
        return False


def remote_address(request: web.Request) -> str:
    """The address for the audit; behind a proxy the last one that the proxy added."""
    forwarded = request.headers.get("X-Forwarded-For", "")
    if site_of(request).config.behind_proxy and forwarded:
        return forwarded.rpartition(",")[2].strip()
    return request.remote or ""


def principal(request: web.Request) -> Principal | None:
    """Who asks, or None when nobody is signed in."""
    return request.get(PRINCIPAL)


def require_principal(request: web.Request) -> Principal:
    """Who asks; raises `Unauthenticated`."""
    found = principal(request)
    if found is None:
        raise Unauthenticated("Sign in, or send a token in `Authorization: Bearer`.")
    return found


async def identify(request: web.Request) -> None:
    """Find out who asks and keep it with the request. A bad token is an error; a dead session is nobody."""
    if is_local(request):
        request[PRINCIPAL] = LOCAL
        return
    site = site_of(request)
    authorization = request.headers.get("Authorization", "")
    if authorization:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer":
            await _by_bearer(site, request, token.strip())
        if principal(request) is None:
            raise Unauthenticated("This token is not valid. Make one: understudy user token create USER")
        return
    cookie = request.cookies.get(COOKIE)
    if cookie:
        await _by_session(site, request, secret_hash(cookie))


def enter_tenant(request: web.Request) -> None:
    """Let somebody of the host ask in the name of a tenant: then it is as if the tenant asked (docs/tenants.md).

    It is named by a header, by `tenant=` in the address, by the browser's cookie, or in front of what is changed
    (`acme:backup`).
    """
    by = principal(request)
    if by is None or by.tenant:
        return
    named = (
        request.headers.get(TENANT_HEADER) or request.query.get("tenant", "") or request.cookies.get(TENANT_COOKIE, "")
    )
    if not named and request.method not in SAFE_METHODS:
        named = next((found for part in request.match_info.values() if (found := tenant_of(part))), "")
    if named and not wrong_name(named):
        request[PRINCIPAL] = msgspec.structs.replace(by, tenant=named)


async def _by_bearer(site: Site, request: web.Request, secret: str) -> None:
    """An API token, or what UiPath's sign-in answered, which is a session."""
    found = await _by_token(site, request, secret)
    if found is not None:
        request[PRINCIPAL] = found
    else:
        await _by_session(site, request, secret_hash(secret))


async def _by_token(site: Site, request: web.Request, token: str) -> Principal | None:
    now_us, address = site.clock.utc_us(), remote_address(request)
    hashed = secret_hash(token)
    found, per_minute = await site.read_now(
        lambda rows: (tokens.authenticate(rows, hashed, now_us, address), settings.number(rows, PER_MINUTE))
    )
    if found is None:
        return None
    _count(site, request, f"token {found.token_id}", per_minute)
    site.door.token_used(found.token_id, now_us)
    return found.principal


async def _by_session(site: Site, request: web.Request, hashed: str) -> None:
    now_us, address = site.clock.utc_us(), remote_address(request)
    try:
        found, per_minute = await site.read_now(
            lambda rows: (sessions.authenticate(rows, hashed, now_us, address), settings.number(rows, PER_MINUTE))
        )
    except (Unavailable, ReplicationError):
        return
    if found is not None:
        _count(site, request, f"session {hashed}", per_minute)
        request[PRINCIPAL] = found
        request[SESSION_HASH] = hashed
        if LIVE_HEADER not in request.headers:
            site.door.session_seen(hashed, now_us)


def _count(site: Site, request: web.Request, whose: str, per_minute: int) -> None:
    """Raise `TooManyRequests` for who asks too often, whatever it is but what ends trouble."""
    wait_s = 0.0 if is_free(request.path) else site.door.quota.wait_s(whose, per_minute, site.clock.monotonic())
    if wait_s > 0:
        raise TooManyRequests(
            f"This {whose.partition(' ')[0]} asks too often: {per_minute} requests a minute are its quota. Wait as long"
            f" as Retry-After says; ask for lists instead of single things. An administrator sets {PER_MINUTE}.",
            retry_after_s=math.ceil(wait_s),
        )


def set_cookie(response: web.StreamResponse, token: str) -> None:
    """Give the browser its session; the row says when it ends (setting `session_hours`)."""
    response.set_cookie(COOKIE, token, secure=True, httponly=True, samesite="Lax", path="/")


def drop_cookie(response: web.StreamResponse) -> None:
    """Take the session from the browser."""
    response.del_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="Lax")


def forget_here(response: web.StreamResponse) -> None:
    """At sign-out: the session and what the browser kept of the pages go."""
    drop_cookie(response)
    response.headers["Clear-Site-Data"] = '"cache", "storage"'


class Renewal:
    """Another id for the session of a browser whose user changes how they sign in: whoever has the former is out.

    The action takes `keep` and `fresh`, hashes of tokens; `of` wraps its change, and `give` hands the new cookie out.
    A session that came as a bearer token keeps its id (`fresh` is ""): its program would not learn another.
    """

    def __init__(self, request: web.Request) -> None:
        self.keep = request.get(SESSION_HASH, "")
        is_cookie = bool(self.keep) and secret_hash(request.cookies.get(COOKIE, "")) == self.keep
        self._token = new_token() if is_cookie else ""
        self.fresh = secret_hash(self._token) if is_cookie else ""
        self._is_done = False

    def of(self, change: Change[T], is_due: Callable[[T], bool] = lambda _: True) -> Change[T]:
        """The change, after which the cookie is another one when `is_due` says so of its value."""

        def renewing(transaction: Transaction) -> T:
            value = change(transaction)
            self._is_done = is_due(value)
            return value

        return renewing

    def give(self, response: web.StreamResponse) -> web.StreamResponse:
        """The answer, with the new cookie if the change was made by this request."""
        if self._token and self._is_done:
            set_cookie(response, self._token)
        return response
