"""Watches every journal of a simulated pair without changing it: what was appended, and what was durable."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from replication.core.request import chain_hash, peek
from replication.core.types import GENESIS_HASH
from replication.journal import Journal
from tests.simulation.primitives import current_process


class Observer:
    """`before` leads from each request's chain hash to the one in front; `durable` is by node: hash to sequence."""

    def __init__(self) -> None:
        self.before: dict[bytes, bytes] = {}
        self.durable: dict[str, dict[bytes, int]] = {"a": {}, "b": {}}

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Look over the shoulder of `Journal.append` and `Journal.sync`."""
        append, sync = Journal._append, Journal.sync

        def watched_append(journal: Any, encoded: bytes) -> Any:
            self.before[chain_hash(encoded)] = peek(encoded).previous_hash  # first: a node may be killed in there
            position = append(journal, encoded)
            vars(journal).setdefault("watched", {})[position.hash] = position.sequence
            return position

        def watched_sync(journal: Any) -> int:
            target = journal.last.sequence
            synced = sync(journal)
            self._note(journal, min(target, synced))
            return synced

        with mock.patch.object(Journal, "_append", watched_append), mock.patch.object(Journal, "sync", watched_sync):
            yield

    def _note(self, journal: Any, upto: int) -> None:
        process = current_process()
        waiting = vars(journal).get("watched")
        if process is None or not waiting:
            return
        for digest in [digest for digest, sequence in waiting.items() if sequence <= upto]:
            self.durable[process.name[0]][digest] = waiting.pop(digest)

    def chain(self, last: bytes) -> set[bytes]:
        """Every request from the first to `last`."""
        found = set()
        while last != GENESIS_HASH and last in self.before:
            found.add(last)
            last = self.before[last]
        return found
