"""What may happen to a node's role, as past participles. `request` numbers an operator's wish that awaits an Answer."""

from __future__ import annotations

from dataclasses import dataclass

from replication.core.messages import Hello
from replication.core.types import Epoch, NodeId, Position
from replication.core.witness import Claim, WitnessVerdict


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the shell knows at every step: the last journaled request, whether it is CLOSED, and what is fsynced.

    `utc_us` is the wall clock, for display only. `confirmed` is what every node counted on has reported durable in
    the present office (`CommitRule.confirmed`): the rest up to `last` is outstanding.
    """

    last: Position
    closed: bool = False
    synced: int = 0
    utc_us: int = 0
    confirmed: int = 0


@dataclass(frozen=True, slots=True)
class Started(Event):
    """The process opened its directory and finished redo."""


@dataclass(frozen=True, slots=True)
class InitRequested(Event):
    """`init`: be the first master of a new cluster."""


@dataclass(frozen=True, slots=True)
class JoinRequested(Event):
    """`master-to-standby`: be a standby of the cluster that this node was enrolled in."""


@dataclass(frozen=True, slots=True)
class PeerHeard(Event):
    """A HELLO or HEARTBEAT on the control channel; `hello` is the newest whole picture of the peer.

    `skew_s` is its wall clock minus ours when it arrived. `behind_bytes` is the size of what its standby had not
    reported durable, from a HEARTBEAT; None in a HELLO, which does not say it.
    """

    peer: NodeId
    hello: Hello
    skew_s: float = 0.0
    behind_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class PeerLost(Event):
    """The last control link to the peer closed, or nothing was heard on it for 5 s."""

    peer: NodeId


@dataclass(frozen=True, slots=True)
class ClaimReceived(Event):
    """A peer asks for office."""

    peer: NodeId
    epoch: Epoch
    office: Epoch
    last: Position


@dataclass(frozen=True, slots=True)
class GrantReceived(Event):
    """The peer granted our claim durably; `last` is its last request."""

    peer: NodeId
    epoch: Epoch
    last: Position


@dataclass(frozen=True, slots=True)
class ClaimRefused(Event):
    """The peer refused our claim; `superseded` when a later office than ours exists."""

    peer: NodeId
    highest: Epoch
    superseded: bool
    reason: str


@dataclass(frozen=True, slots=True)
class TailFetched(Event):
    """The peer's longer tail of our last epoch is durable in our journal."""


@dataclass(frozen=True, slots=True)
class TokenReceived(Event):
    """The master hands office to us."""

    peer: NodeId
    epoch: Epoch
    last: Position


@dataclass(frozen=True, slots=True)
class TokenTaken(Event):
    """The target of our hand-off has made the token durable."""

    peer: NodeId
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class OfficeOpened(Event):
    """EPOCH of our office is in the journal and the store takes writes."""


@dataclass(frozen=True, slots=True)
class OfficeClosed(Event):
    """The application stopped and SQLite is closed."""


@dataclass(frozen=True, slots=True)
class StandbyProgressed(Event):
    """An ACK of a following peer. `lag_s` is the age of the oldest request that it has not fsynced, 0.0 with none."""

    peer: NodeId
    fsynced: int
    applied: int
    checksum: int
    lag_s: float


@dataclass(frozen=True, slots=True)
class HandoffAppended(Event):
    """HANDOFF(`epoch`) is journaled as `last`; `checksum` is the rolling checksum after it."""

    epoch: Epoch
    last: Position
    checksum: int


@dataclass(frozen=True, slots=True)
class CopyStarted(Event):
    """The master decided COMPARE; from now on this node's files are a mixture."""


@dataclass(frozen=True, slots=True)
class StreamStarted(Event):
    """This node follows the master's chain; its files are whole."""


@dataclass(frozen=True, slots=True)
class ForkFound(Event):
    """The journal holds requests that the master never had; they are being kept before anything changes."""


@dataclass(frozen=True, slots=True)
class PeersChanged(Event):
    """The roster names these other nodes of the pair."""

    peers: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class SwapRequested(Event):
    """Hand office to `target` within `timeout_s` or abort. `note` travels in HANDOFF."""

    request: int
    target: NodeId
    timeout_s: float
    note: bytes


@dataclass(frozen=True, slots=True)
class SwapAbortRequested(Event):
    """The operator aborts before the point of no return."""

    request: int


@dataclass(frozen=True, slots=True)
class SeatRequested(Event):
    """Count on `node`, an observer, instead of the standby that has the seat."""

    request: int
    node: NodeId


@dataclass(frozen=True, slots=True)
class PromoteRequested(Event):
    """`standby-to-master`. `stopped` is the operator's word that the old master is shut down."""

    request: int
    allow_data_loss: bool
    stopped: bool
    note: bytes


@dataclass(frozen=True, slots=True)
class GoAloneRequested(Event):
    """The operator's leave to write without a standby.

    `allow_data_loss`: also when witnesses are silent or know a later office.
    """

    request: int
    note: bytes
    allow_data_loss: bool = False


@dataclass(frozen=True, slots=True)
class FenceEnded(Event):
    """The fence hook of promotion `request` ended: `held` when it exited 0; `text` is its last line or what failed."""

    request: int
    held: bool
    text: str


@dataclass(frozen=True, slots=True)
class EpochHeard(Event):
    """An agent refused our epoch, because it obeys `epoch`."""

    epoch: Epoch


@dataclass(frozen=True, slots=True)
class WitnessesAnswered(Event):
    """The witnesses answered (or stayed silent) to `claim`."""

    claim: Claim
    verdict: WitnessVerdict


@dataclass(frozen=True, slots=True)
class AloneRecorded(Event):
    """A majority of the witnesses has (`done`) or has not yet fsynced that `alone` writes alone in `epoch`.

    `alone` ("" for nobody) and `counter` are those of the question: an answer to another one proves nothing.
    """

    epoch: Epoch
    alone: NodeId
    counter: int
    done: bool


@dataclass(frozen=True, slots=True)
class Ticked(Event):
    """The deadline of `next_deadline()` passed."""
