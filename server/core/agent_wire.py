"""The messages between a node and an agent: one tagged union for each direction, in MessagePack.

One WebSocket at `PATH`, binary frames of one message each, at most `FRAME_BYTES_MAX`. Fields are only ever added at
the end, with a default, so that versions N and N-1 understand each other. Times are microseconds since 1970 UTC.
The link is an ordered stream: what follows an `Office` is said by that office, so commands carry no epoch of their own.

Protocol: docs/protocol.md, section 6.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from replication.core.types import Epoch
from server.core.agent_deployment import DeploymentKept as DeploymentKept
from server.core.agent_deployment import Recall as Recall
from server.core.agent_deployment import SetDeployment as SetDeployment
from server.core.agent_reports import Begun as Begun
from server.core.agent_reports import Body as Body
from server.core.agent_reports import Checkpointed as Checkpointed
from server.core.agent_reports import DrainBegun as DrainBegun
from server.core.agent_reports import Drained as Drained
from server.core.agent_reports import Ended as Ended
from server.core.agent_reports import Fired as Fired
from server.core.agent_reports import Held as Held
from server.core.agent_reports import MonitorProblem as MonitorProblem
from server.core.agent_reports import Suppressed as Suppressed
from server.core.agent_reports import Trouble as Trouble
from server.core.agent_witness import AskAlone as AskAlone
from server.core.agent_witness import AskGrant as AskGrant
from server.core.agent_witness import WitnessSays as WitnessSays
from server.core.chain_messages import Chain
from server.core.checkpoint_messages import Progress as Progress
from server.core.checkpoint_messages import Resume as Resume
from server.core.checkpoint_messages import Suspend as Suspend
from server.core.model import Span, Specification
from server.core.monitor_messages import GiveMonitor as GiveMonitor
from server.core.monitor_messages import MonitorKept as MonitorKept
from server.core.monitor_messages import ReleaseMonitor as ReleaseMonitor
from server.core.occurrence_exceptions import OccurrenceException
from server.core.wire_numbers import has_huge_number

PROTOCOL = 3
"""What is new in N is sent only to a peer that said N or more in its `Hello` or `Office`. 3: gates of one tenant."""
PATH = "/agents/link"
FRAME_BYTES_MAX = 4 * 1024 * 1024
OUTPUT_CHUNK_BYTES = 256 * 1024
LINK_SILENT_S = 5.0
"""How long the first message of a link is waited for. Later ones: `core.agent_beats`."""


class ProtocolError(Exception):
    """A frame that is no message of this protocol; the link is closed, nothing else happens."""


class _Message(msgspec.Struct, array_like=True, frozen=True):
    pass


class GateSet(msgspec.Struct, array_like=True, frozen=True):
    """The kinds of gates (`core.gates`) in force for one agent, host-wide or its own, at `revision`.

    `drain_at_us`: when a drain was asked for that is in force, which names it; 0 for none. It may take `drain_s`, as
    may one that the agent begins by itself when it is stopped. `on_stop`: auto | keep | drain (`core.agent_drain`).
    `everywhere`: those of the kinds that are host-wide.
    """

    revision: int = 0
    kinds: tuple[str, ...] = ()
    drain_at_us: int = 0
    drain_s: int = 600
    on_stop: str = "auto"
    everywhere: tuple[str, ...] = ()


class StandingOrder(msgspec.Struct, array_like=True, frozen=True):
    """A schedule's instants, given in advance: arithmetic series (first_us, step_us, count).

    `exceptions` name those of them that are skipped, moved or begun with another command; from protocol 2 on.
    """

    id: int
    schedule_id: int
    version: int
    valid_from_us: int
    valid_until_us: int
    instants: tuple[Span, ...]
    specification: Specification
    exceptions: tuple[OccurrenceException, ...] = ()


class RunNote(msgspec.Struct, array_like=True, frozen=True):
    """One run as the agent holds it. `state`: held | intent | running | ended. Sizes of output are in bytes."""

    key: str
    state: str
    output_bytes: int = 0


# From a node.


class Office(_Message, frozen=True, tag="office"):
    """Who speaks: sent first on every link and again whenever it changes. Epoch is NO_EPOCH from a standby.

    `protocol`: the highest that this node understands. `beat_s`: between heartbeats (`core.agent_beats`).
    `trust`: the authorities to trust, the one that signs first (`core.authorities`).
    """

    node: str
    role: str
    epoch: Epoch
    now_us: int
    roster: dict[str, str] = {}
    protocol: int = 1
    beat_s: float = 1.0
    trust: str = ""


class Admitted(_Message, frozen=True, tag="admitted"):
    """The connection is recorded under `ticket` and the inventory reconciled: answer `TicketKept` once it is durable.

    `outputs`: how many bytes of output the master holds, by run key. `forgotten`: keys whose output nobody awaits.
    `restored`: an operator accepted an agent that came back from a snapshot; its past instants are not caught up.
    `strays`: orders (id, version) that are its own no more: give them back before anything begins. `quarantined`: why
    nothing begins although it is let in: only what it ran is taken.
    """

    ticket: int
    outputs: dict[str, int] = {}
    forgotten: tuple[str, ...] = ()
    restored: bool = False
    strays: tuple[tuple[int, int], ...] = ()
    quarantined: str = ""


class Quarantined(_Message, frozen=True, tag="quarantined"):
    """This identity runs twice or came back from a snapshot: it starts nothing until an operator ends that."""

    reason: str


class NextTicket(_Message, frozen=True, tag="next_ticket"):
    """Since the last number this agent said something that a copy of its memory would not know (protocol 2).

    Answered with `TicketKept` once it is durable.
    """

    ticket: int


class SetStartAlone(_Message, frozen=True, tag="start_alone"):
    """Whether standing orders begin after a reboot before a master has answered (protocol 2)."""

    allowed: bool


class SetGates(_Message, frozen=True, tag="gates"):
    gates: GateSet


class GiveOrder(_Message, frozen=True, tag="order"):
    order: StandingOrder


class ReleaseOrder(_Message, frozen=True, tag="release"):
    """Give the order back; answered with `Released` also when it was never received."""

    order_id: int
    version: int


class Dispatch(_Message, frozen=True, tag="dispatch"):
    """Start this one run; a key that the agent already knows changes nothing. `resume`: it goes on from there.

    `chain`: what of its workflow the agent may begin behind it. Of a run that it has already, the specification names
    no job (`job_id` 0): nothing begins by that, only the chain is given.
    """

    key: str
    specification: Specification
    scheduled_for_us: int | None = None
    attempt: int = 1
    group: str = ""
    resume: Resume | None = None
    chain: Chain | None = None


class StopRun(_Message, frozen=True, tag="stop"):
    """End a run. `kill`: SIGKILL at once; otherwise SIGTERM and, after `grace_s`, SIGKILL."""

    key: str
    kill: bool = False
    grace_s: int = 10


class Kept(_Message, frozen=True, tag="kept"):
    """The reports are committed at `sequence`. Only with `in_sync` may the spool forget them."""

    reports: tuple[int, ...]
    sequence: int
    in_sync: bool


class OutputKept(_Message, frozen=True, tag="output_kept"):
    """The master holds `size` bytes of this run's output; -1: it wants no more of it."""

    key: str
    size: int
    sequence: int
    in_sync: bool


