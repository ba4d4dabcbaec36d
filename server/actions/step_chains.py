"""What of a workflow's run an agent may begin behind a step that it is sent. By the program itself: for the fleet.

See `core.agent_chains`, and docs/decisions/0122 for what is left to the master.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from server.actions import step_environments, step_jobs
from server.actions.change import Change, Transaction
from server.actions.step_results import name_of, phases_of, spec_of
from server.core import agent_wire as wire
from server.core.agent_memory import NO_SPECIFICATION
from server.core.chain_messages import Chain, ChainStep
from server.core.model import DAY_US, Run
from server.core.run_states import ENDED
from server.core.workflow_runs import ItemName, StepRow, WorkflowRun
from server.core.workflow_states import StepState, WorkflowState
from server.core.workflows import WorkflowSpec, WorkflowStep
from server.errors import UnderstudyError
from server.storage import runs, specifications, step_chains, workflow_runs

VALID_US = 7 * DAY_US
"""As long as a standing order, and as long as an agent is taken to hold what a lost master gave it."""
STEPS_MAX = 100
BYTES_MAX = 256 * 1024
"""Of one chain: further steps are left to the master."""
_OVER = (StepState.SUCCEEDED, StepState.FAILED, StepState.SKIPPED)


@dataclass(frozen=True, slots=True)
class _Picture:
    """A workflow's run as rows say, for one agent. `heads`: keys of its steps' runs that are open there, by name."""

    connection: sqlite3.Connection
    found: WorkflowRun
    spec: WorkflowSpec
    agent_id: str
    phases: Mapping[str, StepState | None]
    heads: Mapping[str, str]
    now_us: int


def of_dispatch(connection: sqlite3.Connection, run: Run, now_us: int) -> Chain | None:
    """The chain that goes with a run's dispatch, written down as told; None when nothing follows it at its agent."""
    name = name_of(run)
    found = workflow_runs.get(connection, name.workflow_run) if name is not None else None
    if found is None or found.wish or found.state not in (WorkflowState.RUNNING, WorkflowState.DECIDING):
        return None
    spec = spec_of(connection, found)
    heads = _heads(connection, found, spec, run.agent_id)
    picture = _Picture(connection, found, spec, run.agent_id, phases_of(connection, found, spec), heads, now_us)
    if name is None or spec.steps[name.step].name not in heads:
        return None
    links = _links(picture)
    if not links:
        return None
    places = {step.name: index for index, step in enumerate(spec.steps)}
    step_chains.put(connection, found.id, run.agent_id, [(places[link.name], link.key) for link in links])
    until_us = min(now_us + VALID_US, found.deadline_us if found.deadline_us is not None else now_us + VALID_US)
    retried = {step.name: step.retry.attempts_max > 1 for step in spec.steps}
    first = [ChainStep(step, key, retried=retried[step]) for step, key in heads.items()]
    over = {step: str(state) for step, state in picture.phases.items() if state in _OVER}
    return Chain(found.id, until_us, (*first, *links), over)


def renew(agent_id: str, now_us: int) -> Change[list[wire.Dispatch]]:
    """What an agent that was admitted again is told: the chains behind what it runs, each with a run that it has."""

    def change(transaction: Transaction) -> list[wire.Dispatch]:
        connection, told = transaction.connection, []
        for one in step_chains.to_tell(connection, agent_id):
            step_chains.remove(connection, one.workflow_run, agent_id)
            open_runs = [row.run for row in workflow_runs.open_items(connection, one.workflow_run) if row.run]
            for run in [found for number in open_runs if (found := runs.get(connection, number))]:
                is_there = run.agent_id == agent_id and run.state == "running" and run.dispatched_epoch is not None
                chain = of_dispatch(connection, run, now_us) if is_there else None
                if chain is not None:
                    told.append(wire.Dispatch(run.key, NO_SPECIFICATION, None, run.attempt, chain=chain))
                    break
        return told

    return change


def _heads(connection: sqlite3.Connection, found: WorkflowRun, spec: WorkflowSpec, agent_id: str) -> dict[str, str]:
    """Open steps with one command that the agent was sent, or is being sent: a run of a group may be moved still."""
    heads = {}
    for row in workflow_runs.open_items(connection, found.id):
        step = spec.steps[row.step]
        run = runs.get(connection, row.run) if row.run is not None else None
        if run is None or not step.command or step.for_each or run.group_id:
            continue
        if run.agent_id == agent_id and run.state not in ENDED:
            heads[step.name] = run.key
    return heads


def _links(picture: _Picture) -> list[ChainStep]:
    """The steps that the agent may begin, each behind those that it comes after, within the bounds of one chain."""
    made: dict[str, ChainStep] = {}
    left, room = [step for step in picture.spec.steps if _may_be_left(picture, step)], BYTES_MAX
    is_new = True
    while is_new and len(made) < STEPS_MAX:
        is_new = False
        for step in [one for one in left if one.name not in made]:
            if not _is_within(picture, step, made):
                continue
            link = _link(picture, step, [*picture.heads, *made])
            size = len(msgspec.msgpack.encode(link)) if link is not None else 0
            if link is None or size > room:
                left.remove(step)
            else:
                made[step.name], room, is_new = link, room - size, True
    return list(made.values())[:STEPS_MAX]


def _may_be_left(picture: _Picture, step: WorkflowStep) -> bool:
    """Whether a step can be begun without the whole picture, as far as the workflow's text says it."""
    return bool(step.command and step.after) and not step.for_each and picture.phases[step.name] is None


def _is_within(picture: _Picture, step: WorkflowStep, made: Mapping[str, ChainStep]) -> bool:
    """Whether each of its edges comes from what the agent runs or begins, or from what is over; not all from that."""
    names = [edge.step for edge in step.after]
    near = [name for name in names if name in picture.heads or name in made]
    return bool(near) and all(name in near or picture.phases[name] in _OVER for name in names)


def _link(picture: _Picture, step: WorkflowStep, near: Sequence[str]) -> ChainStep | None:
    """The step as the agent is told it; None when it runs elsewhere, cannot run, or needs a secret."""
    connection, found, spec = picture.connection, picture.found, picture.spec
    index = spec.steps.index(step)
    name = ItemName(found.id, index, 0)
    try:
        job = step_jobs.of_step(connection, found, spec, step, picture.now_us)
    except UnderstudyError:
        return None
    if job.agent_id != picture.agent_id:
        return None
    specification = specifications.of_job(connection, job, job.agent_id)
    if specification.confidential is not None:
        return None  # secrets are fetched when they are needed, and a chain is kept unsealed
    row: StepRow | None = workflow_runs.item(connection, name)
    _, key = step_jobs.next_key(connection, job, name, row.attempt if row is not None else 0)
    base, given, own = step_environments.in_chain(connection, found, spec, step, job, near)
    environment = {**specification.environment, **base}
    return ChainStep(
        step.name,
        key,
        tuple((edge.step, str(edge.on)) for edge in step.after),
        str(step.join),
        msgspec.structs.replace(specification, environment=environment),
        given,
        own,
        step.retry.attempts_max > 1,
    )
