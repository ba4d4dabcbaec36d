"""What an application supplies to be replicated: two Protocols, and the connection that carries frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from replication.core.types import Epoch, NodeId
from replication.core.witness import Claim, WitnessVerdict

if TYPE_CHECKING:
    from replication.store import Store


@dataclass(frozen=True, slots=True)
class Opening:
    """How an office began. `kind` is init, restart, handoff, promotion or go_alone.

    `note` is what the one who asked attached: for a hand-off what the old master's HANDOFF carried.
    """

    epoch: Epoch
    kind: str
    note: bytes


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
