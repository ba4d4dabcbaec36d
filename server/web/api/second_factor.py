"""One's own second factor: set up, confirmed, removed. Its secret and the recovery codes are shown once."""

from __future__ import annotations

import hashlib
import sqlite3

import msgspec
from aiohttp import web

from server.actions import second_factor as actions
from server.actions.change import Change
from server.actions.second_factor import Sealed
from server.core.model import Principal
from server.core.sign_in_ways import NO_PASSWORD
from server.errors import Conflict, Invalid
from server.people import second_factor as codes
from server.people.sign_in import check_password, proof_of, prove
from server.site import Site
from server.storage import second_factors, users
from server.trust.tls import seal, secret_hash
from server.web.api.endpoint import Answer, Call, Endpoint, respond, shape
from server.web.session import Renewal


class Code(msgspec.Struct, frozen=True):
    """Six digits, or a recovery code."""

    code: str


class Begin(msgspec.Struct, frozen=True):
    """One's own password, once more: a session that somebody left open sets up nothing."""

    password: str = ""


class State(msgspec.Struct, frozen=True):
    """Whether it is asked for, how many recovery codes are left, and whether the role demands one."""

    confirmed_at_us: int | None
    recovery_codes_left: int
    required: bool


def state(connection: sqlite3.Connection, name: str) -> State:
    """A query: the second factor of a user."""
    user = users.by_name(connection, name)
    if user is None:
        return State(None, 0, False)
    known = second_factors.get(connection, user.id)
    required = second_factors.is_required(connection, user.role)
    left = second_factors.codes_left(connection, user.id)
    return State(known.confirmed_at_us if known is not None else None, left, required)


async def show(call: Call) -> State:
    """One's own."""
    return await call.read(lambda connection: state(connection, call.by.name))


def secret_of(site: Site, user: str, key: str) -> bytes:
    """A new secret: that of the same request again when it is repeated."""
    return hashlib.sha256(site.derive_secret("totp", user, key).encode()).digest()[: codes.SECRET_BYTES]


def sealed_secret(site: Site, user_id: int, secret: bytes) -> tuple[bytes, bytes]:
    """(nonce, ciphertext) for the row."""
    return seal(site.seal_key, second_factors.sealed_name(user_id), secret)


async def own_id(site: Site, name: str) -> int:
    """The id of who asks; raises `Invalid` for who is no user."""
    user = await site.read_now(lambda connection: users.by_name(connection, name))
    if user is None:
        raise Invalid("A second factor belongs to somebody who signs in with a password.")
    return user.id


async def check_again(site: Site, by: Principal, password: str) -> None:
    """Raise `Invalid` without a password, `Unauthenticated` a second late for a wrong one. Who has none passes: a proxy
    or a provider says who that is.
    """
    user = await site.read_now(lambda connection: users.by_name(connection, by.name))
    if user is not None and user.password == NO_PASSWORD:
        return
    if not password:
        raise Invalid("Type your password once more.", field="password")
    await check_password(site, by.name, password, by.address)


async def begin(call: Call) -> Answer:
    """A new secret for a program that shows codes; it is not asked for before it is confirmed."""
    name, user_id = call.by.name, await own_id(call.site, call.by.name)
    await check_again(call.site, call.by, call.body.password)
    secret = secret_of(call.site, name, call.key)
    change = actions.begin(sealed_secret(call.site, user_id, secret), call.by, call.now_us)
    shown = {"secret": codes.text_of(secret), "url": codes.address_of(secret, name, cluster_name(call.site))}
    return await call.write(change, lambda _: {"begun": True}, 201, secret=lambda _: shown, is_secret=True)


def cluster_name(site: Site) -> str:
    """What the program calls the place: the first digits of the cluster's id."""
    status = site.status()
    return status.cluster[:8] if status is not None else ""


async def begun(site: Site, name: str) -> Sealed:
    """What `begin` kept; raises `Conflict` when there is nothing."""
    found = await site.read_now(lambda connection: actions.of_user(connection, name))
    if found is None:
        raise Conflict("There is no second factor yet. Set one up first.")
    return found


async def confirm(call: Call) -> web.StreamResponse:
    """With a code that the program shows: it is asked for from now on. The answer has the recovery codes."""
    renewal = Renewal(call.request)
    change, made = await confirmation(call.site, call.by, call.body.code, call.key, renewal)
    answer = await call.write(change, lambda _: {"confirmed": True}, secret=lambda _: {"recovery_codes": made})
    return renewal.give(respond(answer, 200))


async def confirmation(
    site: Site, by: Principal, code: str, key: str, renewal: Renewal
) -> tuple[Change[None], list[str]]:
    """The change that confirms it, and the recovery codes to show. Raises `Invalid` for a wrong code."""
    factor = await begun(site, by.name)
    proof = proof_of(site, factor, code)
    if proof is None:
        raise Invalid(actions.WRONG, field="code")
    made = codes.recovery_codes(site.derive_secret("recovery", by.name, key))
    hashes = [secret_hash(codes.normal_recovery_code(one)) for one in made]
    begun_at_us, now_us = factor.factor.created_at_us, site.clock.utc_us()
    change = actions.confirm(begun_at_us, proof.step, hashes, by, now_us, renewal.keep, renewal.fresh)
    return renewal.of(change), made


async def remove(call: Call) -> Answer:
    """Take one's own away, with a code."""
    factor = await begun(call.site, call.by.name)
    proof = await prove(call.site, call.by.name, factor, call.body.code, call.by.address)
    change = actions.remove(proof, call.by, call.now_us)
    return await call.write(change, lambda _: {"removed": True})


PATH = "/api/v1/second-factor"
ENDPOINTS = (
    Endpoint("GET", PATH, show, "One's own second factor", answer=State),
    Endpoint(
        "POST",
        PATH,
        begin,
        "Set up a second factor",
        answer=shape(begun=bool, secret=str, url=str),
        body=Begin,
        status=201,
    ),
    Endpoint(
        "POST",
        PATH + "/confirm",
        confirm,
        "Ask for it from now on",
        answer=shape(confirmed=bool, recovery_codes=list[str]),
        body=Code,
    ),
    Endpoint("POST", PATH + "/remove", remove, "Remove one's own second factor", answer=shape(removed=bool), body=Code),
)
