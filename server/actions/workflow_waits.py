"""A query: why steps of a workflow's run wait, from rows. For the page, the API and the command."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from server.core.gates import NO_AGENT
from server.core.run_states import RunState
from server.core.workflow_runs import WorkflowRun
from server.core.workflow_states import StepState
from server.core.workflow_waits import waits
from server.core.workflows import WorkflowSpec
from server.storage import agents, step_chains, workflow_runs
from server.storage.workflow_runs import ItemLine


def of_run(
    connection: sqlite3.Connection, run: WorkflowRun, spec: WorkflowSpec, phases: Mapping[str, StepState | None]
) -> dict[str, str]:
    """By step's name, of those that have not begun; {} when no agent keeps them waiting."""
    silent: dict[str, str] = {}
    lines = workflow_runs.item_lines(connection, run.id, len(spec.steps) * 100)
    for line in lines:
        if line.state == StepState.OPEN and line.run_state == RunState.UNKNOWN and line.agent is not None:
            silent[spec.steps[line.step].name] = line.agent
    if not silent:
        return {}
    chained: dict[str, set[str]] = {}
    for told in step_chains.of_run(connection, run.id):
        agent = agents.get(connection, told.agent_id)
        if agent is not None:
            chained[agent.name] = {spec.steps[step].name for step, _ in told.keys}
    return waits(spec, phases, silent, chained)


def said(line: ItemLine) -> str:
    """Why an item stands so; of one that waits for its agent, which that is."""
    is_away = line.run_state == RunState.WAITING and line.reason == NO_AGENT and line.agent is not None
    return f"{NO_AGENT}: {line.agent} is silent; it begins when that is back" if is_away else line.reason
