"""Asks a browser once more who sits there before what `server.core.proof_again` lists, then goes on with that.

A form is held in the page that asks, and sent again with the password or code to where it was going: nothing of it is
kept here meanwhile.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import msgspec
from aiohttp import web

from server.actions import second_factor, sessions
from server.actions.change import for_tenant
from server.core.model import Principal
from server.core.proof_again import ASKING, is_asked
from server.core.sign_in_ways import NO_PASSWORD
from server.errors import Invalid, ProofNeeded
from server.people.sign_in import check_password, prove
from server.site import SEQUENCE, Site, site_of
from server.storage import sessions as rows
from server.storage import users
from server.web.session import SESSION_HASH, principal, remote_address

PASSWORD, CODE, NAME = "proof-password", "proof-code", "proof-name"
"""The fields of the page that asks, beside those of the form that it holds. The name is for password managers."""
AGAIN = "You signed in more than 15 minutes ago. Say once more who you are: POST /api/v1/prove with password or code"


@dataclass(frozen=True, slots=True)
class Known:
    """Whose session it is, when they said last who they are, and with what they can say it again."""

    name: str
    tenant: str
    proved_at_us: int
    has_password: bool
    has_codes: bool


async def whom_to_ask(request: web.Request) -> Known | None:
    """Who has to say again who they are before this is done; None: nobody."""
    route = request.match_info.route.resource
    where = request.method, route.canonical if route is not None else ""
    hashed, site = request.get(SESSION_HASH, ""), site_of(request)
    by = principal(request)
    if where not in ASKING or not hashed or "Authorization" in request.headers or not site.in_office:
        return None
    if by is None or by.must_change_password or await _is_own_password(request, by):
        return None
    now_us = site.clock.utc_us()
    known = await site.read_now(lambda connection: _known(connection, hashed, now_us))
    return known if known is not None and is_asked(*where, known.proved_at_us, now_us) else None


async def _is_own_password(request: web.Request, by: Principal) -> bool:
    """Whether a program sets the password of who asks, and nothing else: that asks for the old one by itself."""
    if request.path != f"/api/v1/users/{by.name}":
        return False
    try:
        body = msgspec.json.decode(await request.read())
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    return isinstance(body, dict) and body.keys() == {"password", "old_password"}


def _known(connection: sqlite3.Connection, hashed: str, now_us: int) -> Known | None:
    found = rows.signed_in(connection, hashed, now_us)
    user = users.get(connection, found.user_id) if found is not None else None
    if found is None or user is None:
        return None
    has_codes = second_factor.has_one(connection, user.id)
    return Known(user.name, user.tenant, found.proved_at_us, user.password != NO_PASSWORD, has_codes)


async def prove_again(site: Site, request: web.Request, password: str, code: str) -> None:
    """Note that who has this session said once more who they are.

    Raises `Invalid` without a word of it, `Unauthenticated` a second late for a wrong one, `TooManyAttempts`.
    """
    hashed, now_us, address = request.get(SESSION_HASH, ""), site.clock.utc_us(), remote_address(request)
    known = await site.read_now(lambda connection: _known(connection, hashed, now_us))
    if known is None:
        raise Invalid("Only who is signed in by a browser is asked: a token and the socket are not.")
    if not password and not code.strip():
        raise Invalid("Type your password, or a code if you have a second factor.", field="password")
    if password:
        checked = await check_password(site, known.name, password, address)
        change = sessions.prove_again(hashed, known.name, address, now_us, checked.password)
    else:
        factor = await site.read_now(lambda connection: second_factor.of_user(connection, known.name))
        proof = await prove(site, known.name, factor, code, address)
        change = sessions.prove_again(hashed, known.name, address, now_us, proof=proof)
    _, request[SEQUENCE] = await site.store().write(for_tenant(known.tenant, change))
    site.door.guard.forget(known.name)


async def require_proof(request: web.Request) -> None:
    """For programs: raise `ProofNeeded` when who has this session said too long ago who they are."""
    if await whom_to_ask(request) is not None:
        raise ProofNeeded(AGAIN)
