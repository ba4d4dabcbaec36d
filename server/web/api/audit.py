"""The audit history: who did what, and the proof that nobody changed what is written there."""

from __future__ import annotations

from functools import partial

import msgspec

from server.actions import audit as actions
from server.core.audit_chain import Chain, Problem, Walk
from server.core.model import AuditEntry
from server.ports.numbers import NUMBER_MAX
from server.site import Site
from server.storage import audit
from server.web.api.endpoint import AFTER, Answer, Call, Endpoint


class AuditVerification(msgspec.Struct, frozen=True):
    """What was found. `unhashed`: entries of a release that made no hashes; they are proven together, not one by one.

    `not_proven`: those among them that no later entry proves yet. Keep `hash`, of the entry `to_id`, elsewhere: who
    computes all hashes anew cannot make the same one.
    """

    ok: bool
    text: str
    entries: int
    from_id: int
    to_id: int
    hash: str
    unhashed: int
    not_proven: int
    removed: int
    removed_at_us: int | None
    problems: tuple[Problem, ...]


async def walk_through(site: Site) -> tuple[Walk, Chain]:
    """Read the whole history of this node, piece by piece."""
    so_far: Walk | None = None
    while True:
        (walk, chain), _, _ = await site.read(partial(actions.read_on, walk=so_far), "")
        if chain is not None:
            return walk, chain
        so_far = walk


def in_words(walk: Walk, chain: Chain) -> AuditVerification:
    """The answer."""
    not_proven = 0 if walk.loose_from is None else walk.id - walk.loose_from + 1
    first = chain.anchor_id + 1
    if walk.problems:
        text = f"{len(walk.problems)} problems among the entries {first} to {walk.id}"
    else:
        text = f"entries {first} to {walk.id} are as they were written" if walk.entries else "there are no entries"
    return AuditVerification(
        ok=not walk.problems,
        text=text,
        entries=walk.entries,
        from_id=first,
        to_id=walk.id,
        hash=walk.hash,
        unhashed=walk.unhashed,
        not_proven=not_proven,
        removed=chain.removed,
        removed_at_us=chain.removed_at_us,
        problems=walk.problems,
    )


async def list_audit(call: Call) -> list[AuditEntry]:
    """Who did what, newest first, below `after`; `match` is a part of who, action or object."""
    after, match, limit = call.query_number("after", 0, 0, NUMBER_MAX) or None, call.query("match"), call.limit()
    return await call.read(lambda connection: audit.page(connection, after, limit, match))


async def verify_audit(call: Call) -> Answer | AuditVerification:
    """Check every hash of the history as this node holds it, in either role; the master keeps the result."""
    actions.require_verify(call.by)
    walk, chain = await walk_through(call.site)
    found = in_words(walk, chain)
    if not call.site.in_office:
        return found
    return await call.write(actions.put_verified(walk, call.by, call.now_us), lambda _: found)


ENDPOINTS = (
    Endpoint(
        "GET", "/api/v1/audit", list_audit, "Who did what", answer=list[AuditEntry], query=(AFTER, "limit", "match")
    ),
    Endpoint(
        "POST", "/api/v1/audit/verify", verify_audit, "Check the hashes of the audit history", answer=AuditVerification
    ),
)
