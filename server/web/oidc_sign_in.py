"""Signing in by an OpenID provider: to it, and back (docs/sign-in.md).

What the browser carries is a signed text in a cookie; nonce and verifier follow from its state and the cluster's key,
so either node goes on, and nothing is kept before somebody is back.
"""

from __future__ import annotations

import hmac
import secrets
import sqlite3
from typing import Any

import msgspec
from aiohttp import web

from server.actions import linked_accounts as actions
from server.actions.change import for_tenant
from server.actions.linked_accounts import Person
from server.core.model import MINUTE_US, Principal
from server.core.oidc import Provider, role_of, user_of
from server.core.sign_in_guard import Limits
from server.errors import Conflict, Invalid, Unauthenticated
from server.people.oidc import Begun
from server.people.sign_in import check_code, vouched
from server.site import Site
from server.storage import allowed_hosts, sealed, sign_in_ways
from server.trust.signed_text import opened, sign
from server.trust.tls import secret_hash
from server.web.passkeys import origin_of
from server.web.session import principal, remote_address
from server.web.signing_in import Signed, begin

PURPOSE = "oidc"
COOKIE = "__Host-understudy-oidc"
GOOD_FOR_US = 10 * MINUTE_US
PROVIDER = "(provider)"
LATE = "That took too long, or was begun in another browser. Begin again."


class State(msgspec.Struct, frozen=True):
    """`next` is where the browser wanted to go, `link` the user who links an account, "" to sign in."""

    state: str
    next: str
    link: str
    made_at_us: int


async def provider_of(site: Site) -> Provider:
    """The provider that is set."""
    return await site.read_now(sign_in_ways.provider)


async def leave(site: Site, request: web.Request, wanted: str, link: bool) -> tuple[str, str]:
    """Where the browser goes at the provider, and the cookie for it.

    Raises `Conflict` when there is none, `Silent` when it does not answer.
    """
    site.store()
    provider, by = await provider_of(site), principal(request)
    if not provider.issuer:
        raise Conflict("No provider is set here. Sign in with name and password.")
    state = State(secrets.token_urlsafe(32), wanted, by.name if link and by is not None else "", site.clock.utc_us())
    where = await site.oidc.address(provider, await _begun(site, request, state), state.state, site.clock.monotonic())
    return where, sign(site.seal_key, PURPOSE, state)


def remember(response: web.StreamResponse, text: str) -> None:
    """Give the browser the cookie of its way."""
    response.set_cookie(COOKIE, text, max_age=600, secure=True, httponly=True, samesite="Lax", path="/")


def state_of(site: Site, request: web.Request) -> State:
    """What this browser was sent away with. Raises `Invalid` for another's, an old one or none."""
    found = opened(site.seal_key, PURPOSE, request.cookies.get(COOKIE, ""), State)
    said = request.query.get("state", "")
    if found is None or not hmac.compare_digest(found.state.encode(), said.encode()):
        raise Invalid(LATE)
    if abs(site.clock.utc_us() - found.made_at_us) > GOOD_FOR_US:
        raise Invalid(LATE)
    return found


async def come_back(site: Site, request: web.Request, state: State) -> Signed | None:
    """Begin a session of whom the provider names; None when an account was linked instead. Raises as `sign_in` does."""
    store, address, now_us = site.store(), remote_address(request), site.clock.utc_us()
    provider, by = await provider_of(site), principal(request)
    person = await _person(site, request, provider, state, address)
    if state.link:
        if by is None or by.name != state.link:
            raise Unauthenticated(LATE)
        await store.write(for_tenant(by.tenant, actions.link(person, by, now_us)))
        return None
    try:
        name, _ = await store.write(actions.enter(person, address, now_us))
    except Unauthenticated:
        site.door.failures.add(PROVIDER, address, now_us)
        raise
    known = await vouched(site, name, address, f"provider {provider.issuer}")
    return await begin(site, request, known, await check_code(site, known, "", address))


async def _person(site: Site, request: web.Request, provider: Provider, state: State, address: str) -> Person:
    """Ask the provider who this is. Few at once, and slower after refusals, as with passwords."""
    now_us, now_s = site.clock.utc_us(), site.clock.monotonic()
    account = f"{PROVIDER} {address}"
    with site.door.entering(account, address, now_s):
        try:
            claims = await _claims(site, request, provider, state)
        except Unauthenticated:
            site.door.failures.add(PROVIDER, address, now_us)
            site.door.guard.failed(account, address, now_s, Limits())
            raise
    return Person(
        issuer=provider.issuer,
        subject=claims["sub"],
        state=(secret_hash(state.state), state.made_at_us + 2 * GOOD_FOR_US),
        name=user_of(claims, provider),
        role=role_of(claims, provider),
        makes=provider.makes_users,
        has_roles=bool(provider.role_claim),
    )


async def _claims(site: Site, request: web.Request, provider: Provider, state: State) -> dict[str, Any]:
    code = request.query.get("code", "")
    if not provider.issuer or "error" in request.query or not 0 < len(code) <= 4096:
        raise Unauthenticated("The provider did not sign you in. Try again, or use name and password.")
    secret = await site.read_now(lambda rows: _secret(site, rows))
    times = site.clock.utc_us() / 1e6, site.clock.monotonic()
    return await site.oidc.claims(provider, secret, code, await _begun(site, request, state), times)


def _secret(site: Site, connection: sqlite3.Connection) -> str:
    found = sealed.get(connection, sign_in_ways.CLIENT_SECRET)
    return site.seal.opened(sign_in_ways.CLIENT_SECRET, *found) if found is not None else ""


async def _begun(site: Site, request: web.Request, state: State) -> Begun:
    nonce, verifier = (site.derive_secret(f"oidc {what}", "", state.state) for what in ("nonce", "verifier"))
    allowed = await site.read_now(allowed_hosts.get)
    return Begun(f"{origin_of(request, site)}/login/oidc/callback", nonce, verifier, allowed)


def forget(response: web.StreamResponse) -> None:
    """The browser needs the state no more."""
    response.del_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="Lax")


def is_linking(by: Principal | None, text: str) -> bool:
    """Whether somebody who is signed in asks to link an account."""
    return by is not None and text == "1"
