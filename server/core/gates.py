"""Why work may not start now: one rule for the master's queue and, over the wire, for the agents.

A gate is a row. The master sends every change of gates as a revision; an agent persists and acknowledges it.
What an agent does with a due instant under gates is `on_occurrence`, with a run that was given or held already
`holds`; what the master does with a submission is `reason`. Where several gates apply, one is named, in `_ORDER`.

A gate of one tenant has its kind with the tenant in front, `acme:maintenance`, as things of a tenant are named
(docs/decisions/0138): whose a run is, the name of its job says, so that the agent decides without a master.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum

from server.core import tenancy
from server.core.model import Gate, Job

SCHEDULER_STOPPED = "scheduler_stopped"
QUEUE_LOCKED = "queue_locked"
SWAP = "swap"
DRAINING = "draining"
MAINTENANCE = "maintenance"
SUSPENDED = "maintenance_suspended"
"""Maintenance has two phases, each a kind of gate. Draining: what falls due waits. Suspended: it is missed."""

HELD = "job held"
NO_AGENT = "no agent"

REASONS = {
    QUEUE_LOCKED: "queue locked",
    SCHEDULER_STOPPED: "scheduler stopped",
    SWAP: "swap",
    DRAINING: "agent draining",
    MAINTENANCE: "maintenance",
    SUSPENDED: "maintenance",
}
"""What a waiting run or a missed occurrence says, by kind of gate."""

_ORDER = (SWAP, SUSPENDED, MAINTENANCE, SCHEDULER_STOPPED, DRAINING, QUEUE_LOCKED)
_MISSES = (SUSPENDED, SCHEDULER_STOPPED)
_FORMER = {DRAINING: QUEUE_LOCKED, MAINTENANCE: QUEUE_LOCKED, SUSPENDED: SCHEDULER_STOPPED}
FORMER_PROTOCOL = 1
"""An agent that speaks no more than this knows only the kinds of its time."""
TENANTS_PROTOCOL = 3
"""From this on an agent obeys the gates of one tenant."""


class Verdict(StrEnum):
    """What becomes of an instant that is due under gates."""

    START = "start"
    WAIT = "wait"
    MISS = "miss"


def of_tenant(tenant: str, kind: str) -> str:
    """How a gate of `kind` is called that is one tenant's; the kind itself for "", which is everybody's."""
    return tenancy.qualified(tenant, kind)


def plain(kind: str) -> str:
    """The kind without the tenant whose it is."""
    return tenancy.own(tenancy.tenant_of(kind), kind)


def concerning(kinds: Iterable[str], tenant: str) -> list[str]:
    """Of the kinds those that concern what is of `tenant`: everybody's and its own, without the tenant's name."""
    return [plain(kind) for kind in kinds if tenancy.tenant_of(kind) in ("", tenant)]


def standing(gates: Iterable[Gate], agent_id: str, tenant: str = "") -> dict[str, Gate]:
    """The gates that concern what is of `tenant` at an agent, by plain kind; host-wide ones before its own."""
    found: dict[str, Gate] = {}
    for gate in gates:
        kind = plain(gate.kind)
        if tenancy.tenant_of(gate.kind) not in ("", tenant) or gate.agent_id not in ("", agent_id):
            continue
        if kind not in found or (gate.agent_id == "" and gate.kind == kind):
            found[kind] = gate
    return found


def by_agent(gates: Iterable[Gate]) -> dict[str, list[Gate]]:
    """Gates by the agent that they are of; "" has the host-wide ones. For looking at many agents at once."""
    found: dict[str, list[Gate]] = {}
    for gate in gates:
        found.setdefault(gate.agent_id, []).append(gate)
    return found


def in_the_way(gates: Iterable[Gate], agent_id: str, tenant: str = "") -> Gate | None:
    """The one gate that people are told of when several stop an agent: who set it, since when and why; or None."""
    kinds = standing(gates, agent_id, tenant)
    return next((kinds[kind] for kind in _ORDER if kind in kinds), None)


def reason(gates: Iterable[Gate], agent_id: str, job: Job | None = None) -> str | None:
    """Why a submission to `agent_id` waits, or None when it may start: the job's hold, when it has one, comes last."""
    gate = in_the_way(gates, agent_id, tenancy.tenant_of(job.name) if job is not None else "")
    if gate is not None:
        return REASONS[plain(gate.kind)]
    return HELD if job is not None and job.held else None


def takes_runs(gates: Iterable[Gate], agent_id: str, stopping: Collection[str] = ()) -> bool:
    """Whether a run that may go to one of several agents may go to this one.

    `stopping` are the agents that drain because their program or machine is stopped (`storage.drains.stopping`).
    """
    return agent_id not in stopping and in_the_way(gates, agent_id) is None


def on_occurrence(kinds: Iterable[str], tenant: str = "") -> tuple[Verdict, str]:
    """What an agent does with an instant of `tenant` that is due while gates of `kinds` are in force, and the reason.

    A stopped scheduler or a suspended maintenance suppresses it: it is missed. Every other gate lets it wait: the
    agent reports it and starts nothing; the master makes it a waiting run, which starts in order of submission when
    the gates are lifted.
    """
    present = concerning(kinds, tenant)
    for kind in _MISSES:
        if kind in present:
            return Verdict.MISS, REASONS[kind]
    why = holds(present)
    return (Verdict.WAIT, why) if why else (Verdict.START, "")


def holds(kinds: Iterable[str], tenant: str = "") -> str:
    """Why an agent does not begin a run of `tenant` that it was given or that it held already, or "".

    A stopped scheduler submits nothing; what it has submitted before goes on.
    """
    present = set(concerning(kinds, tenant)) - {SCHEDULER_STOPPED}
    return next((REASONS[kind] for kind in _ORDER if kind in present), "")


def for_protocol(kinds: Iterable[str], protocol: int) -> tuple[str, ...]:
    """The kinds as an agent of `protocol` understands them, each once: one of before gets the gate next to it.

    One that cannot tell tenants apart is told of none: it would stop everybody, or nobody and say that it obeys.
    """
    told = (kind for kind in kinds if protocol >= TENANTS_PROTOCOL or not tenancy.tenant_of(kind))
    known = told if protocol > FORMER_PROTOCOL else (_FORMER.get(kind, kind) for kind in told)
    return tuple(dict.fromkeys(known))
