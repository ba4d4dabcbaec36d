"""A workflow as people write it: steps, what each comes after, and where it may be resumed. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

import msgspec

from server.core.model import Row
from server.core.retry import RetryRule

Path = tuple[str | int, ...]
"""A place in a specification: `("steps", 2, "after", 0, "step")`."""


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
    tags: list[str] = []


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow with its text as somebody wrote it; format: yaml | json. `places`: line and column by path in it."""

    spec: WorkflowSpec
    text: str
    format: str
    places: dict[Path, tuple[int, int]] = {}


class Workflow(Row, frozen=True, kw_only=True):
    """A row of `workflows`. `version` is the current one; a held workflow begins no runs."""

    id: int
    name: str
    version: int
    held: bool
    created_at_us: int
    updated_at_us: int
    deleted_at_us: int | None = None


class WorkflowVersion(Row, frozen=True, kw_only=True):
    """One version of a workflow: written once, never edited. Versions count from 1."""

    JSON: ClassVar[frozenset[str]] = frozenset({"spec"})

    workflow_id: int
    version: int
    text: str
    format: str
    spec: WorkflowSpec
    made_by: str
    made_at_us: int
    reason: str


def uses(spec: WorkflowSpec) -> set[tuple[str, str]]:
    """What it names: (kind, name), kind being agent | group | job | workflow."""
    found = {("agent", spec.agent), ("group", spec.group)}
    for step in spec.steps:
        found |= {(kind, getattr(step, kind)) for kind in ("agent", "group", "job", "workflow")}
    return {(kind, name) for kind, name in found if name}


def as_json(spec: WorkflowSpec) -> Written:
    """The workflow as JSON text, everything said."""
    return Written(spec=spec, text=msgspec.json.format(msgspec.json.encode(spec)).decode() + "\n", format="json")
