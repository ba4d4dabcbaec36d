"""Why a job runs when it does, and why a run waits: sentences from plain values, with what to type. Pure.

A reason that a run may wait for has a line in `_WAITING`; a test walks over every reason that there is.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from server.core import asides, gates, limits, prerequisites
from server.core.checkpoints import CheckpointRule
from server.core.confidential import NO_SECRETS
from server.core.debts import OWED
from server.core.groups import CHOOSING, NO_CAPACITY, Policy
from server.core.maintenance_windows import AFTER_WINDOW
from server.core.model import Gate, Job
from server.core.retry import RetryRule
from server.core.run_states import TABLE, RunState
from server.core.tenancy import tenant_of


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is so. `topic`: a word or two; `command`: what to type to change it, "" when nothing does."""

    topic: str
    text: str
    command: str = ""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """All that is to be said of a job or a run, in order."""

    subject: str
    lines: list[Why]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """The waiting run as the commands name it. `agent` is "" while no member of its group is chosen."""

    run: int
    job: str
    agent: str = ""
    group: str = ""
    holders: str = ""
    """Who holds what it is short of, in words."""


def at(at_us: int) -> str:
    """An instant as people read it."""
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def lasting(seconds: float) -> str:
    """A length of time in the largest whole unit."""
    for name, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length and seconds % length == 0:
            count = int(seconds // length)
            return f"{count} {name}{'' if count == 1 else 's'}"
    return f"{seconds:g} s"


_STATES = {
    "waiting": "It has not started.",
    "starting": "It was given to its agent, which has not reported a start yet.",
    "running": "Its process runs on the agent.",
    "suspending": "Its process runs on the agent, and is ended at its next checkpoint.",
    "suspended": "It stopped at a checkpoint and goes on when somebody says so.",
    "resuming": "It stopped at a checkpoint; its next attempt goes on from there.",
    "unknown": "Its agent is silent and may have it. It is not repeated: the agent answers when it is back.",
}


_OF_WORKFLOWS = {
    "starting": "Its workflow is about to begin.",
    "running": "Its workflow runs.",
    "succeeded": "Its workflow succeeded.",
    "failed": "Its workflow failed.",
    "cancelled": "It was cancelled, and what ran of its workflow with it.",
    "killed": "It was killed, and what ran of its workflow with it.",
}
"""Of a run whose doing is a workflow's run."""


def state_sentence(state: str, began: bool = False, of_workflow: bool = False) -> str:
    """What a run's state means; ends are worded by the table of states, for a run that began or one that did not."""
    if of_workflow and state in _OF_WORKFLOWS:
        return _OF_WORKFLOWS[state]
    if state in _STATES:
        return _STATES[state]
    found = [rule for rule in TABLE if rule.next == state]
    before = RunState.RUNNING if began else RunState.WAITING
    return next((rule.sentence for rule in found if rule.state == before), found[0].sentence if found else "")


_GATES: dict[str, tuple[str, str, str]] = {
    gates.SWAP: ("A swap is under way: nothing begins until the other node is in office", "status", "status"),
    gates.SCHEDULER_STOPPED: ("The scheduler is stopped: what falls due is missed", "scheduler start", ""),
    gates.QUEUE_LOCKED: ("The queue is locked: what falls due waits", "queue unlock --all", "queue unlock {}"),
    gates.DRAINING: ("The agent drains: it takes no new runs", "status", "agent undrain {}"),
    gates.MAINTENANCE: (
        "Maintenance, draining: what falls due waits", "maintenance off", "agent maintenance {} off",
    ),
    gates.SUSPENDED: (
        "Maintenance, suspended: what falls due is missed", "maintenance off", "agent maintenance {} off",
    ),
}  # fmt: skip
"""By kind: what it does, and what ends the one of all agents and the one of an agent."""


def of_gate(gate: Gate, agent: str = "") -> Why:
    """A gate in force: what it does, by whom, since when, why, and what ends it. `agent`: whose, "" for all."""
    says, ends_all, ends_one = _GATES[gates.plain(gate.kind)]
    tenant = tenant_of(gate.kind)
    where = f" for {agent or f'the tenant {tenant}'}" if agent or tenant else ""
    because = f": {gate.reason}" if gate.reason else ""
    command = ends_one.format(agent) if agent and ends_one else ends_all
    command += f" --tenant {tenant}" if tenant else ""
    text = f"{says}. Set{where} by {gate.set_by or 'the program'} at {at(gate.set_at_us)}{because}."
    return Why(topic="in the way", text=text, command=f"understudy {command}")


Sentence = Callable[[Place], tuple[str, str]]


def _gate(kind: str) -> Sentence:
    says, ends_all, ends_one = _GATES[kind]
    return lambda place: (
        f"{says}. It starts, in order, when that ends.",
        ends_one.format(place.agent) if place.agent and ends_one else ends_all,
    )


def _agent(text: str) -> Sentence:
    return lambda place: (text.format(place.agent or "its agent"), f"agent show {place.agent}" if place.agent else "")


def _members(text: str) -> Sentence:
    return lambda place: (text.format(place.group or "its group"), f"group show {place.group}" if place.group else "")


def _limit(place: Place) -> tuple[str, str]:
    held = f" Now: {place.holders}." if place.holders else ""
    return f"It is let go when runs before it have given back what it needs.{held}", "resource list"


_WAITING: dict[str, Sentence] = {
    gates.REASONS[gates.SWAP]: _gate(gates.SWAP),
    gates.REASONS[gates.SCHEDULER_STOPPED]: _gate(gates.SCHEDULER_STOPPED),
    gates.REASONS[gates.QUEUE_LOCKED]: lambda place: (
        "It starts, in order, when the queue is unlocked: that of all agents, or its own agent's.",
        f"queue unlock {place.agent or '--all'}",
    ),
    gates.REASONS[gates.DRAINING]: _gate(gates.DRAINING),
    gates.REASONS[gates.MAINTENANCE]: _gate(gates.MAINTENANCE),
    gates.HELD: lambda place: ("Its job is held: it starts when that is released.", f"job release {place.job}"),
    f"{gates.NO_AGENT} in group": _members("No member of {} may start anything: it goes to the first that is back."),
    gates.NO_AGENT: _agent("{} does not answer: it starts when that is back and has said what it holds."),
    NO_CAPACITY: _members("All members of {} are busy: it goes to the first that has room."),
    CHOOSING: _members("A member of {} is chosen within a moment; if not, it says why."),
    "chosen again": _members("The member that had it is gone: another one of {} is chosen."),
    "given back by": _members("The member that had it gave it back unstarted: another one of {} is chosen."),
    "not deployed in group": _members("The agent does not serve {} any more: it gives the run back to the master."),
    limits.TURN: lambda _: ("The master looks at its turn within a moment; what it is short of, it says then.", ""),
    limits.WAITS: _limit,
    prerequisites.WAITS: lambda place: (
        "It starts when what is named has happened. To start it without that, run the job on request.",
        f"job show {place.job}",
    ),
    AFTER_WINDOW: lambda place: (
        "It would not have fitted before a planned maintenance: it begins at the end of that.",
        "maintenance window list",
    ),
    "retry at": lambda place: ("It is the next attempt of one that failed, and begins at that time.", ""),
    OWED: lambda _: (
        "A takeover may have lost that it was given to a silent agent: it goes on when each such agent has answered or"
        " is declared dead.", "status",
    ),
    asides.REASON: lambda _: (
        "A defect keeps the scheduler from letting it go: have it tried again, or dismiss it.", "scheduler aside list",
    ),
    NO_SECRETS: _agent("{} is of an earlier release and takes no secrets: upgrade it."),
    "agent disk full": _agent("The disk of {} is full: it starts, in order, when there is room again."),
    "its workflow is held": lambda place: (
        "The workflow that it begins is held: it starts, in order, when that is released.",
        f"explain {place.job} --job",
    ),
    "agent replaced": _agent("Its machine was replaced: it starts when {} has joined."),
}  # fmt: skip
"""By what the reason of a waiting run begins with: what would let it go, and what to type; the longest counts."""


def knows(reason: str) -> bool:
    """Whether a waiting run's reason has a sentence."""
    return any(reason.startswith(begin) for begin in _WAITING)


def of_waiting(reason: str, place: Place) -> Why:
    """What would let a waiting run go. A reason that nobody words is repeated as it is."""
    begin = max((one for one in _WAITING if reason.startswith(one)), key=len, default="")
    text, command = _WAITING[begin](place) if begin else (f"It waits: {reason or 'no reason is known'}.", "")
    return Why(topic="what lets it go", text=text, command=f"understudy {command}" if command else "")


_POLICIES = {
    Policy.LEAST_LOADED: "the member with the fewest runs",
    Policy.ROUND_ROBIN: "the members in turn",
    Policy.PREFERRED: "the first member in order that has room",
    Policy.ALL: "every member, each a run of its own",
}


def of_policy(group: str, policy: str, members: str) -> Why:
    """Who may be chosen of a group. `members`: what rows say of them, in words."""
    text = f"On {_POLICIES[Policy(policy)]} of the group {group}: {members}."
    return Why(topic="where", text=text + " Who is connected is seen when a run is placed.")


def of_misfire(job: Job) -> Why:
    """What becomes of an occurrence that did not start in time."""
    what = {
        "once": f"one run makes up for all that are not older than {lasting(job.misfire_grace_s)}",
        "all": f"each that is not older than {lasting(job.misfire_grace_s)} is made up for",
        "skip": "it is skipped and stays in the ledger",
        "ask": "it is in the list of missed occurrences until somebody decides",
    }.get(job.misfire_policy, job.misfire_policy)
    command = f"understudy missed list --job {job.name}"
    return Why(topic="when missed", text=f"When it is missed, {what}.", command=command)


def of_retry(rule: RetryRule) -> Why:
    """What follows a failure."""
    if rule.attempts_max <= 1:
        return Why(topic="when it fails", text="A failed run is not tried again by itself.")
    grows = f", each wait {rule.factor:g} times the one before" if rule.factor > 1 else ""
    of = f" when the exit code is {' or '.join(map(str, rule.exit_codes))}" if rule.exit_codes else ""
    text = f"A failed run is tried again{of}, {rule.attempts_max} attempts in all, the next {lasting(rule.delay_s)}"
    return Why(topic="when it fails", text=f"{text} after the end{grows}, at most {lasting(rule.delay_s_max)}.")


def of_interruption(rule: CheckpointRule) -> Why:
    """What follows an interruption."""
    anew = "begins anew" if rule.restartable else "waits for a decision"
    text = f"An interrupted run goes on from its latest checkpoint; without one it {anew}."
    return Why(topic="when interrupted", text=text)


def of_starter(by_master: bool, why: str, agent: str, until_us: int) -> Why:
    """Who starts what is due. `why`: what makes it the master's; `until_us`: what its agent has, 0 for nothing yet."""
    if by_master:
        return Why(topic="who starts it", text=f"The master starts it, because {why}. Without a master it waits.")
    if not until_us:
        return Why(topic="who starts it", text=f"{agent} has not acknowledged its standing order yet.")
    text = f"{agent} starts it by itself, with or without a master, from a standing order until {at(until_us)}."
    return Why(topic="who starts it", text=text)
