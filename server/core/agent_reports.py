"""What agents report: the bodies of `agent_wire.Report`, which the spool keeps until they are replicated.

Fields are only ever added at the end, with a default.
"""

from __future__ import annotations

import msgspec

from server.core.model import Specification


class _Body(msgspec.Struct, array_like=True, frozen=True):
    pass


class Held(_Body, frozen=True, tag="held"):
    """A run is due and waits at the agent: `reason` is the gate."""

    specification: Specification
    scheduled_for_us: int | None
    attempt: int
    reason: str


class Begun(_Body, frozen=True, tag="begun"):
    """The intent is durable; the process follows at once."""

    specification: Specification
    scheduled_for_us: int | None
    attempt: int


class Ended(_Body, frozen=True, tag="ended"):
    """`cause`: "" (ran to its end) | timeout | cancelled | killed | given up | interrupted | never started |
    not startable | drained | handed over | suspended | recalled.

    `exit_code` and `signal` are both None unless the exit status is known. `output_bytes` is the final size.
    `recall`: the number of the request by which the run, not begun, was given back. `verdict`: succeeded | failed, by
    the exit rules that the run began with, and `why` where the exit code does not say it; "" from protocol 1.
    `outputs`: what the run told those after it (`core.step_outputs`). `begun`: keys of the steps that this end began at
    the agent, durable with it (`core.agent_chains`).
    """

    exit_code: int | None
    signal: int | None
    started_at_us: int | None
    ended_at_us: int
    output_bytes: int
    output_cut: bool
    cause: str = ""
    job_name: str = ""
    recall: int = 0
    verdict: str = ""
    why: str = ""
    outputs: dict[str, str] = {}
    begun: tuple[str, ...] = ()


class Suppressed(_Body, frozen=True, tag="suppressed"):
    """An instant that did not start, with its cause; `settled`: the misfire policy has already decided it."""

    job_id: int
    schedule_id: int
    instant_us: int
    cause: str
    settled: bool = False


class Trouble(_Body, frozen=True, tag="trouble"):
    """Something that people must know: becomes a system message."""

    text: str


class Parted(msgspec.Struct, array_like=True, frozen=True):
    """What became of one run of a drained agent.

    `outcome`: finished | cut | handed over | interrupted | running (left to its keeper, since the agent ended first) |
    not started (due, and held).
    """

    key: str
    job_name: str
    outcome: str


class DrainBegun(_Body, frozen=True, tag="drain_begun"):
    """The agent takes no new runs. `origin`: request | stop; with `asked_at_us` it names the drain. Protocol 2."""

    asked_at_us: int
    origin: str
    limit_s: int


class Drained(_Body, frozen=True, tag="drained"):
    """A drain is over, with what became of each run; `withdrawn`: somebody called it off before its end. Protocol 2."""

    asked_at_us: int
    origin: str
    outcomes: tuple[Parted, ...]
    withdrawn: bool = False


class Fired(_Body, frozen=True, tag="fired"):
    """Event `number` of a monitor happened. The reports of the runs that it began here follow.

    `elsewhere`: jobs for the master to submit. `suppressed`: (job, cause) of those that shall not run. Protocol 2.
    """

    monitor_id: int
    monitor: str
    number: int
    what: str
    at_us: int
    variables: dict[str, str]
    elsewhere: tuple[int, ...] = ()
    suppressed: tuple[tuple[int, str], ...] = ()


class MonitorProblem(_Body, frozen=True, tag="monitor_problem"):
    """Why a monitor cannot watch all that it should, as a sentence; "" once it can. Protocol 2."""

    monitor_id: int
    text: str


class Checkpointed(_Body, frozen=True, tag="checkpointed"):
    """A run saved its state as its checkpoint `number`; `sha256` of the bytes in hex. Protocol 2."""

    number: int
    data: bytes
    sha256: str


Body = Held | Begun | Ended | Suppressed | Trouble | DrainBegun | Drained | Fired | MonitorProblem | Checkpointed
LATER_BODIES = (DrainBegun, Drained, Fired, MonitorProblem, Checkpointed)
"""Understood from protocol 2 on: kept in the spool, unsent, while a master speaks an earlier one."""
