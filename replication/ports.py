"""What an application supplies to be replicated, each a Protocol, and the connection that carries frames."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from replication.core.types import Epoch, NodeId
from replication.core.witness import Claim, WitnessVerdict

if TYPE_CHECKING:
    from replication.store import Store


@dataclass(frozen=True, slots=True)
class Opening:
    """How an office began. `kind` is init, restart, handoff, promotion or go_alone.

    `note` is what the one who asked attached: for a hand-off what the old master's HANDOFF carried. `report` is what
    a promotion was told of loss (BEY-6): keep it where people find it.
    """

    epoch: Epoch
    kind: str
    note: bytes
    report: str = ""


class Fence(Protocol):
    """The operator's hook that makes sure that an old master does not act any more; bounded by itself."""

    timeout_s: float

    async def fence(self, old: NodeId, address: str, epoch: Epoch) -> tuple[bool, str]:
        """Cut off the node `old` at "host:port", whose last known office is `epoch`.

        True only when that certainly succeeded; with a sentence about what it said. Never raises.
        """


class Application(Protocol):
    """Lives only while this node is in office."""

    async def opened(self, store: Store, opening: Opening) -> None:
        """Begin: EPOCH is committed and `store` takes writes. First migrate, then start loops.

        An exception ends the process (a broken invariant stops the node).
        """

    async def closing(self) -> None:
        """Stop every loop and every use of the store before returning; after it the store raises `Closed`."""


class Witnesses(Protocol):
    """Asks the witness agents. Both calls are bounded by 3 s and never raise for a silent witness."""

    async def grant(self, claim: Claim) -> WitnessVerdict:
        """Ask every witness to grant `claim.epoch`; each fsyncs its record before it answers."""

    async def record_alone(self, epoch: Epoch, alone: NodeId | None, counter: int) -> bool:
        """Record who writes alone (None: nobody) in `epoch`; True once a majority has fsynced it."""


class ForkReader(Protocol):
    """Says in the application's words what a fork holds. Called in a thread, before the node is changed."""

    def describe(
        self,
        fork: str,
        after: int,
        connection: sqlite3.Connection,
        read_object: Callable[[str, int], bytes],
    ) -> Iterator[tuple[str, bytes]]:
        """Yield files for the fork's folder as (name, content), `contents.json` last.

        `connection` (read only) has the database at the fork's last request; what lies beyond request `after` is meant.
        `read_object` returns the first so many bytes of an object at that request. A query that takes too long raises.
        """

    def unknown(self, why: str) -> bytes:
        """The content of `contents.json` when it could not be read: `why` is a part of a sentence."""


class Connection(Protocol):
    """An accepted or dialled link to one peer, already authenticated as `peer`. Whole binary frames only."""

    peer: NodeId

    async def send(self, frame: bytes) -> None:
        """Send one frame; waits while the transport is full. Raises ConnectionError when closed."""

    async def receive(self) -> bytes:
        """Return the next frame; raises ConnectionError when closed."""

    async def close(self) -> None:
        """Close; idempotent."""


class Dialler(Protocol):
    """Opens a link to a peer of the roster: `channel` is "control" or "bulk"."""

    async def __call__(self, peer: NodeId, address: str, channel: str) -> Connection:
        """Raises ConnectionError with a sentence for people when it cannot."""
