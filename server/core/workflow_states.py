"""What a workflow's run does next: which steps begin, which are skipped, whether it has ended, what runs again. Pure.

Every function looks at a spec that was checked (`core.workflow_check`: no cycle, every edge names a step) and at the
state of each item of each step. A report that comes twice, or in another order, leads to the same: nothing here
remembers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from server.core.workflows import Join, Outcome, WorkflowSpec, WorkflowStep


class StepState(StrEnum):
    """One item of a step; a step without `for_each` has one item. An item without a state has not begun."""

    OPEN = "open"
    """It was submitted and has not ended, or a further attempt of it follows."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    LOST = "lost"
    """Interrupted, and nobody has decided yet what becomes of it."""
    AGAIN = "again"
    """It is to be run again, as its next attempt, once its edges are taken."""


class WorkflowState(StrEnum):
    """Of a workflow's run; the states of `WORKFLOW_ENDED` are final until somebody resumes it."""

    RUNNING = "running"
    DECIDING = "deciding"
    """A step was interrupted, and a person must say whether it runs again."""
    SUSPENDING = "suspending"
    SUSPENDED = "suspended"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


WORKFLOW_ENDED = frozenset({WorkflowState.SUCCEEDED, WorkflowState.FAILED, WorkflowState.CANCELLED})

Items = Mapping[str, Sequence[StepState]]
"""The states of the items of each step that has begun, by the step's name."""
_S = StepState
_AFTER = {
    Outcome.SUCCEEDED: frozenset({_S.SUCCEEDED}),
    Outcome.FAILED: frozenset({_S.FAILED}),
    Outcome.ENDED: frozenset({_S.SUCCEEDED, _S.FAILED}),
}


class Advance(NamedTuple):
    """The names of steps: items of `begin` that have no state, or are to run again, begin; those of `skip` never do."""

    begin: tuple[str, ...]
    skip: tuple[str, ...]


def phase(states: Sequence[StepState]) -> StepState | None:
    """The state of a step from those of its items; None while it has not begun, or is to run again."""
    present = set(states)
    if not present or _S.AGAIN in present:
        return None
    order = (_S.OPEN, _S.LOST, _S.FAILED, _S.SKIPPED, _S.SUCCEEDED)
    return next(state for state in order if state in present)


def phases(spec: WorkflowSpec, items: Items) -> dict[str, StepState | None]:
    """The state of every step."""
    return {step.name: phase(items.get(step.name, ())) for step in spec.steps}


def advance(spec: WorkflowSpec, items: Items) -> Advance:
    """What follows from the states as they are. Skipped steps skip what can no longer be reached through them."""
    now = phases(spec, items)
    begin: list[str] = []
    skip: list[str] = []
    is_new = True
    while is_new:
        is_new = False
        for step in spec.steps:
            if now[step.name] is None and step.name not in begin:
                verdict = _verdict(step, now)
                if verdict is _S.OPEN:
                    begin.append(step.name)
                elif verdict is _S.SKIPPED:
                    now[step.name] = _S.SKIPPED
                    skip.append(step.name)
                    is_new = True
    return Advance(tuple(begin), tuple(skip))


def _verdict(step: WorkflowStep, now: Mapping[str, StepState | None]) -> StepState | None:
    """OPEN: the step begins; SKIPPED: it never will; None: its edges are not decided yet."""
    taken = [_is_taken(now[edge.step], edge.on) for edge in step.after]
    if step.join is Join.ALL:
        if False in taken:
            return _S.SKIPPED
        return None if None in taken else _S.OPEN
    if True in taken or not taken:
        return _S.OPEN
    return None if None in taken else _S.SKIPPED


def _is_taken(before: StepState | None, on: Outcome) -> bool | None:
    """Whether an edge is taken; None while that is open."""
    if before in (None, _S.OPEN, _S.LOST):
        return None
    return before in _AFTER[on]


def standing(spec: WorkflowSpec, items: Items, wish: str) -> WorkflowState:
    """The state of the whole. `wish`: "" | suspend | cancel, what somebody asked for."""
    now = phases(spec, items)
    is_open = any(_S.OPEN in states for states in items.values())
    if wish == "cancel":
        return WorkflowState.CANCELLING if is_open else WorkflowState.CANCELLED
    if all(state in (_S.SUCCEEDED, _S.FAILED, _S.SKIPPED) for state in now.values()):
        return WorkflowState.FAILED if unhandled(spec, now) else WorkflowState.SUCCEEDED
    if wish == "suspend":
        return WorkflowState.SUSPENDING if is_open else WorkflowState.SUSPENDED
    return WorkflowState.DECIDING if _S.LOST in now.values() else WorkflowState.RUNNING


def unhandled(spec: WorkflowSpec, now: Mapping[str, StepState | None]) -> list[str]:
    """Steps that failed while no step is after them that such an end leads to: they fail the workflow."""
    caught = {edge.step for step in spec.steps for edge in step.after if edge.on is not Outcome.SUCCEEDED}
    return [step.name for step in spec.steps if now[step.name] is _S.FAILED and step.name not in caught]


def behind_checkpoint(spec: WorkflowSpec, items: Items, interrupted: Collection[str]) -> list[str]:
    """The steps to run again so that the interrupted ones begin as if new, in the order of the spec.

    They themselves, and what they came after and had ended, back to steps that are marked `checkpoint` and succeeded.
    Other branches keep what they did.
    """
    steps = {step.name: step for step in spec.steps}
    now = phases(spec, items)
    found: set[str] = set()
    todo = list(interrupted)
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        for edge in steps[name].after:
            state = now[edge.step]
            is_kept = state is _S.SUCCEEDED and steps[edge.step].checkpoint
            if state in (_S.SUCCEEDED, _S.FAILED, _S.LOST) and not is_kept:
                todo.append(edge.step)
    return [step.name for step in spec.steps if step.name in found]


def may_restart(spec: WorkflowSpec, names: Collection[str]) -> bool:
    """Whether all of these steps may begin anew without a person."""
    return all(step.restartable for step in spec.steps if step.name in names)


def before(spec: WorkflowSpec, name: str) -> list[str]:
    """Every step that this one comes after, near or far, in an order in which edges go forward."""
    steps = {step.name: step for step in spec.steps}
    found: list[str] = []

    def visit(at: str) -> None:
        for edge in steps[at].after:
            if edge.step not in found:
                visit(edge.step)
                found.append(edge.step)

    visit(name)
    return found
