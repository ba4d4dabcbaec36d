"""The audit history: every action writes into it; here is what only notes, and the proof of its chain of hashes.

Reading and verifying need the permission audit.read.
"""

from __future__ import annotations

import sqlite3

from server.actions.change import Change, Transaction, record, require
from server.core.audit_chain import Chain, Walk, begin, finish, follow
from server.core.model import Principal
from server.errors import Forbidden
from server.storage import audit


def note(action: str, object_: str, by: Principal, now_us: int, after: str = "", reason: str = "") -> Change[None]:
    """Record something that was done outside of the rows: a promotion, a leave to write alone, a look by SQL."""

    def change(transaction: Transaction) -> None:
        record(transaction.connection, by, now_us, action, object_, "", after, reason)

    return change


def read_on(connection: sqlite3.Connection, walk: Walk | None) -> tuple[Walk, Chain | None]:
    """A query: the next entries of a verification, from the beginning with None; with the chain once it is through.

    Called until the chain comes back, so that no reading lasts long. What retention removes meanwhile is passed over.
    """
    chain = audit.chain_of(connection)
    if walk is None or walk.id < chain.anchor_id:
        walk = begin(chain)
    found = audit.entries(connection, walk.id, audit.CHUNK)
    walk = follow(walk, found)
    if len(found) == audit.CHUNK:
        return walk, None
    return finish(walk, chain), chain


def require_verify(by: Principal) -> None:
    """Raise Forbidden for who may not verify; of a tenant nobody may, because the one chain names all tenants'."""
    require(by, "audit.read")
    if by.tenant:
        raise Forbidden(f"{by.name} belongs to the tenant {by.tenant}; the chain is the host's. Ask its administrator.")


def put_verified(walk: Walk, by: Principal, now_us: int) -> Change[None]:
    """Keep what a verification found, for the page and for the next who asks."""
    require_verify(by)

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        problem = " ".join(problem.text for problem in walk.problems)
        audit.put_verified(connection, walk.id, by.name, now_us, problem)
        record(
            connection, by, now_us, "audit.verify", f"up to {walk.id}", "", problem or f"{walk.entries} entries whole"
        )

    return change
