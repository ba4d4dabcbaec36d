"""Sessions begin and end here, whichever way somebody signed in."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from server.actions import sessions
from server.actions.change import for_tenant
from server.actions.second_factor import Proof
from server.core.model import Principal
from server.people.sign_in import Checked, check_code, check_password, check_ticket
from server.site import SEQUENCE, Site
from server.trust.tls import secret_hash
from server.web.session import SESSION_HASH, new_token, remote_address


@dataclass(frozen=True, slots=True)
class Signed:
    """Somebody who has just signed in; `token` is for the cookie."""

    token: str
    by: Principal
    must_change_password: bool = False


async def sign_in(
    site: Site, request: web.Request, name: str, password: str, code: str = "", ticket: str = ""
) -> Signed:
    """Check password and code of a second factor, and write the session.

    `ticket` of `SecondFactorNeeded` stands for name and password.

    Raises `Unauthenticated` a second late, `SecondFactorNeeded`, `TooManyAttempts`, `Conflict` for a non-administrator
    during a swap, `NotMaster` on a standby.
    """
    site.store()
    address = remote_address(request)
    known = await (check_ticket(site, ticket, address) if ticket else check_password(site, name, password, address))
    return await begin(site, request, known, await check_code(site, known, code, address))


async def begin(site: Site, request: web.Request, known: Checked, proof: Proof | None) -> Signed:
    """Write the session of who was checked; that which the browser had ends. It waits for this node alone."""
    token, by, agent = new_token(), known.by, request.headers.get("User-Agent", "")
    now_us, replaced, hashed = site.clock.utc_us(), request.get(SESSION_HASH, ""), secret_hash(token)
    change = sessions.create(by.name, known.password, hashed, by, now_us, agent, proof, replaced, known.way)
    session, request[SEQUENCE] = await site.store().write_ungated(for_tenant(by.tenant, change))
    site.door.guard.forget(by.name)
    return Signed(token, by, session.must_change_password)


async def sign_out(site: Site, request: web.Request, by: Principal) -> None:
    """End the session of this request, if it has one. It waits for this node alone."""
    hashed = request.get(SESSION_HASH)
    if hashed is not None:
        change = for_tenant(by.tenant, sessions.end(hashed, by, site.clock.utc_us()))
        _, request[SEQUENCE] = await site.store().write_ungated(change)
