"""Exchanging the cluster's authority while everything runs: what is trusted when, and who is waited for.

A rotation has two parts. *Introducing*: the next authority is trusted by all beside the current one, which still signs.
*Renewing*: the next one has become the current one and signs; the former is trusted until every certificate is of the
current one. Then the former is retired: nothing that it signed is accepted any more. So no part may begin before all
nodes and agents have said that the one before is done with them: somebody would be shut out.

Everybody compares *trust*: the fingerprints' first digits, the authority that signs first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from server.core.model import Row

NEXT, CURRENT, FORMER, RETIRED = "next", "current", "former", "retired"
INTRODUCING, RENEWING = "introducing", "renewing"
_ORDER = {CURRENT: 0, NEXT: 1, FORMER: 2}
_DIGITS = 16
CROSSES_MAX = 4


class AuthorityRow(Row, frozen=True, kw_only=True):
    """An authority: its certificate (PEM), and `key_id`, by which certificates name who signed them.

    `cross_certificate`: the same key, signed by the authority before it (PEM); "" for the first.
    """

    fingerprint: str
    certificate: str
    key_id: str
    state: str
    created_at_us: int
    created_by: str
    state_since_us: int
    cross_certificate: str = ""


class Shown(Row, frozen=True, kw_only=True):
    """The certificate that a node or agent showed last: whose key, signed by whom, until when; and its trust."""

    kind: str
    id: str
    key_hash: str
    issuer: str
    valid_until_us: int
    trusts: str
    shown_at_us: int


@dataclass(frozen=True, slots=True)
class Leaf:
    """What a member's certificate says besides who it is: the hash of its key, its issuer's key id, its end."""

    key_hash: str = ""
    issuer: str = ""
    valid_until_us: int = 0


@dataclass(frozen=True, slots=True)
class Bearer:
    """A member of the cluster that bears a certificate. `shown` None: it has shown none since this was noted."""

    kind: str
    name: str
    shown: Shown | None


@dataclass(frozen=True, slots=True)
class Awaited:
    """Somebody whom a rotation waits for, and why, in one sentence."""

    kind: str
    name: str
    why: str


def trusted(authorities: Iterable[AuthorityRow]) -> list[AuthorityRow]:
    """Those that are trusted now: the one that signs first."""
    return sorted((row for row in authorities if row.state in _ORDER), key=lambda row: _ORDER[row.state])


def crosses(authorities: Iterable[AuthorityRow]) -> str:
    """What is shown along with a leaf (PEM): who trusts only a former authority finds the way from it to this one."""
    signed = (row for row in authorities if row.state != NEXT and row.cross_certificate)
    return "".join(row.cross_certificate for row in sorted(signed, key=lambda row: -row.created_at_us)[:CROSSES_MAX])


def short(fingerprint: str) -> str:
    """The part of a fingerprint that trust is made of."""
    return fingerprint[:_DIGITS]


def trust_of(fingerprints: Sequence[str]) -> str:
    """Trust as text, from the fingerprints in their order."""
    return ",".join(short(one) for one in fingerprints)


def signs_first(trust: str) -> str:
    """The short fingerprint of the authority that signs, by what was told; "" for nothing told."""
    return trust.partition(",")[0]


def phase(authorities: Iterable[AuthorityRow]) -> str:
    """What a rotation is doing: introducing, renewing, or "" without one."""
    states = {row.state for row in authorities}
    if NEXT in states:
        return INTRODUCING
    return RENEWING if FORMER in states else ""


def awaited(authorities: Sequence[AuthorityRow], bearers: Iterable[Bearer]) -> list[Awaited]:
    """Whom the rotation waits for before it goes on; nobody without one."""
    doing, wanted = phase(authorities), trusted(authorities)
    if not doing:
        return []
    found = []
    for bearer in bearers:
        why = _lacks_trust(bearer, wanted) if doing == INTRODUCING else _is_old(bearer, wanted[0])
        if why:
            found.append(Awaited(bearer.kind, bearer.name, why))
    return found


def _lacks_trust(bearer: Bearer, wanted: Sequence[AuthorityRow]) -> str:
    if bearer.shown is None:
        return "has not connected since this release keeps note of certificates"
    known = bearer.shown.trusts.split(",")
    if not bearer.shown.trusts:
        return "runs a release that cannot change its authority: upgrade it"
    return "" if all(short(row.fingerprint) in known for row in wanted) else "does not trust the next authority yet"


def _is_old(bearer: Bearer, current: AuthorityRow) -> str:
    if bearer.shown is not None and bearer.shown.issuer == current.key_id:
        return ""
    return "still has a certificate of the former authority"
