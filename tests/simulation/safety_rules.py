"""Safety rules of the shipped code, each of which can be switched off: then the simulation has to notice."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from replication.following import Following
from replication.fork import Fork
from replication.gate import Gate
from replication.journal import Journal
from replication.writer import Writer
from tests.simulation.primitives import scheduler


def _pretend_sync(self: Any) -> int:
    """Nothing is fsynced, everything is called durable."""
    self.synced, self.synced_commit = self.last.sequence, self.recorded_commit
    return int(self.synced)


def _office_only(shipped: Callable[..., int]) -> Callable[..., int]:
    def sync(self: Any) -> int:
        """Only the thread of a store in office fsyncs; a standby says that it did."""
        return shipped(self) if scheduler().current.name == "store-sync" else _pretend_sync(self)

    return sync


def _checkpoint_without_journal(shipped: Callable[..., bool]) -> Callable[..., bool]:
    def checkpoint(self: Any, *, truncate: bool = False) -> bool:
        """Checkpoints whatever is captured; the journal is not fsynced before."""
        commit, self._commit = self._commit, lambda: self._journal.last.sequence
        sync, self._journal.sync = self._journal.sync, lambda: 0
        try:
            self.objects.apply(self._journal.last.sequence)
            return shipped(self, truncate=truncate)
        finally:
            self._commit, self._journal.sync = commit, sync

    return checkpoint


def _keep_nothing(self: Any, after: int, why: str) -> Fork | None:
    return None


def _answer_at_once(self: Any, sequence: int, release: Callable[[], None]) -> None:
    """Gives the answer when the request is journaled, wherever it is durable."""
    self.sequence, before = max(self.sequence, sequence), self.sequence
    release()
    self.sequence = before


@contextlib.contextmanager
def _both(*patches: Any) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        yield


RULES: dict[str, Callable[[], Any]] = {
    "a standby fsyncs before it acknowledges": lambda: mock.patch.object(Journal, "sync", _office_only(Journal.sync)),
    "durable only when fsynced": lambda: mock.patch.object(Journal, "sync", _pretend_sync),
    "journal before database": lambda: _both(
        mock.patch.object(Writer, "checkpoint", _checkpoint_without_journal(Writer.checkpoint)),
        mock.patch.object(Gate, "wait_in_thread", return_value=True),
    ),
    "a fork is kept before it is cut": lambda: mock.patch.object(Following, "_keep", _keep_nothing),
    "answered only when committed": lambda: mock.patch.object(Gate, "when", _answer_at_once),
}


@contextlib.contextmanager
def switched_off(rule: str) -> Iterator[None]:
    """The shipped code without one rule."""
    with RULES[rule]():
        yield
