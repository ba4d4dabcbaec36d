"""One's own password: the old one, the new one; then all other sessions of the user are over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from aiohttp import web

from server.actions import users as actions
from server.actions.change import Change
from server.core.model import Principal
from server.errors import Invalid, Unauthenticated, Unavailable, UnderstudyError
from server.people.passwords import check_new_password
from server.people.sign_in import check_password
from server.web.frame import Frame
from server.web.pages import serve
from server.web.session import Renewal, require_principal

HERE = "/users/password"


@dataclass(frozen=True, slots=True)
class PasswordPage:
    """`errors` are those of the form, by field."""

    template: ClassVar[str] = "pages/password_change.html"
    frame: Frame
    errors: dict[str, str]
    must: bool = False
    """Somebody else gave the password that they came in with."""


async def _page(request: web.Request, errors: dict[str, str], status: int = 200) -> web.Response:
    frame, _ = await serve.load(request, "Password", lambda _: None)
    return serve.html(PasswordPage(frame, errors, require_principal(request).must_change_password), status)


async def show(request: web.Request) -> web.Response:
    """`GET /users/password`."""
    return await _page(request, {})


async def change(request: web.Request) -> web.StreamResponse:
    """`POST /users/password`: exactly as typed, so blanks count."""
    site, by, posted = serve.site(request), require_principal(request), await request.post()
    old, new = str(posted.get("old", "")), str(posted.get("password", ""))
    try:
        check_new_password(new, by.name, old)
        await check_password(site, by.name, old, by.address)
    except (Invalid, Unauthenticated, Unavailable) as error:
        return await _page(request, _named(error), 422)
    phc, renewal = await site.passwords.hash(new), Renewal(request)

    def action(asks: Principal, now_us: int) -> Change[int]:
        change = actions.change_password(asks.name, phc, asks, now_us, renewal.keep, renewal.fresh)
        return renewal.of(change)

    await serve.write(request, action)
    return renewal.give(serve.back("/users", "password-changed"))


def _named(error: UnderstudyError) -> dict[str, str]:
    return error.fields or {"old": str(error)}


ROUTES = (serve.get(HERE, show), serve.post(HERE, change))