class NodeHeartbeat(_Message, frozen=True, tag="node_heartbeat"):
    """Every `Office.beat_s`. `replicated`: the commit sequence while the standby is in sync, else 0.

    `committed`: the commit sequence of a master, 0 from others. `answers_us`: of a master able to commit, the `boot_us`
    of the last heartbeat that it had of this agent; else 0.
    """

    now_us: int
    replicated: int = 0
    committed: int = 0
    answers_us: int = 0


# From an agent.


class Hello(_Message, frozen=True, tag="hello"):
    """The first message of a link. `instance` is random for each start of the program.

    `trusts`: the authorities that its own file has (`core.authorities.trust_of`).
    """

    agent_id: str
    protocol: int
    version: str
    boot_id: str
    instance: str
    now_us: int
    trusts: str = ""


class Present(_Message, frozen=True, tag="present"):
    """To the master whose epoch is now durable here: the last ticket, and everything this agent still holds."""

    epoch: Epoch
    ticket: int
    gates: GateSet
    runs: tuple[RunNote, ...]
    orders: tuple[tuple[int, int], ...]
    reports: int = 0
    oldest_report_us: int = 0
    monitors: tuple[tuple[int, int], ...] = ()


class EpochRefused(_Message, frozen=True, tag="epoch_refused"):
    """BEY-4: the office that spoke is stale; `highest` is what this agent obeys."""

    offered: Epoch
    highest: Epoch


