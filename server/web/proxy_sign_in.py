"""Signing in by the word of a trusted proxy (docs/access.md). The address that counts is the connection's, never one
that a header says.
"""

from __future__ import annotations

from aiohttp import web

from server.actions import sign_in_ways as actions
from server.core.sign_in_ways import BAD_HEADER, NO_PROXY, ProxyTrust, Said, said
from server.errors import Conflict, Forbidden
from server.people.sign_in import check_code, vouched
from server.site import Site
from server.storage import sign_in_ways, users
from server.web.session import is_local
from server.web.signing_in import Signed, begin

HEARD = web.RequestKey("heard", tuple[Said | None, ProxyTrust])
REFUSALS = {
    NO_PROXY: "Only a trusted proxy may say who signs in, and this request did not come from one. Sign in yourself.",
    BAD_HEADER: "The proxy must name one user, once. Its header was empty, there twice, or no name. Ask who runs it.",
}


async def heard(site: Site, request: web.Request) -> tuple[Said | None, ProxyTrust]:
    """What a proxy says of who asks, None when none says anything; a word that is not taken is noted for the audit."""
    if HEARD in request:
        return request[HEARD]
    request[HEARD] = found = await _heard(site, request)
    return found


async def _heard(site: Site, request: web.Request) -> tuple[Said | None, ProxyTrust]:
    trust = await site.read_now(sign_in_ways.proxy)
    if is_local(request) or not trust.proxies:
        return None, trust
    users_said = request.headers.getall(trust.user_header, [])
    addresses = request.headers.getall(trust.address_header, []) if trust.address_header else []
    found = said(trust, request.remote or "", users_said, addresses)
    if found is not None and found.refusal:
        site.door.failures.add(found.refusal, found.proxy, site.clock.utc_us())
    return found, trust


async def sign_in_by_proxy(site: Site, request: web.Request, code: str = "") -> Signed:
    """Begin a session of whom the proxy names. Raises `Forbidden` when its word is not taken,
    `Conflict` when none says anything, and as for others."""
    site.store()
    found, trust = await heard(site, request)
    if found is None:
        raise Conflict("No proxy says who signs in here. Sign in with your name and password.")
    if found.refusal:
        raise Forbidden(REFUSALS[found.refusal])
    way = f"proxy {found.proxy}"
    if trust.new_role and not await site.read_now(lambda rows: users.by_name(rows, found.user)):
        now_us = site.clock.utc_us()
        await site.store().write(actions.make_user(found.user, trust.new_role, way, found.address, now_us))
    known = await vouched(site, found.user, found.address, way)
    return await begin(site, request, known, await check_code(site, known, code, found.address))
