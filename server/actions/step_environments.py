"""What a step of a workflow is given in its environment: by the workflow, by its run, by the steps before it."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping

import msgspec

from server.actions.step_results import is_attempt_of, name_of, spec_of
from server.core import workflow_states as states
from server.core.chain_messages import Given
from server.core.model import Job, Run, Specification
from server.core.step_outputs import of_item
from server.core.workflow_runs import WorkflowRun, variables_of
from server.core.workflows import WorkflowSpec, WorkflowStep
from server.storage import jobs, specifications, workflow_runs


def given(
    connection: sqlite3.Connection,
    run: WorkflowRun,
    spec: WorkflowSpec,
    step: WorkflowStep,
    variables: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """What a step has from others: the workflow's variables, the run's own, the outputs of what it came after.

    `variables`: those of the workflow as they are told, where they are not as they are written.
    """
    places = {one.name: index for index, one in enumerate(spec.steps)}
    found = {**(spec.variables if variables is None else variables), **run.variables}
    for name in states.before(spec, step.name):
        is_many = bool(spec.steps[places[name]].for_each)
        for row in workflow_runs.items(connection, run.id, places[name]):
            found |= of_item(row.outputs, row.item, is_many)
    return found


def of_run(connection: sqlite3.Connection, run: Run, specification: Specification) -> Specification:
    """The specification with what a step is given, if the run is a step's. For whoever sends it."""
    name = name_of(run)
    row = workflow_runs.item(connection, name) if name is not None else None
    found = workflow_runs.get(connection, name.workflow_run) if name is not None else None
    if name is None or found is None or row is None or row.run is None:
        return specification
    if not is_attempt_of(connection, run, row.run):
        return specification
    spec, job = spec_of(connection, found), jobs.get(connection, run.job_id)
    assert job is not None, "its run refers to it"
    step = spec.steps[name.step]
    item = step.for_each[name.item] if step.for_each else ""
    variables = specifications.environment(connection, job, spec.variables)
    own = specifications.environment(connection, job, step.environment)
    base = {**specification.environment, **given(connection, found, spec, step, variables)}
    told = variables_of(base, (spec.name, found.id, step.name, item, found.requested_by), own)
    return msgspec.structs.replace(specification, environment=told)


def in_chain(
    connection: sqlite3.Connection,
    found: WorkflowRun,
    spec: WorkflowSpec,
    step: WorkflowStep,
    job: Job,
    near: Collection[str],
) -> tuple[dict[str, str], tuple[Given, ...], dict[str, str]]:
    """The same in layers, for an agent that begins the step: (what is known, outputs in order, what is over all).

    `near`: steps that the agent runs or begins, whose outputs it alone will know.
    """
    places = {one.name: index for index, one in enumerate(spec.steps)}
    layers: list[Given] = []
    for name in states.before(spec, step.name):
        if name in near:
            layers.append((name, {}))
            continue
        is_many = bool(spec.steps[places[name]].for_each)
        for row in workflow_runs.items(connection, found.id, places[name]):
            if row.outputs:
                layers.append(("", of_item(row.outputs, row.item, is_many)))
    base = {**specifications.environment(connection, job, spec.variables), **found.variables}
    own = specifications.environment(connection, job, step.environment)
    return base, tuple(layers), variables_of({}, (spec.name, found.id, step.name, "", found.requested_by), own)
