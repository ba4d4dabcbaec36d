"""Frames between two nodes as types. Fields are only ever appended.

Control channel: Hello, Heartbeat, ClaimOffice, Grant, Refuse, Token, Taken. Bulk channel: Follow, Decide, Requests,
Ack, Hashes, Want, Block, Copied, CopyState. `Requests` carries encoded requests as they stand in the journal.

Protocol: docs/protocol.md, sections 1, 3 and 4.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from replication.core.compression import OFF
from replication.core.tickets import NO_TICKET, Ticket
from replication.core.types import ORIGIN, Epoch, NodeId, Position, State

PROTOCOL_MIN = 1
PROTOCOL_MAX = 2


def common_protocol(theirs: int) -> int:
    """What a bulk link speaks with a peer whose highest protocol is `theirs`."""
    return min(theirs, PROTOCOL_MAX)


class Message(msgspec.Struct, array_like=True, kw_only=True):
    """A frame's body. The type byte of the frame says which."""


class Hello(Message):
    """Who I am and where I stand; sent by both sides first, and again whenever the state changed.

    `epoch` is the office the sender holds or last knew of in its journal; `seen` the highest number it ever met,
    claims included. `instance` differs for every process: the same node id twice is a clone. `utc_us` is for skew only.
    `proof_text` is what the sender found when it last read all its files, at `proof_at_us` of its clock (0: not yet).
    `schema` is that of the sender's database while it is in office (0: unknown); its release brings one to
    `schema_latest` and opens one up to `schema_max`: a release that says nothing of it opens schema 1 only.
    `seat` is the node that a master counts on or would count on; `many` says that there ever were more than two nodes.
    """

    protocol_min: int
    protocol_max: int
    cluster: str
    node: NodeId
    name: str
    instance: str
    state: State
    epoch: Epoch
    seen: Epoch
    last: Position
    commit: int
    applied: int
    checksum: int
    closed: bool
    in_sync: list[NodeId]
    address: str
    version: str
    utc_us: int
    proof_at_us: int = 0
    proof_is_whole: bool = True
    proof_text: str = ""
    schema: int = 0
    schema_latest: int = 1
    schema_max: int = 1
    seat: NodeId = ""
    many: bool = False


class Heartbeat(Message):
    """Each second both ways on the control channel. `last` is the sender's last journaled request.

    `last_bytes` is the size of what a master's standby has not reported durable, 0 out of office.
    """

    state: State
    epoch: Epoch
    seen: Epoch
    last: int
    last_bytes: int
    commit: int
    in_sync: list[NodeId]
    utc_us: int


class ClaimOffice(Message):
    """May I take office in `epoch`? `office` is the claimant's last office, `last` its last request."""

    epoch: Epoch
    office: Epoch
    last: Position


class Grant(Message):
    """Yes: `epoch` is durable here as granted. `last` may be longer than the claimant's: it fetches the tail first."""

    epoch: Epoch
    last: Position


class Refuse(Message):
    """No. `highest` is the highest epoch known here; `in_office` says that a master of it exists or existed."""

    epoch: Epoch
    highest: Epoch
    superseded: bool
    reason: str


class Token(Message):
    """Office is yours in `epoch`: the last request of the epoch given away is `last`. Repeated until taken."""

    epoch: Epoch
    last: Position


class Taken(Message):
    """The token was taken: durable here. Sent again for every repeated token of the same epoch."""

    epoch: Epoch


class Follow(Message):
    """First frame on the bulk channel: a node without office asks the master how to go on from `last`.

    `history` is the list of (epoch, its first sequence, that request's chain hash), oldest first. `applied` is what its
    files hold; `copying` an unfinished COMPARE. `tail_only` asks for requests after `last` only, of a node that is not
    in office: a resuming master does. `instance` is that of the sender's HELLO. `database_bytes` and `objects` say how
    much there is to compare with: what is not there is sent unasked for its hash; -1 is unknown. `ticket` is the last
    one that this master gave to the sender. `compression` is what the sender wants Requests and Blocks packed with.
    """

    cluster: str
    node: NodeId
    last: Position
    applied: int
    checksum: int
    history: list[tuple[Epoch, int, bytes]]
    empty: bool
    copying: bool
    tail_only: bool = False
    instance: str = ""
    protocol: int = 1
    database_bytes: int = -1
    objects: int = -1
    ticket: Ticket = NO_TICKET
    compression: str = OFF


class Decision(StrEnum):
    """The master's answer to Follow."""

    STREAM = "stream"
    CUT = "cut"
    COMPARE = "compare"
    REFUSE = "refuse"


class Decide(Message):
    """STREAM from `sequence` + 1; CUT after `sequence`, then follow again; COMPARE; or REFUSE.

    For COMPARE `sequence` is the last request in common.

    With COMPARE, `position` is the pinned checkpoint, where redo will start, and `history` the epochs up to it.
    `protocol` is what both speak on this link from now on. `copy_bytes` is what a COMPARE has to make equal.
    `ticket` is for the next FOLLOW: made durable before anything further is sent.
    `compression` is what Requests and Blocks may come packed with from now on.
    """

    decision: Decision
    sequence: int
    reason: str
    position: Position = ORIGIN
    history: list[tuple[Epoch, int, bytes]] = []
    protocol: int = 1
    copy_bytes: int = 0
    ticket: Ticket = NO_TICKET
    compression: str = OFF


class Ack(Message):
    """Cumulative. `checksum` is the rolling checksum at `applied`. `credit` is how many bytes may be outstanding."""

    received: int
    fsynced: int
    applied: int
    checksum: int
    disk_free_bytes: int
    credit: int


class Hashes(Message):
    """Block hashes of one live file of the master: `hashes` are 16 bytes each, from block `first` on.

    With `blocks` there are none: the standby cannot hold these `blocks` blocks and wants them all.
    """

    file: str
    size: int
    block_bytes: int
    first: int
    hashes: bytes
    last: bool
    algorithm: str = "blake2b"
    blocks: int = 0


class Want(Message):
    """Blocks of one Hashes that differ here, in order; the answer is one Block each, in the order of all Wants."""

    file: str
    blocks: list[int]


class Block(Message):
    """One block of a live file as it was when read; `size` is the file's size then."""

    file: str
    number: int
    size: int
    data: bytes


class Copied(Message):
    """All hashes were sent and all wanted blocks answered; `sequence` is the last request when the last was read."""

    sequence: int
    files: list[str]


class CopyState(Message):
    """Each second from a node that copies: it is there, what room it has, and, in a sentence, what it waits for."""

    disk_free_bytes: int
    waiting: str = ""


class Requests(msgspec.Struct, frozen=True):
    """Encoded requests in order; `commit` is the master's commit sequence. `more` marks a part of one large request."""

    commit: int
    requests: tuple[bytes, ...]
    more: bool = False
