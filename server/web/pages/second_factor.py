"""One's own second factor: set it up, confirm it, write down the recovery codes, remove it."""

from __future__ import annotations

import secrets
import sqlite3
from dataclasses import dataclass
from typing import ClassVar

from aiohttp import web

from server.actions import passkeys as passkey_actions
from server.actions import second_factor as actions
from server.core import qr_code
from server.core.sign_in_ways import NO_PASSWORD, passkey_name
from server.errors import Conflict, Invalid, Unauthenticated, Unavailable, UnderstudyError
from server.people import second_factor as codes
from server.people.sign_in import prove
from server.storage import linked_accounts, second_factors, users
from server.storage import sign_in_ways as ways
from server.trust.tls import unseal
from server.web.api.passkeys import PasskeyLine, lines_of
from server.web.api.second_factor import (
    State,
    begun,
    check_again,
    cluster_name,
    confirmation,
    own_id,
    sealed_secret,
    secret_of,
    state,
)
from server.web.frame import Frame
from server.web.pages import serve
from server.web.passkeys import host_of
from server.web.session import Renewal, require_principal

HERE = "/users/second-factor"


@dataclass(frozen=True, slots=True)
class Picture:
    """`path` is what `d` of an SVG path is; `side` how many units wide and high all of it is."""

    side: int
    path: str


@dataclass(frozen=True, slots=True)
class SecondFactorPage:
    """`secret` and `url` while one is set up, `recovery` once it is confirmed: each is shown this once."""

    template: ClassVar[str] = "pages/second_factor_show.html"
    frame: Frame
    state: State
    secret: str = ""
    url: str = ""
    recovery: tuple[str, ...] = ()
    error: str = ""
    passkeys: tuple[PasskeyLine, ...] = ()
    host: str = "localhost"
    rp_id: str = "localhost"
    has_password: bool = True
    issuer: str = ""
    is_linked: bool = False

    @property
    def picture(self) -> Picture:
        """The address as a QR code, for the camera of a phone."""
        code = qr_code.squares(self.url)
        return Picture(len(code) + 2 * qr_code.QUIET, qr_code.path(code))


async def _load(request: web.Request) -> tuple[Frame, State]:
    by = require_principal(request)
    return await serve.load(request, "Second Factor", lambda connection: state(connection, by.name))


async def _page(request: web.Request, error: str = "") -> SecondFactorPage:
    """The page when nothing is being set up: codes and passkeys."""
    by, host = require_principal(request), host_of(request)

    def query(rows: sqlite3.Connection) -> tuple[State, list[PasskeyLine], str, bool, str, bool]:
        user = users.by_name(rows, by.name)
        has_password = user is None or user.password != NO_PASSWORD
        issuer, linked = ways.provider(rows).issuer, linked_accounts.of_user(rows, user.id) if user is not None else []
        rp_id, is_linked = passkey_name(ways.passkeys(rows), host), any(one.issuer == issuer for one in linked)
        return state(rows, by.name), lines_of(rows, by.name), rp_id, has_password, issuer, is_linked

    frame, (known, passkeys, rp_id, has_password, issuer, is_linked) = await serve.load(request, "Second Factor", query)
    return SecondFactorPage(
        frame,
        known,
        error=error,
        passkeys=tuple(passkeys),
        host=host,
        rp_id=rp_id,
        has_password=has_password,
        issuer=issuer,
        is_linked=is_linked,
    )


async def show(request: web.Request) -> web.Response:
    """`GET /users/second-factor`."""
    return serve.html(await _page(request))


async def begin(request: web.Request) -> web.Response:
    """`POST /users/second-factor/begin`."""
    site, by = serve.site(request), require_principal(request)
    user_id, secret = await own_id(site, by.name), secret_of(site, by.name, secrets.token_urlsafe(32))
    try:
        await check_again(site, by, str((await request.post()).get("password", "")))
    except (Invalid, Unauthenticated, Unavailable) as error:
        return await _again(request, error)
    kept = sealed_secret(site, user_id, secret)
    await serve.write(request, lambda asks, now_us: actions.begin(kept, asks, now_us))
    return await _with_secret(request, secret)


async def _with_secret(request: web.Request, secret: bytes, error: str = "") -> web.Response:
    frame, found = await _load(request)
    url = codes.address_of(secret, frame.user, cluster_name(serve.site(request)))
    page = SecondFactorPage(frame, found, codes.text_of(secret), url, (), error)
    return serve.html(page, 422 if error else 200)


async def confirm(request: web.Request) -> web.StreamResponse:
    """`POST /users/second-factor/confirm`: shows the recovery codes, or the secret again with what is wrong."""
    site, by = serve.site(request), require_principal(request)
    code, renewal = (await serve.form(request)).get("code", ""), Renewal(request)
    try:
        change, made = await confirmation(site, by, code, secrets.token_urlsafe(32), renewal)
    except Invalid as error:
        factor = await begun(site, by.name)
        if factor.factor.confirmed_at_us is not None:
            return await _again(request, error)
        name = second_factors.sealed_name(factor.user.id)
        return await _with_secret(request, unseal(site.seal_key, name, factor.nonce, factor.ciphertext), str(error))
    await serve.write(request, lambda _by, _now_us: change)
    frame, found = await _load(request)
    return renewal.give(serve.html(SecondFactorPage(frame, found, recovery=tuple(made))))


async def remove(request: web.Request) -> web.Response:
    """`POST /users/second-factor/remove`."""
    site, by = serve.site(request), require_principal(request)
    code = (await serve.form(request)).get("code", "")
    try:
        proof = await prove(site, by.name, await begun(site, by.name), code, by.address)
        await serve.write(request, lambda asks, now_us: actions.remove(proof, asks, now_us))
    except (Unauthenticated, Conflict, Unavailable) as error:
        return await _again(request, error)
    return serve.back(HERE, "second-factor-removed")


async def rename_passkey(request: web.Request) -> web.Response:
    """`POST /users/second-factor/passkeys/{id}/rename`."""
    number = request.match_info["id"]
    name = (await serve.form(request)).get(f"name-{number}", "")
    try:
        await serve.write(request, lambda by, now_us: passkey_actions.rename(int(number), name, by, now_us))
    except Invalid as error:
        return await _again(request, error)
    return serve.back(HERE, "passkey-renamed")


async def remove_passkey(request: web.Request) -> web.Response:
    """`POST /users/second-factor/passkeys/{id}/remove`."""
    site, number = serve.site(request), request.match_info["id"]
    password = str((await request.post()).get(f"password-{number}", ""))
    try:
        await check_again(site, require_principal(request), password)
    except (Invalid, Unauthenticated, Unavailable) as error:
        return await _again(request, error)
    await serve.write(request, lambda by, now_us: passkey_actions.remove(int(number), by, now_us))
    return serve.back(HERE, "passkey-removed")


async def _again(request: web.Request, error: UnderstudyError) -> web.Response:
    return serve.html(await _page(request, str(error)), 422)


ROUTES = (
    serve.get(HERE, show),
    serve.post(HERE + "/begin", begin),
    serve.post(HERE + "/confirm", confirm),
    serve.post(HERE + "/remove", remove),
    serve.post(HERE + r"/passkeys/{id:\d{1,18}}/rename", rename_passkey),
    serve.post(HERE + r"/passkeys/{id:\d{1,18}}/remove", remove_passkey),
)
