"""API tokens: made, listed with their last use, revoked. A part of Users and Sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from aiohttp import web

from server.actions import tokens as actions
from server.core.access import may
from server.core.model import DAY_US
from server.errors import Conflict, Forbidden, Invalid, NotFound
from server.trust.tls import secret_hash
from server.web.api.roles import PermissionLine, permission_lines
from server.web.api.tokens import TokenLine, lines
from server.web.frame import Frame
from server.web.pages import serve
from server.web.session import TOKEN_PREFIX, new_token, require_principal

HERE = "/users/tokens"
LIMIT = 500
EMPTY = {"name": "", "user": "", "scope": "", "days": "365"}


@dataclass(frozen=True, slots=True)
class TokensPage:
    """The list and the form. `secret` is that of a token just made: it is shown this once."""

    template: ClassVar[str] = "pages/token_list.html"
    frame: Frame
    tokens: tuple[TokenLine, ...]
    values: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    errors: Mapping[str, str] = field(default_factory=dict)
    secret: str = ""
    permissions: tuple[PermissionLine, ...] = field(default_factory=lambda: tuple(permission_lines()))

    def ends_soon(self, token: TokenLine) -> bool:
        """Whether it ends within the time of the warning."""
        return token.expires_at_us is not None and token.expires_at_us < self.frame.now_us + actions.WARNED_BEFORE_US


async def _load(request: web.Request) -> tuple[Frame, tuple[TokenLine, ...]]:
    by = require_principal(request)
    frame, found = await serve.load(request, "API Tokens", lambda connection: lines(connection, by, 0, LIMIT))
    return frame, tuple(reversed(found))


async def show(request: web.Request) -> web.Response:
    """`GET /users/tokens`."""
    return serve.html(TokensPage(*await _load(request)))


async def create(request: web.Request) -> web.Response:
    """`POST /users/tokens`: makes one and shows it once, or the form again with what is wrong."""
    by, values = require_principal(request), {**EMPTY, **await serve.form(request)}
    user = values["user"] if values["user"] and may(by, "users.manage") else by.name
    secret = new_token(TOKEN_PREFIX)
    try:
        if not values["days"].isdecimal() or not 1 <= int(values["days"]) <= 36500:
            raise Invalid("Days must be a whole number from 1 to 36500.", field="days")
        ends_at_us = serve.site(request).clock.utc_us() + int(values["days"]) * DAY_US
        name, scope = values["name"], values["scope"]
        await serve.write(
            request,
            lambda asks, now_us: actions.create(user, name, secret_hash(secret), ends_at_us, asks, now_us, scope),
        )
    except (Invalid, Conflict, Forbidden, NotFound) as error:
        frame, found = await _load(request)
        errors = error.fields or {"user" if may(by, "users.manage") else "name": str(error)}
        return serve.html(TokensPage(frame.with_problem(str(error)), found, values, errors), 422)
    frame, found = await _load(request)
    return serve.html(TokensPage(frame, found, secret=secret))


async def revoke(request: web.Request) -> web.Response:
    """`POST /users/tokens/{id}/revoke`."""
    number = int(request.match_info["id"])
    await serve.write(request, lambda by, now_us: actions.revoke(number, by, now_us))
    return serve.back(HERE, "token-revoked")


ROUTES = (
    serve.get(HERE, show),
    serve.post(HERE, create),
    serve.post(HERE + r"/{id:\d+}/revoke", revoke),
)
