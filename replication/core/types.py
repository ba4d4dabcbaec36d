"""The words of replication as types. See docs/glossary.md; nothing here does I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, NamedTuple

import msgspec

NodeId = str
"""32 lower-case hex characters, made once by `init` or at enrolment and never changed."""

GENESIS_HASH = bytes(32)
"""Chain hash before the first request."""


Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
"""A number that is counted on from: one that a peer sends above this is refused, for the next would not fit."""


class Epoch(NamedTuple):
    """One term of office. Compared as a pair: the number first, then the node id."""

    number: Count
    node: NodeId

    def __str__(self) -> str:
        return f"{self.number}/{self.node[:8]}" if self.node else str(self.number)


NO_EPOCH = Epoch(0, "")
"""Lower than every epoch in which a master took office."""


class Position(NamedTuple):
    """A place in the history: the epoch and chain hash of request `sequence`; sequence 0 is before the first."""

    epoch: Epoch
    sequence: Count
    hash: bytes


ORIGIN = Position(NO_EPOCH, 0, GENESIS_HASH)


class Role(StrEnum):
    """What people call a node. The finer word is `State`."""

    NONE = "none"
    MASTER = "master"
    STANDBY = "standby"


class State(StrEnum):
    """The states of `roles.TABLE`; persisted in the control file before they are acted on."""

    INIT = "INIT"
    COPYING = "COPYING"
    SYNCING = "SYNCING"
    IN_SYNC = "IN_SYNC"
    PROMOTING = "PROMOTING"
    MASTER = "MASTER"
    ALONE = "ALONE"
    HANDING_OFF = "HANDING_OFF"
    RESUMING = "RESUMING"
    DEMOTED = "DEMOTED"
    FORKED = "FORKED"


IN_OFFICE = frozenset({State.MASTER, State.ALONE, State.HANDING_OFF})
STANDING_BY = (State.DEMOTED, State.FORKED, State.COPYING, State.SYNCING, State.IN_SYNC)


class Mode(StrEnum):
    """What happens when the standby is lost: writes wait, or the master goes on alone once witnesses recorded it."""

    STRICT = "strict"
    AVAILABLE = "available"


@dataclass(frozen=True, slots=True)
class Backlog:
    """File Replication Requests: journaled here and not yet reported durable by the standby."""

    requests: int
    bytes: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class CopyProgress:
    """A COMPARE that is under way: of `bytes_total`, `bytes_done` are equal on both nodes, `bytes_moved` were sent.

    `bytes_per_s` is how fast it gets done; `seconds_left` is None while that is unknown. `waiting` is a sentence for
    people while it cannot go on, else "".
    """

    bytes_total: int
    bytes_done: int
    bytes_moved: int
    bytes_per_s: float
    seconds_left: float | None
    waiting: str = ""

    @property
    def share(self) -> float:
        """0.0 to 1.0."""
        return self.bytes_done / self.bytes_total if self.bytes_total else 1.0


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """What this node knows of another. Sequences are the peer's own reports; `last_seen_s` is an age, in seconds.

    `copy` is how far the copy is that this master serves it, or None. `version` is its release, which brings a database
    to `schema_latest` and opens one up to `schema_max`; `cannot_take_over` says why it could not open this one, or "".
    An `observer` is streamed to and never counted on: another node has the seat.
    """

    node: NodeId
    role: Role
    state: State
    address: str
    connected: bool
    received: int
    fsynced: int
    applied: int
    checksum: int | None
    lag_requests: int | None
    lag_bytes: int | None
    lag_seconds: float | None
    last_seen_s: float | None
    clock_skew_s: float | None = None
    disk_free_bytes: int | None = None
    copy: CopyProgress | None = None
    proof_at_us: int = 0
    proof_is_whole: bool = True
    proof_text: str = ""
    version: str = ""
    protocol: int = 1
    schema_latest: int = 1
    schema_max: int = 1
    cannot_take_over: str = ""
    observer: bool = False


@dataclass(frozen=True, slots=True)
class Retention:
    """How much the journal may keep for standbys (`understudy.toml`). Ages are seconds in office: see `core.slots`."""

    slot_bytes_max: int = 4 << 30
    slot_age_max_s: float = 7 * 86400.0
    journal_free_bytes_min: int = 1 << 30


DEFAULT_RETENTION = Retention()


class SlotState(StrEnum):
    """How a standby's slot stands: see `core.slots`. LOST: only a COMPARE brings that standby back."""

    STREAMING = "streaming"
    BEHIND = "behind"
    STALLED = "stalled"
    COPYING = "copying"
    ABSENT = "absent"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class SlotStatus:
    """A slot of a node in office. `pinned_bytes` is what the journal's files take from there on; `text` is for people.

    `seconds` is the age of its backlog while it is connected, else how long this node was in office without it.
    """

    node: NodeId
    state: SlotState
    fsynced: int
    pinned_bytes: int
    seconds: float
    text: str
    seen_us: int = 0


