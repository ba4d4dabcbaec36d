"""Exchange the cluster's authority. Permission: certificates.manage. Rules: `core.authorities`.

Keys are made and sealed outside; here are rows. Each node takes its files from them (`server.trust.certificates`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from server.actions.change import Change, Transaction, record, require
from server.core.authorities import (
    CURRENT,
    FORMER,
    INTRODUCING,
    NEXT,
    RENEWING,
    RETIRED,
    AuthorityRow,
    Awaited,
    Shown,
    awaited,
    phase,
)
from server.core.model import Principal
from server.errors import Conflict, NotFound
from server.storage import authorities, sealed

SEALED_KEY = "authority_key"


def sealed_name(connection: sqlite3.Connection, fingerprint: str) -> str:
    """Under which name an authority's private key is sealed: the cluster's first one has the bare name."""
    name = f"{SEALED_KEY}:{fingerprint}"
    return name if sealed.get(connection, name) is not None else SEALED_KEY


def found(first: AuthorityRow) -> Change[bool]:
    """Note the authority that the cluster has, once; by the program itself. False when it is noted."""

    def change(transaction: Transaction) -> bool:
        if authorities.every(transaction.connection):
            return False
        authorities.insert(transaction.connection, first)
        return True

    return change


def begin(following: AuthorityRow, key: tuple[bytes, bytes], by: Principal, now_us: int, reason: str) -> Change[None]:
    """Introduce the next authority; `key` is its private key, sealed under `authority_key:<fingerprint>`.

    Conflict while another rotation is not over. Nobody needs to do anything next: the rotation goes on by itself.
    """
    require(by, "certificates.manage")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        if phase(authorities.every(connection)):
            raise Conflict("The authority is being exchanged already: `understudy certificates` shows how far it is.")
        authorities.insert(connection, following)
        sealed.put(connection, f"{SEALED_KEY}:{following.fingerprint}", *key)
        record(connection, by, now_us, "authorities.begin", following.fingerprint, "", NEXT, reason)

    return change


def cancel(by: Principal, now_us: int, reason: str) -> Change[None]:
    """Give up an introduction. Conflict once the next authority signs: then the way is forward."""
    require(by, "certificates.manage")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        known = authorities.every(connection)
        following = next((row for row in known if row.state == NEXT), None)
        if following is None:
            raise Conflict(
                "The new authority signs already, so this cannot be cancelled: let it end, then rotate once more."
                if phase(known)
                else "The authority is not being exchanged."
            )
        authorities.remove(connection, following.fingerprint)
        sealed.remove(connection, f"{SEALED_KEY}:{following.fingerprint}")
        record(connection, by, now_us, "authorities.cancel", following.fingerprint, NEXT, "", reason)

    return change


def advance(by: Principal, now_us: int, leave_behind: bool = False, reason: str = "") -> Change[str]:
    """Take the next part of the rotation; returns what it does from now on, "" when it is over.

    Conflict naming those whom it waits for, unless `leave_behind`: agents among them are shut out until they are
    replaced. Nodes are never left behind. NotFound without a rotation.
    """
    require(by, "certificates.manage")

    def change(transaction: Transaction) -> str:
        connection = transaction.connection
        known = authorities.every(connection)
        doing = phase(known)
        if not doing:
            raise NotFound("The authority is not being exchanged. `understudy certificates rotate` begins it.")
        waiting = awaited(known, authorities.bearers(connection))
        _refuse(waiting, leave_behind)
        moves = {INTRODUCING: {NEXT: CURRENT, CURRENT: FORMER}, RENEWING: {FORMER: RETIRED}}[doing]
        for row in known:
            if row.state in moves:
                authorities.set_state(connection, row.fingerprint, moves[row.state], now_us)
        left = ", ".join(one.name for one in waiting)
        record(connection, by, now_us, "authorities.advance", doing, "", f"left behind: {left}" if left else "", reason)
        return phase(authorities.every(connection))

    return change


def _refuse(waiting: Sequence[Awaited], leave_behind: bool) -> None:
    nodes = [one for one in waiting if one.kind == "node"]
    if nodes:
        said = "; ".join(f"node {one.name} {one.why}" for one in nodes)
        raise Conflict(f"Not yet: {said}. Start it, or remove it on the page Server Properties.")
    if waiting and not leave_behind:
        said = "; ".join(f"{one.name} {one.why}" for one in waiting[:5])
        rest = f" and {len(waiting) - 5} more" if len(waiting) > 5 else ""
        raise Conflict(f"Not yet: {said}{rest}. Start these agents, or declare them dead or replace them.")


def note(seen: Sequence[Shown]) -> Change[int]:
    """Keep what members showed; by the program itself. Returns how many had changed."""

    def change(transaction: Transaction) -> int:
        return sum(authorities.note(transaction.connection, one) for one in seen)

    return change
