"""What an agent must remember over kill -9, as values, and the changes to it. Pure: the spool makes them durable.

A change is a `Save`. `Memory.apply` is the one place that says what a Save means; the spool stores the same thing, and
loading it gives an equal Memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from replication.core.types import NO_EPOCH, Epoch
from server.core.agent_reports import Parted
from server.core.agent_wire import GateSet, Report, StandingOrder
from server.core.chain_messages import KeptChain
from server.core.checkpoint_messages import Resume
from server.core.model import Specification
from server.core.monitors import StandingMonitor
from server.core.sightings import Seen

NO_SPECIFICATION = Specification(job_id=0, job_name="", command="")


class DrainNote(msgspec.Struct, frozen=True, array_like=True):
    """The drain that this agent is in, or the last one: see `core.agent_drain`. `origin`: request | stop.

    `keys` ran when it began, `parted` have ended since. `deadline_us` is of the boot clock of `boot_id`, and means
    nothing after another boot: then no process of them is left.
    """

    asked_at_us: int
    origin: str
    limit_s: int
    boot_id: str
    deadline_us: int
    keys: tuple[str, ...] = ()
    parted: tuple[Parted, ...] = ()
    is_over: bool = False


class Durable(msgspec.Struct, frozen=True, array_like=True):
    """The single values. `highest_us`: highest wall time seen. `offset_us`: wall minus boot clock at last contact.

    `boot_id` and `place`: the boot, and the file of this memory, that a master admitted last. `start_alone`: after a
    reboot standing orders begin before a master has answered. `groups` are those that this agent serves; `deployment`
    is 0 until a master has said so. `accepted_us`: when this memory was accepted as a restored one, 0 for never:
    nothing of before is caught up.
    """

    epoch: Epoch = NO_EPOCH
    ticket: int = 0
    gates: GateSet = GateSet()
    highest_us: int = 0
    offset_us: int | None = None
    boot_id: str = ""
    quarantined: str = ""
    next_report: int = 1
    roster: dict[str, str] = {}
    place: str = ""
    start_alone: bool = False
    drain: DrainNote | None = None
    deployment: int = 0
    groups: tuple[str, ...] = ()
    accepted_us: int = 0


class CheckpointNote(msgspec.Struct, frozen=True, array_like=True):
    """The checkpoints of a run: the last `number`, the highest that was given up unacknowledged for later ones, and
    which of the last requests made which.
    """

    number: int = 0
    withdrawn: int = 0
    requests: tuple[tuple[str, int], ...] = ()


class RunRecord(msgspec.Struct, frozen=True, array_like=True):
    """One run here. `state`: held | intent | ended | forgotten. That an intent has its process, its pid file says.

    A forgotten run is its bare key: it keeps a late dispatch from starting it again. `turn` orders what is held.
    `stop` is the cause that its end will have, once a stop was asked for. `resume`: what it goes on from, until its
    process exists. `suspend`: it shall end at its next checkpoint.
    """

    key: str
    specification: Specification
    state: str
    turn: int
    at_us: int
    boot_id: str
    schedule_id: int | None = None
    scheduled_for_us: int | None = None
    attempt: int = 1
    stop: str = ""
    epoch_number: int = 0
    monitor_id: int | None = None
    group: str = ""
    resume: Resume | None = None
    checkpoint: CheckpointNote = CheckpointNote()
    suspend: bool = False

    @property
    def is_own(self) -> bool:
        """The agent began it by itself, from an order or an event: no master gives it again."""
        return self.schedule_id is not None or self.monitor_id is not None


class KeptOrder(msgspec.Struct, frozen=True, array_like=True):
    """Every instant up to `cursor_us` is settled: begun, held, or reported as suppressed."""

    order: StandingOrder
    cursor_us: int


class KeptMonitor(msgspec.Struct, frozen=True, array_like=True):
    """`has_looked`: the first look is over. `problem`: what was reported last of what it cannot watch."""

    monitor: StandingMonitor
    has_looked: bool = False
    problem: str = ""


class Requested(msgspec.Struct, frozen=True, array_like=True):
    """The event that a request made: asked again, it is answered again."""

    monitor: str
    number: int
    at_us: int


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """Acknowledged by a master that wrote alone: kept until the position is replicated, at most seven days."""

    epoch: Epoch
    sequence: int
    at_us: int


@dataclass(frozen=True, slots=True)
class SaveDurable:
    durable: Durable


@dataclass(frozen=True, slots=True)
class SaveRun:
    run: RunRecord


@dataclass(frozen=True, slots=True)
class DropRuns:
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SaveOrder:
    kept: KeptOrder


@dataclass(frozen=True, slots=True)
class DropOrder:
    order_id: int


@dataclass(frozen=True, slots=True)
class SaveSettled:
    """The bit of one instant; `began` tells a start from a suppression."""

    schedule_id: int
    instant_us: int
    began: bool


@dataclass(frozen=True, slots=True)
class PruneSettled:
    schedule_id: int
    before_us: int


@dataclass(frozen=True, slots=True)
class SaveReport:
    report: Report


@dataclass(frozen=True, slots=True)
class MarkReports:
    ids: tuple[int, ...]
    mark: Mark


@dataclass(frozen=True, slots=True)
class DropReports:
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SaveMonitor:
    kept: KeptMonitor


@dataclass(frozen=True, slots=True)
class DropMonitor:
    """The monitor and what it saw; the numbers of its events stay used."""

    monitor_id: int


@dataclass(frozen=True, slots=True)
class SaveNumber:
    """The number of the monitor's next event."""

    monitor_id: int
    number: int


