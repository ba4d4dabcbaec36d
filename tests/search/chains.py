"""Journals of the search: each is one number, so that two equal journals are one thing and hash at once."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from replication.core.types import NO_EPOCH, ORIGIN, Epoch, Position

EMPTY = 0


class Entry(NamedTuple):
    """One request: `kind` is EPOCH, WRITE, HANDOFF, ABORT or CLOSED; `value` numbers a write from 1."""

    epoch: Epoch
    kind: str
    value: int


class Chains:
    """A tree of journals: number 0 is the empty one, every other is its parent with one more request."""

    def __init__(self) -> None:
        self.parents = [EMPTY]
        self.lengths = [0]
        self.lasts = [ORIGIN]
        self.entries = [Entry(NO_EPOCH, "", 0)]
        self.writes = [0]
        self._children: dict[tuple[int, Entry], int] = {}

    def append(self, chain: int, entry: Entry) -> int:
        """The journal with one more request."""
        found = self._children.get((chain, entry))
        if found is not None:
            return found
        before = self.lasts[chain]
        digest = hashlib.sha256(repr((before.hash, *entry)).encode()).digest()
        number = self._children[chain, entry] = len(self.parents)
        self.parents.append(chain)
        self.lengths.append(before.sequence + 1)
        self.lasts.append(Position(entry.epoch, before.sequence + 1, digest))
        self.entries.append(entry)
        self.writes.append(self.writes[chain] | (1 << entry.value if entry.kind == "WRITE" else 0))
        return number

    def prefix(self, chain: int, length: int) -> int:
        """The first `length` requests."""
        while self.lengths[chain] > length:
            chain = self.parents[chain]
        return chain

    def begins(self, chain: int, with_chain: int) -> bool:
        """True when the one begins with the other."""
        return self.prefix(chain, self.lengths[with_chain]) == with_chain

    def tail(self, chain: int, after: int) -> list[Entry]:
        """The requests behind the first `after`, in order."""
        found = []
        while self.lengths[chain] > after:
            found.append(self.entries[chain])
            chain = self.parents[chain]
        return found[::-1]

    def history(self, chain: int) -> list[tuple[Epoch, int, bytes]]:
        """As `serving.history_of`: each epoch with its first request and that request's hash."""
        found: list[tuple[Epoch, int, bytes]] = []
        while chain:
            parent, last = self.parents[chain], self.lasts[chain]
            if not parent or self.lasts[parent].epoch != last.epoch:
                found.append((last.epoch, last.sequence, last.hash))
            chain = parent
        return found[::-1]


def values(mask: int) -> list[int]:
    """The numbers of the writes in a set of them."""
    return [number for number in range(1, mask.bit_length()) if mask >> number & 1]
