"""What a node remembers of roles: persisted in the control file before it is acted on."""

from __future__ import annotations

import msgspec

from replication.core.types import NO_EPOCH, ORIGIN, Epoch, NodeId, Position, State


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """The persisted half of the role machine. Fields are only ever appended.

    `seen` is the highest epoch met anywhere, claims and given-away tokens included; `granted` the highest that this
    node granted to another; `office` the last one it held itself. `in_sync` is the set while in office; `enlisted`
    says that this node was in the set of the last master it followed. `token` names an unconfirmed hand-off.
    `relapses` counts how often the standby left the set soon after it had entered it; `leave` says that the present
    office rests on an operator's word that no witness confirmed. `standby` is who has the seat while this node is in
    office; `observer` says that the last master gave it to another node. `many`: more than two nodes were ever in this
    cluster, so that the witnesses hear by name who is counted on (docs/decisions/0070).
    """

    state: State = State.INIT
    seen: Epoch = NO_EPOCH
    granted: Epoch = NO_EPOCH
    office: Epoch = NO_EPOCH
    in_sync: tuple[NodeId, ...] = ()
    enlisted: bool = False
    alone_since_utc_us: int = 0
    alone_counter: int = 0
    token: Epoch = NO_EPOCH
    token_last: Position = ORIGIN
    standby: NodeId = ""
    taken: Epoch = NO_EPOCH
    relapses: int = 0
    leave: bool = False
    observer: bool = False
    many: bool = False

    def encode(self) -> bytes:
        """Bytes for the control file."""
        return msgspec.msgpack.encode(self)


def decode(data: bytes) -> Memory:
    """The memory in a control file; empty bytes are a new node's."""
    return msgspec.msgpack.decode(data, type=Memory) if data else Memory()
