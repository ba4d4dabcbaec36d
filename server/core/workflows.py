"""A workflow as people write it: steps, what each comes after, and where it may be resumed. Pure."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from server.core.retry import RetryRule


class Outcome(StrEnum):
    """How a step must have ended for an edge to be taken: ended once no further attempt of it will be made."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Failed, killed, interrupted without a decision to repeat it, or cancelled."""
    ENDED = "ended"
    """However it ended; not when it was skipped."""


class Join(StrEnum):
    """When a step with several edges begins."""

    ALL = "all"
    """Once all of its edges are taken; it is skipped as soon as one cannot be taken any more."""
    ANY = "any"
    """Once, with the first edge that is taken; skipped when none can be."""


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """The step begins after `step` has ended like `on`."""

    step: str
    on: Outcome = Outcome.SUCCEEDED


class WorkflowStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step: exactly one of `command`, `job` (by name) and `workflow` (by name) says what it does.

    A command runs on `agent` or `group`; without either it runs where the workflow says. `for_each`: one run for each
    item, with it in UNDERSTUDY_ITEM; the step has succeeded when all have. `checkpoint`: an interrupted workflow is
    resumed behind this step once it has succeeded, with what it printed to UNDERSTUDY_OUTPUTS. `restartable`: what was
    interrupted inside may begin anew by itself; otherwise a person decides.
    """

    name: str
    command: str = ""
    job: str = ""
    workflow: str = ""
    agent: str = ""
    group: str = ""
    after: list[Edge] = []
    join: Join = Join.ALL
    for_each: list[str] = []
    environment: dict[str, str] = {}
    working_directory: str = ""
    run_as: str = ""
    timeout_s: int = 0
    retry: RetryRule = RetryRule()
    checkpoint: bool = False
    restartable: bool = False


class WorkflowSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow: `agent` or `group` is where steps run that do not say; `variables` are given to every step."""

    name: str
    steps: list[WorkflowStep]
    agent: str = ""
    group: str = ""
    description: str = ""
    variables: dict[str, str] = {}
    timeout_s: int = 0
