"""The hash chain of the audit history: each entry holds the hash of the one before it and its own. Pure.

A hash is SHA-256, in hex, over the hash before it and all fields of the entry, so that nobody changes, removes or
inserts an entry without another hash being wrong. It protects against somebody who can write rows and not against
somebody who also computes all later hashes anew: whoever keeps the newest hash elsewhere sees that too.

An entry without a hash was written by a release that made none. It is a link all the same: the next entry with a hash
proves all such entries before it together. Retention removes the oldest entries; the *anchor* holds the hash of the
last that was removed, and the rest is checked from there (docs/messages.md; docs/decisions/0127).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from server.core.model import Row

NOTHING = "0" * 64
"""What stands before the first entry."""
PROBLEMS_MAX = 20


class Entry(Row, frozen=True, kw_only=True):
    """A row of the audit history with its hashes; "" of one that was written without."""

    id: int
    at_us: int
    who: str
    address: str
    action: str
    object: str
    before: str
    after: str
    reason: str
    sequence: int
    tenant: str = ""
    previous_hash: str = ""
    hash: str = ""


class Chain(Row, frozen=True, kw_only=True):
    """The one row beside the history. Head: the newest entry with a hash. Anchor: the last that retention removed.

    `verified_*`: up to which entry the chain was verified last, by whom, and what was wrong ("" nothing).
    """

    anchor_id: int
    anchor_hash: str
    head_id: int
    head_hash: str
    removed: int = 0
    removed_at_us: int | None = None
    verified_id: int = 0
    verified_at_us: int | None = None
    verified_by: str = ""
    problem: str = ""


class Problem(msgspec.Struct, frozen=True):
    """What does not fit: the entry at which it is seen, and a sentence."""

    id: int
    text: str


class Walk(msgspec.Struct, frozen=True):
    """How far a verification is: after the entry `id`, whose hash is `hash`; `entries` were read.

    `loose_from`: the first entry without a hash that no later one has proven yet, or None.
    """

    id: int
    hash: str
    entries: int = 0
    unhashed: int = 0
    loose_from: int | None = None
    problems: tuple[Problem, ...] = ()


def hash_of(previous: str, entry: Entry) -> str:
    """The hash of an entry after the one with the hash `previous`."""
    skipped = ("previous_hash", "hash")
    fields = [getattr(entry, name) for name in entry.__struct_fields__ if name not in skipped]
    return hashlib.sha256(msgspec.json.encode([previous, *fields])).hexdigest()


def begin(chain: Chain) -> Walk:
    """Before the first entry that is kept."""
    return Walk(chain.anchor_id, chain.anchor_hash)


def follow(walk: Walk, entries: Iterable[Entry]) -> Walk:
    """Read further entries, in order of their ids. After a problem it goes on with what the entry says of itself."""
    for entry in entries:
        walk = _step(walk, entry)
    return walk


def _step(walk: Walk, entry: Entry) -> Walk:
    own = hash_of(walk.hash, entry)
    count = walk.entries + 1
    if not entry.hash:
        loose = walk.loose_from if walk.loose_from is not None else entry.id
        return Walk(entry.id, own, count, walk.unhashed + 1, loose, walk.problems)
    problems = walk.problems
    if entry.previous_hash != walk.hash:
        problems = _with(problems, entry.id, _broken(walk, entry))
    if hash_of(entry.previous_hash, entry) != entry.hash:
        problems = _with(problems, entry.id, f"Entry {_said(entry)} was changed after it was written.")
    return Walk(entry.id, entry.hash, count, walk.unhashed, None, problems)


def finish(walk: Walk, chain: Chain) -> Walk:
    """The last comparison: with the head that the chain itself knows."""
    if walk.id < chain.head_id:
        text = f"The newest entries are missing: {walk.id + 1} to {chain.head_id}."
        return _closed(walk, chain.head_id, text)
    if walk.loose_from is None and (walk.id > chain.head_id or walk.hash != chain.head_hash):
        text = f"Entry {walk.id} was added or changed outside: the chain ends with entry {chain.head_id}."
        return _closed(walk, walk.id, text)
    return walk


def _broken(walk: Walk, entry: Entry) -> str:
    if walk.loose_from is not None:
        many = f"entries {walk.loose_from} to {entry.id - 1}, written without hashes" if entry.id > 1 else "the first"
        return f"One of the {many}, was changed or is missing."
    if entry.id > walk.id + 1:
        missing = (
            f"Entry {walk.id + 1} is" if entry.id == walk.id + 2 else f"Entries {walk.id + 1} to {entry.id - 1} are"
        )
        return f"{missing} missing."
    return f"Entry {_said(entry)} does not follow entry {walk.id}: one of both was changed after it was written."


def _said(entry: Entry) -> str:
    at = datetime.fromtimestamp(entry.at_us // 1_000_000, UTC)
    return f"{entry.id} ({at:%Y-%m-%d %H:%M:%S} UTC, {entry.action} by {entry.who})"


def _with(problems: tuple[Problem, ...], number: int, text: str) -> tuple[Problem, ...]:
    return problems if len(problems) >= PROBLEMS_MAX else (*problems, Problem(number, text))


def _closed(walk: Walk, number: int, text: str) -> Walk:
    return msgspec.structs.replace(walk, problems=_with(walk.problems, number, text))
