"""Why steps of a workflow wait that have not begun, when what they come after is at a silent agent. Pure (JS7-4).

Such a step waits for what only the master can put together: the end of a step on one agent, and a place on another.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from server.core.workflow_states import StepState, before
from server.core.workflows import WorkflowSpec

FOR_MASTER = "waiting for master"
MAY_HAVE_BEGUN = "may have begun by itself"


def waits(
    spec: WorkflowSpec,
    phases: Mapping[str, StepState | None],
    silent: Mapping[str, str],
    chained: Mapping[str, Collection[str]],
) -> dict[str, str]:
    """Why each step that has not begun waits, by name, where that is a silent agent.

    `silent`: open steps whose run is unknown, with the agent that has it. `chained`: steps that each silent agent was
    told that it may begin by itself, by agent.
    """
    found = {}
    for step in spec.steps:
        near = [name for name in before(spec, step.name) if name in silent]
        if phases[step.name] is not None or not near:
            continue
        agent = silent[near[-1]]
        if step.name in chained.get(agent, ()):
            found[step.name] = f"{MAY_HAVE_BEGUN} on {agent}, which is silent and tells it when it is back"
        else:
            there = [name for name in before(spec, step.name) if name in silent or name in chained.get(agent, ())]
            found[step.name] = f"{FOR_MASTER}: {agent} is silent, and has not told how {there[-1]} ended"
    return found