@dataclass(frozen=True, slots=True)
class SaveSeen:
    monitor_id: int
    path: str
    seen: Seen


@dataclass(frozen=True, slots=True)
class DropSeen:
    monitor_id: int
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SaveRequested:
    request: str
    requested: Requested


@dataclass(frozen=True, slots=True)
class DropRequested:
    requests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SaveChain:
    kept: KeptChain


@dataclass(frozen=True, slots=True)
class DropChain:
    workflow_run: int


Save = (
    SaveDurable
    | SaveRun
    | DropRuns
    | SaveOrder
    | DropOrder
    | SaveSettled
    | PruneSettled
    | SaveReport
    | MarkReports
    | DropReports
    | SaveMonitor
    | DropMonitor
    | SaveNumber
    | SaveSeen
    | DropSeen
    | SaveRequested
    | DropRequested
    | SaveChain
    | DropChain
)


@dataclass(slots=True)
class Memory:
    """Everything that is durable. `reports` is in order of id; `settled` maps instant to whether it began."""

    durable: Durable = field(default_factory=Durable)
    runs: dict[str, RunRecord] = field(default_factory=dict)
    orders: dict[int, KeptOrder] = field(default_factory=dict)
    settled: dict[int, dict[int, bool]] = field(default_factory=dict)
    reports: dict[int, Report] = field(default_factory=dict)
    marks: dict[int, Mark] = field(default_factory=dict)
    monitors: dict[int, KeptMonitor] = field(default_factory=dict)
    numbers: dict[int, int] = field(default_factory=dict)
    seen: dict[int, dict[str, Seen]] = field(default_factory=dict)
    requested: dict[str, Requested] = field(default_factory=dict)
    chains: dict[int, KeptChain] = field(default_factory=dict)

    def apply(self, save: Save) -> None:
        """Do one change to the values; the caller makes it durable before it acts on it."""
        match save:
            case SaveDurable(durable):
                self.durable = durable
            case SaveRun(run):
                self.runs[run.key] = run
            case DropRuns(keys):
                for key in keys:
                    self.runs.pop(key, None)
            case SaveOrder(kept):
                self.orders[kept.order.id] = kept
            case DropOrder(order_id):
                self.orders.pop(order_id, None)
            case SaveSettled(schedule_id, instant_us, began):
                self.settled.setdefault(schedule_id, {})[instant_us] = began
            case PruneSettled(schedule_id, before_us):
                bits = self.settled.get(schedule_id, {})
                self.settled[schedule_id] = {at: began for at, began in bits.items() if at >= before_us}
            case SaveReport(report):
                self.reports[report.id] = report
            case MarkReports(ids, mark):
                self.marks.update({number: mark for number in ids if number in self.reports})
            case DropReports(ids):
                for number in ids:
                    self.reports.pop(number, None)
                    self.marks.pop(number, None)
            case SaveChain(kept):
                self.chains[kept.chain.workflow_run] = kept
            case DropChain(number):
                self.chains.pop(number, None)
            case _:
                self._apply_monitor(save)

    def _apply_monitor(self, save: Save) -> None:
        match save:
            case SaveMonitor(kept):
                self.monitors[kept.monitor.id] = kept
            case DropMonitor(monitor_id):
                self.monitors.pop(monitor_id, None)
                self.seen.pop(monitor_id, None)
            case SaveNumber(monitor_id, number):
                self.numbers[monitor_id] = number
            case SaveSeen(monitor_id, path, seen):
                self.seen.setdefault(monitor_id, {})[path] = seen
            case DropSeen(monitor_id, paths):
                for path in paths:
                    self.seen.get(monitor_id, {}).pop(path, None)
            case SaveRequested(request, requested):
                self.requested[request] = requested
            case DropRequested(requests):
                for request in requests:
                    self.requested.pop(request, None)
