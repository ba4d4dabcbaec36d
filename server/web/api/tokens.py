"""API tokens. A secret is shown once and never stored."""

from __future__ import annotations

import sqlite3
from typing import Annotated

import msgspec

from server.actions import tokens
from server.core.access import may
from server.core.model import DAY_US, Principal
from server.core.people import ApiToken
from server.errors import Forbidden
from server.ports.numbers import NUMBER_MAX
from server.storage import api_tokens
from server.storage import users as user_rows
from server.trust.tls import secret_hash
from server.web.api.endpoint import AFTER, Answer, Call, Endpoint, shape
from server.web.session import TOKEN_PREFIX


class NewToken(msgspec.Struct, frozen=True):
    """An API token to make. Without `user` it is one's own; `days` None never expires.

    `scope`: permissions separated by blanks, or read-only; "" is all that the owner may.
    """

    name: str
    user: str = ""
    days: Annotated[int, msgspec.Meta(ge=1, le=36500)] | None = 365
    scope: str = ""


class TokenLine(msgspec.Struct, frozen=True):
    """An API token, without its secret. `scope` "" is all that the owner may; the last use is kept to the hour."""

    id: int
    user: str
    name: str
    created_at_us: int
    expires_at_us: int | None
    revoked_at_us: int | None
    scope: str
    last_used_at_us: int | None


async def list_tokens(call: Call) -> list[TokenLine]:
    """API tokens: everybody's for administrators, else one's own."""
    after, limit = call.query_number("after", 0, 0, NUMBER_MAX), call.limit()
    return await call.read(lambda rows: lines(rows, call.by, after, limit))


def lines(connection: sqlite3.Connection, by: Principal, after: int, limit: int) -> list[TokenLine]:
    """A query: tokens by id with their owners, as `by` may see them."""
    own = None
    if not may(by, "users.manage"):
        owner = user_rows.by_name(connection, by.name)
        own = owner.id if owner is not None else 0
    names: dict[int, str] = {}
    return [_line(connection, token, names) for token in api_tokens.page(connection, own, after, limit)]


def _line(connection: sqlite3.Connection, token: ApiToken, names: dict[int, str]) -> TokenLine:
    if token.user_id not in names:
        owner = user_rows.get(connection, token.user_id)
        names[token.user_id] = owner.name if owner is not None else ""
    return TokenLine(
        id=token.id,
        user=names[token.user_id],
        name=token.name,
        created_at_us=token.created_at_us,
        expires_at_us=token.expires_at_us,
        revoked_at_us=token.revoked_at_us,
        scope=token.scope,
        last_used_at_us=token.last_used_at_us,
    )


async def create_token(call: Call) -> Answer:
    """Make an API token; its secret is in this answer and nowhere else."""
    body = call.body
    user = body.user or call.by.name
    if user == "local":
        raise Forbidden("The local socket has no tokens of its own. Name a user.")
    secret = TOKEN_PREFIX + call.site.derive_secret("token", call.by.name, call.key)
    expires = call.now_us + body.days * DAY_US if body.days is not None else None
    change = tokens.create(user, body.name, secret_hash(secret), expires, call.by, call.now_us, body.scope)
    return await call.write(
        change,
        lambda number: {"id": number, "user": user, "name": body.name, "scope": body.scope},
        201,
        secret=lambda _: {"token": secret},
    )


async def revoke_token(call: Call) -> Answer:
    """Revoke an API token."""
    number = call.number("id")
    return await call.write(tokens.revoke(number, call.by, call.now_us), lambda _: {"id": number, "revoked": True})


ENDPOINTS = (
    Endpoint("GET", "/api/v1/tokens", list_tokens, "API tokens", answer=list[TokenLine], query=(AFTER, "limit")),
    Endpoint(
        "POST",
        "/api/v1/tokens",
        create_token,
        "Make an API token",
        answer=shape(id=int, user=str, name=str, scope=str, token=str),
        body=NewToken,
        status=201,
    ),
    Endpoint("DELETE", "/api/v1/tokens/{id}", revoke_token, "Revoke an API token", answer=shape(id=int, revoked=bool)),
)
