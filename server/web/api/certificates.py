"""The cluster's authorities, who bears which certificate, and the exchange of the authority (JSON of /certificates)."""

from __future__ import annotations

import sqlite3

import msgspec

from server.actions import authorities as actions
from server.core.authorities import AuthorityRow, Bearer, awaited, phase
from server.storage import authorities
from server.trust.rotation import following
from server.web.api.endpoint import Answer, Call, Endpoint, shape


class AuthorityLine(msgspec.Struct, frozen=True):
    """An authority. `state`: next, current, former (trusted, signs nothing), retired (trusted no more)."""

    fingerprint: str
    state: str
    created_at_us: int
    created_by: str
    state_since_us: int


class CertificateLine(msgspec.Struct, frozen=True):
    """What a node or an agent showed last; the fields are None before it showed anything.

    `current`: signed by the authority that signs now.
    """

    kind: str
    name: str
    valid_until_us: int | None
    shown_at_us: int | None
    current: bool | None


class AwaitedLine(msgspec.Struct, frozen=True):
    """Somebody whom the exchange waits for, and why."""

    kind: str
    name: str
    why: str


class CertificatesView(msgspec.Struct, frozen=True):
    """`phase`: introducing, renewing, or "" while no exchange goes on. `awaited`: whom it waits for."""

    phase: str
    authorities: list[AuthorityLine]
    awaited: list[AwaitedLine]
    certificates: list[CertificateLine]


class Reason(msgspec.Struct, frozen=True):
    """Why, for the audit."""

    reason: str = ""


class Advance(msgspec.Struct, frozen=True):
    """`leave_silent_agents_behind`: those that are waited for are shut out until they come back or are replaced."""

    leave_silent_agents_behind: bool = False
    reason: str = ""


def view(connection: sqlite3.Connection) -> CertificatesView:
    """All of it."""
    known, bearers = authorities.every(connection), authorities.bearers(connection)
    signer = next((row.key_id for row in known if row.state == "current"), "")
    return CertificatesView(
        phase(known),
        [_authority(row) for row in known],
        [AwaitedLine(one.kind, one.name, one.why) for one in awaited(known, bearers)],
        [_certificate(one, signer) for one in bearers],
    )


def _authority(row: AuthorityRow) -> AuthorityLine:
    return AuthorityLine(row.fingerprint, row.state, row.created_at_us, row.created_by, row.state_since_us)


def _certificate(one: Bearer, signer: str) -> CertificateLine:
    seen = one.shown
    if seen is None:
        return CertificateLine(one.kind, one.name, None, None, None)
    return CertificateLine(one.kind, one.name, seen.valid_until_us, seen.shown_at_us, seen.issuer == signer)


async def show(call: Call) -> CertificatesView:
    """Authorities, certificates, and how far an exchange is."""
    return await call.read(view)


async def rotate(call: Call) -> Answer:
    """Exchange the authority while everything runs. It goes on by itself; `GET /certificates` shows whom it awaits."""
    row, key = await following(call.site, call.by.name)
    change = actions.begin(row, key, call.by, call.now_us, call.body.reason)
    return await call.write(change, lambda _: {"fingerprint": row.fingerprint, "phase": "introducing"}, 202)


async def cancel(call: Call) -> Answer:
    """Give up the exchange while the new authority signs nothing yet."""
    change = actions.cancel(call.by, call.now_us, call.body.reason)
    return await call.write(change, lambda _: {"phase": ""})


async def advance(call: Call) -> Answer:
    """Take the next part now; it takes it by itself as soon as nobody is waited for."""
    body = call.body
    change = actions.advance(call.by, call.now_us, body.leave_silent_agents_behind, body.reason)
    return await call.write(change, lambda doing: {"phase": doing})


ENDPOINTS = (
    Endpoint("GET", "/api/v1/certificates", show, "Authorities and certificates", answer=CertificatesView),
    Endpoint(
        "POST",
        "/api/v1/certificates/rotate",
        rotate,
        "Exchange the authority",
        answer=shape(fingerprint=str, phase=str),
        body=Reason,
        status=202,
    ),
    Endpoint(
        "POST", "/api/v1/certificates/cancel", cancel, "Give up an exchange", answer=shape(phase=str), body=Reason
    ),
    Endpoint(
        "POST", "/api/v1/certificates/advance", advance, "Take its next part now", answer=shape(phase=str), body=Advance
    ),
)
