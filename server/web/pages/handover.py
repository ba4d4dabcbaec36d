"""A browser that is signed in at the former master goes on at the new one without its password.

Three addresses, each opened by the one before: the new master remembers the browser (`begin`), the former one vouches
for its session with a text that both nodes can sign (`give`), the new one ends that session and makes its own (`take`).
So a text is good once, for 60 s, for this browser, and only over TLS to a node of the roster (docs/decisions/0130).
"""

from __future__ import annotations

import secrets
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from server.actions import sessions as actions
from server.core.model import Principal
from server.errors import Conflict, Unauthenticated
from server.site import SEQUENCE, Site
from server.trust.signed_text import opened, sign
from server.trust.tls import secret_hash
from server.web.pages import serve
from server.web.pages.sign_in import SignInPage, local_path
from server.web.session import SESSION_HASH, new_token, principal, remote_address, set_cookie

PURPOSE = "handover"
GOOD_FOR_US = 60_000_000
STATE_COOKIE = "__Host-understudy-handover"


class Voucher(msgspec.Struct, frozen=True):
    """`session` and `state` are hashes: of the session at the former master, and of what the browser keeps for `to`."""

    session: str
    to: str
    state: str
    next: str
    made_at_us: int
    nonce: str


def is_possible(request: web.Request) -> bool:
    """Whether this node may take part: never where TLS ends before it, as nobody knows then who reads along."""
    return request.secure and not serve.site(request).config.behind_proxy


def begin_address(request: web.Request, master_url: str, path: str) -> str:
    """Where the former master sends a browser: with a hand-over when it is signed in here, else to the page."""
    status = serve.site(request).status()
    if status is None or not master_url or SESSION_HASH not in request or not is_possible(request):
        return f"{master_url}{path}" if master_url else ""
    return f"{master_url}/handover/begin?{urlencode({'from': status.node, 'next': path})}"


async def begin(request: web.Request) -> web.Response:
    """`GET /handover/begin?from=NODE&next=PATH` at the new master."""
    site, wanted = serve.site(request), local_path(request.query.get("next", "/"))
    url, own = _url(site, request.query.get("from", "")), site.status()
    if principal(request) is not None:
        return serve.back(wanted)
    if own is None or not url or not site.in_office or not is_possible(request):
        return _to_sign_in(wanted)
    state = secrets.token_urlsafe(32)
    asked = urlencode({"to": own.node, "state": secret_hash(state), "next": wanted})
    response = serve.back(f"{url}/handover/give?{asked}")
    response.set_cookie(STATE_COOKIE, state, max_age=60, secure=True, httponly=True, samesite="Lax", path="/")
    return response


async def give(request: web.Request) -> web.Response:
    """`GET /handover/give?to=NODE&state=HASH&next=PATH` at the former master: it changes nothing here."""
    site, query = serve.site(request), request.query
    to, wanted = query.get("to", ""), local_path(query.get("next", "/"))
    url = _url(site, to)
    if not url or site.in_office:
        return serve.back("/")
    session = request.get(SESSION_HASH, "")
    if not session or not is_possible(request):
        return serve.back(f"{url}/login?{urlencode({'next': wanted})}")
    voucher = Voucher(session, to, query.get("state", ""), wanted, site.clock.utc_us(), secrets.token_urlsafe(32))
    return serve.back(f"{url}/handover/take?{urlencode({'code': sign(site.seal_key, PURPOSE, voucher)})}")


async def take(request: web.Request) -> web.Response:
    """`GET /handover/take?code=TEXT` at the new master: the browser's session here, or the sign-in page."""
    site, code = serve.site(request), request.query.get("code", "")
    voucher, own = opened(site.seal_key, PURPOSE, code, Voucher), site.status()
    if principal(request) is not None:
        return serve.back(local_path(voucher.next) if voucher is not None else "/")
    now_us, state = site.clock.utc_us(), request.cookies.get(STATE_COOKIE, "")
    if voucher is None or own is None or voucher.to != own.node or not is_possible(request):
        return await _refused(request, "/")
    is_in_time = abs(now_us - voucher.made_at_us) <= GOOD_FOR_US
    if not is_in_time or not state or secret_hash(state) != voucher.state:
        return await _refused(request, voucher.next)
    token, by = new_token(), Principal("", "", remote_address(request))
    change = actions.hand_over(voucher.session, secret_hash(token), by, now_us, request.headers.get("User-Agent", ""))
    try:
        _, request[SEQUENCE] = await site.store().write_ungated(change)
    except (Unauthenticated, Conflict):
        return await _refused(request, voucher.next)
    response = serve.back(local_path(voucher.next))
    response.del_cookie(STATE_COOKIE, path="/", secure=True, httponly=True, samesite="Lax")
    set_cookie(response, token)
    return response


def _url(site: Site, node: str) -> str:
    status = site.status()
    is_other = status is not None and node != status.node
    return site.web_url(node) if is_other else ""


def _to_sign_in(wanted: str) -> web.Response:
    return serve.back(f"/login?{urlencode({'next': wanted})}")


async def _refused(request: web.Request, wanted: str) -> web.Response:
    error = "This node could not take your session over: it has ended, or too much time went by. Sign in."
    frame = await serve.bare_frame(request, "Sign in")
    return serve.html(SignInPage(frame, local_path(wanted), "", error), 401)


ROUTES = (
    serve.get("/handover/begin", begin, signed_in=False),
    serve.get("/handover/give", give, signed_in=False),
    serve.get("/handover/take", take, signed_in=False),
)
