"""The nouns as rows, one struct each.

Times are microseconds since 1970 UTC (`_us`); field names are column names.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from server.core.calendar_days import Days
from server.core.checkpoints import CheckpointRule
from server.core.confidential import Confidential
from server.core.exit_rules import ExitRules
from server.core.job_monitors import JobMonitors
from server.core.limits import Limits
from server.core.occurrence_exceptions import OccurrenceException
from server.core.prerequisites import Prerequisites
from server.core.retry import RetryRule
from server.core.special_instances import SpecialInstance
from server.core.timing import Timing, TimingRules

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US

Span = tuple[int, int, int]
"""(first_us, step_us, count): `count` instants from `first_us`, `step_us` apart; step 0 with count 1."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A row of a table. `JSON` names the columns that hold JSON text and are decoded here."""

    JSON: ClassVar[frozenset[str]] = frozenset()


class Principal(msgspec.Struct, frozen=True):
    """Who asks: user name, role, and the network address asked from ("" on the local socket).

    `tenant` "" is the host: it sees every tenant's. `granted` are the permissions of a role that the cluster made or of
    a token with a scope; None: all that the built-in role has. `core.access.may` reads them. `must_change_password`: of
    a session that was begun with a password which somebody else gave.
    """

    name: str
    role: str
    address: str = ""
    tenant: str = ""
    granted: frozenset[str] | None = None
    must_change_password: bool = False


SYSTEM = Principal("system", "administrator")
"""The program itself: the scheduler, the fleet, a swap that goes on by itself."""


class NodeRow(Row, frozen=True, kw_only=True):
    id: str
    name: str
    address: str
    web_port: int
    cluster_port: int
    enrolled_at_us: int
    removed_at_us: int | None = None


class JoinToken(Row, frozen=True, kw_only=True):
    id: str
    secret_hash: str
    name: str
    created_by: str
    created_at_us: int
    expires_at_us: int
    used_at_us: int | None = None
    replaces: str = ""


class Agent(Row, frozen=True, kw_only=True):
    id: str
    name: str
    enrolled_at_us: int
    witness: int = 0
    former_witness: int = 0
    ticket: int = 0
    ticket_confirmed: int = 0
    quarantined_at_us: int | None = None
    quarantine_reason: str = ""
    removed_at_us: int | None = None
    version: str = ""
    boot_id: str = ""
    gates_acknowledged: int = 0
    reconciled_epoch: int = 0
    silent_since_us: int | None = None
    dead_at_us: int | None = None
    start_alone_after_reboot: int = 0
    drain_s: int = 600
    on_stop: str = "auto"
    capacity: int = 0
    deployment: int = 1
    deployment_kept: int = 0
    replaced_at_us: int | None = None
    replaces: str = ""


class Outcome(Row, frozen=True, kw_only=True):
    key: str
    principal: str
    request_hash: str
    status: int
    answer: str
    recorded_at_us: int


class Gate(Row, frozen=True, kw_only=True):
    """`kind` is one of `core.gates`; `agent_id` "" is host-wide."""

    kind: str
    agent_id: str = ""
    set_by: str
    set_at_us: int
    reason: str = ""
    revision: int = 0


class Job(Row, frozen=True, kw_only=True):
    JSON: ClassVar[frozenset[str]] = frozenset({
        "environment", "prerequisites", "retry", "exit_rules", "job_monitors", "checkpoints", "limits",
        "special_instances",
    })  # fmt: skip

    id: int
    name: str
    command: str
    agent_id: str
    environment: dict[str, str]
    working_directory: str
    run_as: str
    timeout_s: int
    output_bytes_max: int
    misfire_policy: str
    misfire_grace_s: int
    may_run_twice: bool
    skip_if_running: bool
    held: bool
    description: str
    standard_input: str
    version: int
    planned_version: int
    created_at_us: int
    updated_at_us: int
    deleted_at_us: int | None = None
    give_up_after_s: int = 0
    retry: RetryRule = RetryRule()
    exit_rules: ExitRules = ExitRules()
    prerequisites: Prerequisites = Prerequisites()
    limits: Limits = Limits()
    environment_id: int | None = None
    command_set_id: int | None = None
    workflow_id: int | None = None
    begins_workflow_id: int | None = None
    job_monitors: JobMonitors = JobMonitors()
    checkpoints: CheckpointRule = CheckpointRule()
    special_instances: list[SpecialInstance] = []


class ScheduleRow(Row, frozen=True, kw_only=True):
    """`cron` is an expression of any form (core.expressions)."""

    JSON: ClassVar[frozenset[str]] = frozenset({"rules"})

    id: int
    job_id: int
    cron: str
    zone: str
    created_at_us: int
    deleted_at_us: int | None = None
    member_id: str = ""
    calendar_id: int | None = None
    rules: TimingRules = TimingRules()
    blackout_next_us: int | None = None


