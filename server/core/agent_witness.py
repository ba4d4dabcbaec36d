"""What nodes ask an agent that is a witness, and its answer: messages of `agent_wire`.

Fields are only ever added at the end, with a default. Protocol: docs/protocol.md, section 6.
"""

from __future__ import annotations

import msgspec

from replication.core.types import NO_EPOCH, Epoch


class _Message(msgspec.Struct, array_like=True, frozen=True):
    pass


class AskGrant(_Message, frozen=True, tag="ask_grant"):
    """A question to a witness, see `replication.core.witness.Claim`."""

    question: int
    epoch: Epoch
    seen: Epoch
    last_sequence: int
    forced: bool = False


class AskAlone(_Message, frozen=True, tag="ask_alone"):
    """Record who writes alone in `epoch` ("" for nobody)."""

    question: int
    epoch: Epoch
    alone: str
    counter: int


class WitnessSays(_Message, frozen=True, tag="witness_says"):
    """The answer to `question`; the record is the one held before it, durable when `granted`.

    `heard` is the latest office whose heartbeat this agent got since it started; that said `committed`, `age_s` ago.
    """

    question: int
    granted: bool
    epoch: Epoch = NO_EPOCH
    alone: str = ""
    alone_epoch: Epoch = NO_EPOCH
    counter: int = 0
    heard: Epoch = NO_EPOCH
    committed: int = 0
    age_s: float = 0.0
