"""The states of a run as one table: (state, event, next state, sentence for people).

Logs and pages use the sentences.

`step` is the only way from one state to another. A report that comes twice, or after the end, is refused with
`IllegalStep`: the caller looks at the state first and drops what it has already.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple


class RunState(StrEnum):
    """`waiting` has a reason; the states of `ENDED` are final."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    SUSPENDING = "suspending"
    SUSPENDED = "suspended"
    RESUMING = "resuming"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    KILLED = "killed"
    INTERRUPTED = "interrupted"
    MISSED = "missed"
    SKIPPED = "skipped"


class RunEvent(StrEnum):
    """What happens to a run: reports of agents, requests of people, decisions of the scheduler."""

    GATED = "gated"
    SUBMITTED = "submitted"
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    KILLED = "killed"
    INTERRUPTED = "interrupted"
    LOST = "lost"
    NEVER_STARTED = "never started"
    MISSED = "missed"
    SKIPPED = "skipped"
    SUSPEND_ASKED = "suspend asked"
    SUSPENDED = "suspended"
    RESUME_ASKED = "resume asked"


ENDED = frozenset(
    {
        RunState.SUCCEEDED,
        RunState.FAILED,
        RunState.CANCELLED,
        RunState.KILLED,
        RunState.INTERRUPTED,
        RunState.MISSED,
        RunState.SKIPPED,
    }
)
OPEN = frozenset(RunState) - ENDED
ACTIVE = OPEN - {RunState.WAITING}
"""Given to an agent and not ended."""

_S, _E = RunState, RunEvent


class Rule(NamedTuple):
    """One line of the table."""

    state: RunState
    event: RunEvent
    next: RunState
    sentence: str


def _results(state: RunState) -> Iterator[Rule]:
    """How a run that may be on an agent ends."""
    yield Rule(state, _E.SUCCEEDED, _S.SUCCEEDED, "It ended with the exit code that means success.")
    yield Rule(state, _E.FAILED, _S.FAILED, "It ended with an exit code or signal that means failure.")
    yield Rule(state, _E.CANCELLED, _S.CANCELLED, "It was cancelled before its process started.")
    yield Rule(state, _E.KILLED, _S.KILLED, "It was killed: on request, at its timeout, or given up without a master.")
    yield Rule(
        state, _E.INTERRUPTED, _S.INTERRUPTED, "Its process is gone without an exit status, or a drain ended it."
    )


def _stopped(state: RunState) -> Iterator[Rule]:
    """A run that its agent has ended at a checkpoint, asked by a person or by the run itself."""
    yield Rule(state, _E.SUSPENDED, _S.SUSPENDED, "It stopped at a checkpoint.")


def _lost(state: RunState) -> Iterator[Rule]:
    yield Rule(state, _E.LOST, _S.UNKNOWN, "Its agent is silent and may have it.")


TABLE: tuple[Rule, ...] = (
    Rule(_S.WAITING, _E.GATED, _S.WAITING, "It waits for another reason now."),
    Rule(_S.WAITING, _E.SUBMITTED, _S.STARTING, "Nothing stops it: it goes to its agent."),
    Rule(_S.WAITING, _E.CANCELLED, _S.CANCELLED, "It was cancelled while it waited."),
    Rule(_S.WAITING, _E.SKIPPED, _S.SKIPPED, "Another run of the job was still open."),
    Rule(_S.WAITING, _E.MISSED, _S.MISSED, "It waited longer than it may."),
    Rule(_S.WAITING, _E.LOST, _S.UNKNOWN, "It was held at a machine that was declared dead."),
    Rule(_S.STARTING, _E.GATED, _S.WAITING, "A gate fell into place before it was sent or started."),
    Rule(_S.STARTING, _E.STARTED, _S.RUNNING, "Its process runs."),
    Rule(_S.STARTING, _E.SKIPPED, _S.SKIPPED, "Another run of the job was still open."),
    Rule(_S.STARTING, _E.NEVER_STARTED, _S.WAITING, "The agent dropped it unstarted; it is sent again."),
    *_results(_S.STARTING),
    *_stopped(_S.STARTING),
    *_lost(_S.STARTING),
    Rule(_S.RUNNING, _E.SUSPEND_ASKED, _S.SUSPENDING, "It stops at its next checkpoint."),
    *_results(_S.RUNNING),
    *_stopped(_S.RUNNING),
    *_lost(_S.RUNNING),
    Rule(_S.SUSPENDING, _E.RESUME_ASKED, _S.RUNNING, "It goes on: nobody wants it suspended any more."),
    *_stopped(_S.SUSPENDING),
    *_results(_S.SUSPENDING),
    *_lost(_S.SUSPENDING),
    Rule(_S.SUSPENDED, _E.RESUME_ASKED, _S.RESUMING, "Another attempt is to go on from its checkpoint."),
    Rule(_S.SUSPENDED, _E.CANCELLED, _S.CANCELLED, "It was cancelled while suspended."),
    Rule(_S.RESUMING, _E.INTERRUPTED, _S.INTERRUPTED, "It stopped at a checkpoint, and another attempt goes on."),
    Rule(_S.RESUMING, _E.CANCELLED, _S.CANCELLED, "It stopped at a checkpoint, and what was to go on was cancelled."),
    *_stopped(_S.RESUMING),
    Rule(_S.UNKNOWN, _E.STARTED, _S.RUNNING, "Its agent is back and has it running."),
    Rule(_S.UNKNOWN, _E.NEVER_STARTED, _S.WAITING, "Its agent is back and never started it."),
    Rule(_S.UNKNOWN, _E.MISSED, _S.MISSED, "Its agent is back and never started it; another attempt was made."),
    *_results(_S.UNKNOWN),
    *_stopped(_S.UNKNOWN),
)

_STEPS = {(rule.state, rule.event): rule for rule in TABLE}


class IllegalStep(ValueError):
    """The event does not fit the state; nothing changed."""

    def __init__(self, state: str, event: str) -> None:
        super().__init__(f"a run that is {state} cannot be {event}")
        self.state = state
        self.event = event


def step(state: str, event: RunEvent) -> RunState:
    """The state after `event`. Raises IllegalStep, also for an ended run; ValueError for an unknown state."""
    rule = _STEPS.get((RunState(state), event))
    if rule is None:
        raise IllegalStep(state, event)
    return rule.next


def allows(state: str, event: RunEvent) -> bool:
    """True when the table has a line for it: for buttons that may be pressed."""
    return (RunState(state), event) in _STEPS


def result_event(exit_code: int | None, signal: int | None, killed: bool) -> RunEvent:
    """How a run ended, from what the agent recorded. Neither code nor signal: interrupted, never guessed."""
    if killed:
        return RunEvent.KILLED
    if exit_code is None and signal is None:
        return RunEvent.INTERRUPTED
    return RunEvent.SUCCEEDED if exit_code == 0 and signal is None else RunEvent.FAILED
