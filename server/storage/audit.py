"""Who did what: written in the same savepoint as the change itself, each entry a link of one chain of hashes."""

from __future__ import annotations

import sqlite3
from itertools import takewhile

import msgspec

from server.core.audit_chain import Chain, Entry, Walk, begin, follow, hash_of
from server.core.model import AuditEntry
from server.storage import rows, tenancy


def insert(
    connection: sqlite3.Connection,
    at_us: int,
    who: str,
    address: str,
    action: str,
    object_: str,
    before: str,
    after: str,
    reason: str,
) -> int:
    """Add an entry, the next link of the chain, and return its id. `before` and `after` are text or JSON."""
    tenant, connection = tenancy.tenant_of(connection), tenancy.whole(connection)
    chain = caught_up(connection)
    entry = Entry(
        id=chain.head_id + 1,
        at_us=at_us,
        who=who,
        address=address,
        action=action,
        object=object_,
        before=before,
        after=after,
        reason=reason,
        sequence=rows.number(connection, "SELECT sequence FROM replication_position"),
        tenant=tenant,
        previous_hash=chain.head_hash,
    )
    entry = msgspec.structs.replace(entry, hash=hash_of(chain.head_hash, entry))
    rows.insert(connection, "audit", msgspec.structs.asdict(entry))
    _put_head(connection, entry.id, entry.hash)
    return entry.id


def chain_of(connection: sqlite3.Connection) -> Chain:
    """The row beside the history, of which there is one for all tenants."""
    found = seen_chain(connection)
    assert found is not None, "the migration writes it, and nothing removes it"
    return found


def seen_chain(connection: sqlite3.Connection) -> Chain | None:
    """The same for a page: None for people of a tenant, who see a part of the history and so nothing of its chain."""
    return rows.first(connection, Chain, "FROM audit_chain")


def caught_up(connection: sqlite3.Connection) -> Chain:
    """The chain with its head at the newest entry: those that a former release wrote meanwhile are links too."""
    chain = chain_of(connection)
    if rows.number(connection, "SELECT max(id) FROM audit") <= chain.head_id:
        return chain
    walk = Walk(chain.head_id, chain.head_hash)
    while found := entries(connection, walk.id, CHUNK):
        walk = follow(walk, found)
    return msgspec.structs.replace(chain, head_id=walk.id, head_hash=walk.hash)


def entries(connection: sqlite3.Connection, after: int, limit: int) -> list[Entry]:
    """Entries with their hashes in the order of the chain, above id `after`."""
    return rows.every(connection, Entry, "FROM audit WHERE id > ? ORDER BY id LIMIT ?", (after, limit))


def oldest_us(connection: sqlite3.Connection) -> int:
    """When the oldest entry was written; far in the future when it is the only one."""
    found = connection.execute("SELECT at_us FROM audit ORDER BY id LIMIT 2").fetchall()
    return int(found[0][0]) if len(found) == 2 else 2**62


def prune(connection: sqlite3.Connection, before_us: int, now_us: int, limit: int = 500) -> Walk:
    """Remove the oldest entries, as far as they are older than `before_us`, never the newest; the anchor moves along.

    What they were is checked on the way: the walk has the problems that nobody could find later.
    """
    chain = caught_up(connection)
    _put_head(connection, chain.head_id, chain.head_hash)
    old = takewhile(lambda entry: entry.at_us < before_us, entries(connection, chain.anchor_id, limit))
    walk = follow(begin(chain), [e for e in old if e.id < chain.head_id])
    if walk.entries:
        connection.execute("DELETE FROM audit WHERE id <= ?", (walk.id,))
        values = {"anchor_id": walk.id, "anchor_hash": walk.hash}
        more = {"removed": chain.removed + walk.entries, "removed_at_us": now_us}
        rows.update(connection, "audit_chain", values | more, {"id": 1})
    return walk


def put_verified(connection: sqlite3.Connection, up_to: int, by: str, now_us: int, problem: str) -> None:
    """What a verification found."""
    values = {"verified_id": up_to, "verified_at_us": now_us, "verified_by": by, "problem": problem}
    rows.update(connection, "audit_chain", values, {"id": 1})


def _put_head(connection: sqlite3.Connection, number: int, hashed: str) -> None:
    rows.update(connection, "audit_chain", {"head_id": number, "head_hash": hashed}, {"id": 1})


CHUNK = 1000
"""How many entries are read at once."""
LATEST_OF = 100_000
"""How far back `latest` looks: it reads entry by entry."""


def latest(connection: sqlite3.Connection, action: str, object_: str) -> AuditEntry | None:
    """The newest entry of an action on an object, among the newest `LATEST_OF`."""
    tail = (
        f"FROM audit WHERE id > coalesce((SELECT max(id) FROM audit), 0) - {LATEST_OF} AND action = ? AND object = ?"
        " ORDER BY id DESC LIMIT 1"
    )
    return rows.first(connection, AuditEntry, tail, (action, object_))


def page(
    connection: sqlite3.Connection, after: int | None = None, limit: int = 100, match: str = ""
) -> list[AuditEntry]:
    """The newest entries first, going on below id `after`; `match` is a part of who, action or object."""
    bound = after if after is not None else 2**62
    tail = (
        "FROM audit WHERE id < :bound AND (:match = '' OR instr(who, :match) OR instr(action, :match)"
        " OR instr(object, :match)) ORDER BY id DESC LIMIT :limit"
    )
    return rows.every(connection, AuditEntry, tail, {"bound": bound, "match": match, "limit": limit})