class Schedule(ScheduleRow, frozen=True, kw_only=True):
    """A schedule with the days of its calendar: all that its instants depend on."""

    days: Days | None = None

    @property
    def timing(self) -> Timing:
        """What it is due by. Schedules without jitter that say the same have equal ones."""
        return Timing(self.cron, self.zone, self.rules, self.days, self.id if self.rules.jitter_s else 0)


class Specification(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent must know to start a run of a job; travels in orders and dispatches.

    Append fields at the end.
    """

    job_id: int
    job_name: str
    command: str
    environment: dict[str, str] = {}
    working_directory: str = ""
    run_as: str = ""
    timeout_s: int = 0
    output_bytes_max: int = 10 * 1024 * 1024
    skip_if_running: bool = False
    standard_input: str = ""
    misfire_policy: str = "once"
    misfire_grace_s: int = 3600
    give_up_after_s: int = 0
    exit_rules: ExitRules = ExitRules()
    confidential: Confidential | None = None
    """Of rows only: what of it needs secrets, which are sealed."""
    sealed: str = ""
    """Of agents only: the same with the values. On the link JSON of `core.confidential.Opened`, in the spool sealed."""
    checkpoints_kept: int = 5


class Order(Row, frozen=True, kw_only=True):
    """A standing order. state: active | releasing | released | dead."""

    JSON: ClassVar[frozenset[str]] = frozenset({"instants", "specification", "exceptions"})

    id: int
    schedule_id: int
    job_id: int
    agent_id: str
    version: int
    state: str
    valid_from_us: int
    valid_until_us: int
    instants: list[Span]
    specification: Specification
    acknowledged_version: int
    accounted_until_us: int
    renew_at_us: int
    next_instant_us: int
    suppressed: str = ""
    exceptions: list[OccurrenceException] = []
    held_until_us: int = 0
    withheld: int = 0
    by_master: bool = False
    """The master itself submits its instants: `core.planning.is_by_master`."""
    released_at_us: int = 0
    """Up to when its holder has said what became of its instants, once it is released; 0 when nobody said."""


class Run(Row, frozen=True, kw_only=True):
    number: int
    key: str
    job_id: int
    schedule_id: int | None
    scheduled_for_us: int | None
    attempt: int
    agent_id: str
    state: str
    reason: str
    state_since_us: int
    command: str
    requested_by: str
    dispatched_epoch: int | None
    submitted_at_us: int
    started_at_us: int | None
    ended_at_us: int | None
    exit_code: int | None
    signal: int | None
    output_bytes: int
    output_cut: bool
    cancel_requested_by: str
    cancel_requested_at_us: int | None
    cancel_kill: bool = False
    stop_sent_at_us: int | None = None
    event_id: int | None = None
    give_up_after_s: int = 0
    given_up_at_us: int | None = None
    group_id: str = ""
    begin_after_us: int | None = None
    """Of a waiting run: not before; the next attempt after a failure."""
    workflow_run: int | None = None
    resumed_run: int | None = None
    resumed_checkpoint: int | None = None
    suspend_requested_by: str = ""
    suspend_requested_at_us: int | None = None
    suspend_sent_at_us: int | None = None
    suspended_at_us: int | None = None
    dismissed_by: str = ""
    rank_us: int = 0
    limited: bool = False
    instance: str = ""


class Missed(Row, frozen=True, kw_only=True):
    """An occurrence that did not start. resolution: "" while open, else run | dismissed | policy."""

    id: int
    job_id: int
    schedule_id: int
    scheduled_for_us: int
    cause: str
    recorded_at_us: int
    resolution: str = ""
    resolved_by: str = ""
    resolved_at_us: int | None = None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a swap. state: waiting | running | done | failed | undone; `proof` is a sentence with figures."""

    name: str
    state: str = "waiting"
    started_at_us: int | None = None
    ended_at_us: int | None = None
    proof: str = ""


class Swap(Row, frozen=True, kw_only=True):
    """state: running | done | aborted | failed."""

    JSON: ClassVar[frozenset[str]] = frozenset({"prior_gates", "steps", "accepted"})

    id: int
    requested_by: str
    requested_at_us: int
    kind: str
    from_node: str
    to_node: str
    state: str
    prior_gates: list[Gate]
    steps: list[Step]
    accepted: list[str]
    abort_requested_by: str
    ended_at_us: int | None
    report: str


class AuditEntry(Row, frozen=True, kw_only=True):
    id: int
    at_us: int
    who: str
    address: str
    action: str
    object: str
    before: str
    after: str
    reason: str
    hash: str = ""


class ServerHistoryEntry(Row, frozen=True, kw_only=True):
    id: int
    run_key: str
    agent_id: str
    job_name: str
    started_at_us: int | None
    ended_at_us: int | None
    exit_code: int | None
    signal: int | None
    output: bytes
    why: str
    recorded_at_us: int
    adopted_run: str = ""
    adopted_by: str = ""
    from_fork: str = ""
    state: str = ""
    command: str = ""
    output_cut: bool = False


class SystemMessage(Row, frozen=True, kw_only=True):
    id: int
    at_us: int
    severity: str
    text: str
    acknowledged_by: str = ""
    acknowledged_at_us: int | None = None
