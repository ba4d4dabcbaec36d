"""What the role machine asks for, as imperatives. The shell carries them out in the order given.

`Persist` is fsynced before any later effect of the same list starts: persist, then send, then announce.
"""

from __future__ import annotations

from dataclasses import dataclass

from replication.core.memory import Memory
from replication.core.messages import Message
from replication.core.types import Epoch, NodeId
from replication.core.witness import Claim


@dataclass(frozen=True, slots=True)
class Effect:
    """Base of all effects."""


@dataclass(frozen=True, slots=True)
class Persist(Effect):
    """Write and fsync the control file before going on."""

    memory: Memory


@dataclass(frozen=True, slots=True)
class Send(Effect):
    """Send on the peer's control channel; lost if there is none, since every message is asked for again."""

    peer: NodeId
    message: Message


@dataclass(frozen=True, slots=True)
class OpenOffice(Effect):
    """Apply everything journaled, append EPOCH, open the store, then the application; OfficeOpened answers.

    `report` is the sentence on what may be lost that the operator was told.
    """

    epoch: Epoch
    kind: str
    note: bytes
    report: str = ""


@dataclass(frozen=True, slots=True)
class CloseOffice(Effect):
    """Close the application and SQLite; OfficeClosed answers. Harmless when no office is open."""


@dataclass(frozen=True, slots=True)
class HandOff(Effect):
    """Freeze the store, flush its queue, append HANDOFF; HandoffAppended answers."""

    epoch: Epoch
    target: NodeId
    note: bytes


@dataclass(frozen=True, slots=True)
class AbortHandOff(Effect):
    """Append ABORT and take writes again."""

    reason: str


@dataclass(frozen=True, slots=True)
class Fence(Effect):
    """Run the fence hook against the old master, whose last known epoch is `epoch`; FenceEnded answers."""

    request: int
    old: NodeId
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class AskWitnesses(Effect):
    """Ask for a grant; WitnessesAnswered answers, also when all are silent."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class RecordAlone(Effect):
    """Tell the witnesses who writes alone; AloneRecorded answers each try."""

    epoch: Epoch
    alone: NodeId
    counter: int


@dataclass(frozen=True, slots=True)
class FetchTail(Effect):
    """Fetch the peer's requests behind our last one into the journal; TailFetched answers."""

    peer: NodeId


@dataclass(frozen=True, slots=True)
class FollowPeer(Effect):
    """Dial the bulk channel of this master and do what it decides; harmless when that already runs."""

    peer: NodeId


@dataclass(frozen=True, slots=True)
class Unfollow(Effect):
    """Stop following; requests received so far stay in the journal."""


@dataclass(frozen=True, slots=True)
class RequireAcks(Effect):
    """The commit sequence needs the fsync of all these nodes besides our own."""

    nodes: frozenset[NodeId]


@dataclass(frozen=True, slots=True)
class Answer(Effect):
    """Answer an operator: done when `code` is "", else refused. Facts for the report are in `text`."""

    request: int
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Announce(Effect):
    """The state changed: tell log, status page and peers with the table's sentence."""

    row: int
    sentence: str