@dataclass(frozen=True, slots=True)
class Proof:
    """What a node found when it read all of its files. `checksum` is that of `sequence`, where the reading ended.

    `soundness` is "ok" or what SQLite's own check found in a copy; "" when it was not asked (a master, or no room).
    """

    at_us: int
    seconds: float
    sequence: int
    checksum: int
    pages: int
    bad_pages: tuple[int, ...]
    soundness: str
    in_office: bool

    @property
    def is_whole(self) -> bool:
        """Nothing is wrong."""
        return not self.bad_pages and self.soundness in ("ok", "")

    @property
    def text(self) -> str:
        """A sentence for people, with what to do."""
        if self.is_whole:
            sound = ", and SQLite finds the copy sound" if self.soundness else ""
            return f"All {self.pages} pages are what was applied up to request {self.sequence}{sound}."
        shown = ", ".join(map(str, self.bad_pages[:5])) + (" and others" if len(self.bad_pages) > 5 else "")
        if not self.bad_pages:
            return (
                f"SQLite finds the copy unsound: {self.soundness}. Each page is what the master wrote, so it is the "
                "same there: keep a copy of both data directories before anything else."
            )
        which = f"page {shown} of {self.pages} is" if len(self.bad_pages) == 1 else f"pages {shown} of {self.pages} are"
        found = f"On this disk {which} not what was written."
        if self.in_office:
            return (
                f"{found} The standby has its own copy: if that is whole, let it take over, and this node is "
                "healed as its standby: understudy swap"
            )
        return (
            f"{found} What differs is copied from the master by itself; the damaged version is "
            "kept. Then look again: understudy verify"
        )


@dataclass(frozen=True, slots=True)
class Status:
    """One consistent look at a node. `backlog` is None when it is unknown: never a stale 0.

    `waiting_for` is a sentence for people when the node cannot go on by itself, else "".
    `commit_sequence` is durable wherever the mode demands it; on a standby, the highest it has been told.
    `copy` is how far this standby's own COMPARE is, or None. `standby_enrolled` says that a second node was ever let
    in, whether it is there or not. `slots` are of a node in office; `journal_bytes` is what the journal's files take.
    `schema` is that of the database in office (0: unknown); this release opens up to `schema_max`.
    `cannot_take_over` says why this standby could not open its master's database, or "".
    `seat` is the node that the master counts on or would count on; with another standby this node is an `observer`.
    `counted_name` is what the witnesses have on record while nobody writes alone.
    """

    cluster: str
    node: NodeId
    name: str
    role: Role
    state: State
    epoch: Epoch
    position: Position
    commit_sequence: int
    applied_sequence: int
    checksum: int
    mode: Mode
    in_sync: bool
    alone_since: float | None
    master: NodeId | None
    backlog: Backlog | None
    backlog_age_s: float | None
    backlog_proof: str
    peers: tuple[PeerStatus, ...] = ()
    waiting_for: str = ""
    copy: CopyProgress | None = None
    forks: int = 0
    standby_enrolled: bool = False
    proof: Proof | None = None
    slots: tuple[SlotStatus, ...] = ()
    journal_bytes: int = 0
    schema: int = 0
    schema_max: int = 1
    cannot_take_over: str = ""
    seat: NodeId = ""
    observer: bool = False
    counted_name: NodeId = ""


class Refused(Exception):
    """An operation was refused and nothing changed. `code` is stable; the text names what to do next."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