class TicketKept(_Message, frozen=True, tag="ticket_kept"):
    ticket: int


class GatesKept(_Message, frozen=True, tag="gates_kept"):
    """These gates are durable here and no intent awaits its process."""

    revision: int


class OrderKept(_Message, frozen=True, tag="order_kept"):
    order_id: int
    version: int


class Released(_Message, frozen=True, tag="released"):
    """The order is given back; `started` are its instants that began here."""

    order_id: int
    version: int
    started: tuple[int, ...]


class Report(_Message, frozen=True, tag="report"):
    """Something that happened, kept in the spool under `id` until it is replicated."""

    id: int
    key: str
    at_us: int
    body: Body


class Output(_Message, frozen=True, tag="output"):
    """Bytes of a run's output from `offset` on; `size` is what it has so far."""

    key: str
    offset: int
    data: bytes
    size: int


class AgentHeartbeat(_Message, frozen=True, tag="agent_heartbeat"):
    """Every `Office.beat_s`. `waiting`: a sentence while the agent starts nothing by itself, else "".

    `start_alone`: what of `SetStartAlone` is durable here.
    `boot_us`: the machine's boot clock, which a master's answer repeats.
    `oldest_report_us`: when the oldest of `reports` happened, 0 for none. Bytes: of the spool, of what runs printed,
    and of both at most before nothing begins; 0 from an agent of an earlier release.
    """

    now_us: int
    reports: int = 0
    waiting: str = ""
    start_alone: bool = False
    boot_us: int = 0
    oldest_report_us: int = 0
    spool_bytes: int = 0
    output_bytes: int = 0
    spool_bytes_max: int = 0


FromNode = (
    Office
    | Admitted
    | Quarantined
    | NextTicket
    | SetStartAlone
    | SetGates
    | GiveOrder
    | ReleaseOrder
    | Dispatch
    | StopRun
    | Kept
    | OutputKept
    | NodeHeartbeat
    | AskGrant
    | AskAlone
    | GiveMonitor
    | ReleaseMonitor
    | Recall
    | SetDeployment
    | Suspend
)
FromAgent = (
    Hello
    | Present
    | EpochRefused
    | TicketKept
    | GatesKept
    | OrderKept
    | Released
    | Report
    | Output
    | AgentHeartbeat
    | WitnessSays
    | MonitorKept
    | DeploymentKept
    | Progress
)

_encoder = msgspec.msgpack.Encoder()
_from_node: msgspec.msgpack.Decoder[FromNode] = msgspec.msgpack.Decoder(FromNode)
_from_agent: msgspec.msgpack.Decoder[FromAgent] = msgspec.msgpack.Decoder(FromAgent)
T = TypeVar("T")


def encode(message: FromNode | FromAgent) -> bytes:
    """One frame. The sender keeps `Output.data` within `OUTPUT_CHUNK_BYTES`."""
    return _encoder.encode(message)


def decode_from_node(frame: bytes) -> FromNode:
    """Raises ProtocolError for anything that is not one message of a node."""
    return _decode(_from_node, frame)


def decode_from_agent(frame: bytes) -> FromAgent:
    """Raises ProtocolError for anything that is not one message of an agent."""
    return _decode(_from_agent, frame)


def _decode(decoder: msgspec.msgpack.Decoder[T], frame: bytes) -> T:
    if len(frame) > FRAME_BYTES_MAX:
        raise ProtocolError(f"A frame of {len(frame)} bytes is above the limit of {FRAME_BYTES_MAX}.")
    try:
        message = decoder.decode(frame)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ProtocolError(f"The peer sent what this version does not understand: {error}.") from error
    if has_huge_number(frame, message):
        raise ProtocolError("The peer sent a number above 2^62.")
    return message
