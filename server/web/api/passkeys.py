"""Passkeys: one's own, made and used by a browser in two steps, and whose there are."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec
from aiohttp import web

from server.actions import passkeys as actions
from server.actions.users import find
from server.core.people import Passkey
from server.people import second_factor as codes
from server.storage import passkeys, users
from server.trust.tls import secret_hash
from server.web.api.endpoint import Answer, Call, Endpoint, respond, shape
from server.web.api.people import welcome
from server.web.api.second_factor import check_again
from server.web.passkeys import Asked, ask_to_register, ask_to_sign_in, registered, sign_in_by_passkey
from server.web.session import Renewal


class PasskeyLine(msgspec.Struct, frozen=True):
    """A passkey. It works at `name_of_server` and below; `alone`: without a password."""

    id: int
    name: str
    name_of_server: str
    alone: bool
    created_at_us: int
    last_used_at_us: int | None


class Begin(msgspec.Struct, frozen=True):
    """The password once more, and whether the passkey is to sign in alone."""

    password: str = ""
    alone: bool = False


class Made(msgspec.Struct, frozen=True):
    """What the browser answered, and what it was asked."""

    name: str
    question: str
    credential: dict[str, Any]


class Name(msgspec.Struct, frozen=True):
    """Another name."""

    name: str


class BeginSignIn(msgspec.Struct, frozen=True):
    """`ticket` stands for a password that was right; without one the passkey is to be enough."""

    ticket: str = ""


class SignIn(msgspec.Struct, frozen=True):
    """What the browser answered, what it was asked, and the ticket when there was one."""

    question: str
    credential: dict[str, Any]
    ticket: str = ""


def line(passkey: Passkey) -> PasskeyLine:
    """As people see it."""
    one = passkey
    return PasskeyLine(one.id, one.name, one.rp_id, one.alone, one.created_at_us, one.last_used_at_us)


def lines_of(connection: sqlite3.Connection, name: str) -> list[PasskeyLine]:
    """A query: those of a user; none of who is no user."""
    user = users.by_name(connection, name)
    return [line(one) for one in passkeys.of_user(connection, user.id)] if user is not None else []


async def list_own(call: Call) -> list[PasskeyLine]:
    """One's own."""
    return await call.read(lambda rows: lines_of(rows, call.by.name))


async def list_of_user(call: Call) -> list[PasskeyLine]:
    """Those of a user."""
    return await call.read(lambda rows: [line(o) for o in passkeys.of_user(rows, find(rows, call.path("name")).id)])


async def begin(call: Call) -> Asked:
    """What the browser is to make a passkey of."""
    await check_again(call.site, call.by, call.body.password)
    return await ask_to_register(call.site, call.request, call.by.name, call.body.alone)


async def register(call: Call) -> web.StreamResponse:
    """Keep the passkey. With the first second factor the answer has the recovery codes."""
    body: Made = call.body
    passkey, challenge = await registered(call.site, call.request, call.by.name, body.question, body.credential)
    made = codes.recovery_codes(call.site.derive_secret("recovery", call.by.name, call.key))
    hashes = [secret_hash(codes.normal_recovery_code(one)) for one in made]
    named = msgspec.structs.replace(passkey, name=body.name.strip())
    renewal = Renewal(call.request)
    change = actions.register(named, challenge, hashes, call.by, call.now_us, renewal.keep, renewal.fresh)
    answer = await call.write(
        renewal.of(change, lambda done: done[1]),
        lambda done: {"id": done[0], "first": done[1]},
        201,
        secret=lambda kept: {"recovery_codes": made if kept["first"] else []},
    )
    return renewal.give(respond(answer, 201))


async def rename(call: Call) -> Answer:
    """Call one's own another name."""
    number, name = call.number("id"), call.body.name.strip()
    return await call.write(actions.rename(number, name, call.by, call.now_us), lambda _: {"id": number, "name": name})


async def remove(call: Call) -> Answer:
    """Remove one's own, with the password once more."""
    number = call.number("id")
    await check_again(call.site, call.by, call.body.password)
    change = actions.remove(number, call.by, call.now_us)
    return await call.write(change, lambda _: {"id": number, "removed": True}, is_secret=True)


async def begin_sign_in(call: Call) -> Asked:
    """What the browser's passkey is to sign."""
    return await ask_to_sign_in(call.site, call.request, call.body.ticket)


async def sign_in(call: Call) -> web.StreamResponse:
    """Sign a browser in: the answer sets the cookie."""
    body: SignIn = call.body
    return welcome(await sign_in_by_passkey(call.site, call.request, body.question, body.credential, body.ticket))


PATH = "/api/v1/second-factor/passkeys"
ENDPOINTS = (
    Endpoint("GET", PATH, list_own, "One's own passkeys", answer=list[PasskeyLine]),
    Endpoint("POST", PATH + "/begin", begin, "Begin to make a passkey", body=Begin, answer=Asked),
    Endpoint(
        "POST",
        PATH,
        register,
        "Keep a passkey that the browser made",
        body=Made,
        answer=shape(id=int, first=bool, recovery_codes=list[str]),
        status=201,
    ),
    Endpoint("PUT", PATH + "/{id}", rename, "Rename a passkey", body=Name, answer=shape(id=int, name=str)),
    Endpoint(
        "POST",
        PATH + "/{id}/remove",
        remove,
        "Remove one's own passkey",
        body=Begin,
        answer=shape(id=int, removed=bool),
    ),
    Endpoint("GET", "/api/v1/users/{name}/passkeys", list_of_user, "A user's passkeys", answer=list[PasskeyLine]),
    Endpoint(
        "POST",
        "/api/v1/login/passkey/begin",
        begin_sign_in,
        "Begin to sign in by passkey",
        body=BeginSignIn,
        answer=Asked,
        public=True,
    ),
    Endpoint(
        "POST",
        "/api/v1/login/passkey",
        sign_in,
        "Sign in by passkey",
        body=SignIn,
        answer=shape(user=str, role=str),
        public=True,
    ),
)
