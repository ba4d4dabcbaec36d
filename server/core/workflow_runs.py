"""Rows of workflows that run, and the names by which their steps' runs are known for ever. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from server.core.model import Row

TIMEOUT = "timeout"
"""Who ended a workflow's run that took longer than it may."""
VARIABLES_MAX = 200
VALUE_BYTES_MAX = 64 * 1024
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}\Z")
ATTEMPTS_MAX = 100
"""Of one item by itself; a person may add to them."""


class WorkflowRun(Row, frozen=True, kw_only=True):
    """One run of one version of a workflow. `state`: `core.workflow_states.WorkflowState`.

    `key` names the request for ever: `r` and the request id, `j` and the key of a job's run, or `w` and the item of
    another workflow's run. `wish`: "" | suspend | cancel, by `wish_by`. `places`: steps that run elsewhere than the
    version says, by name.
    """

    JSON: ClassVar[frozenset[str]] = frozenset({"variables", "places"})

    id: int
    workflow_id: int
    version: int
    key: str
    state: str
    reason: str
    state_since_us: int
    requested_by: str
    requested_at_us: int
    ended_at_us: int | None
    variables: dict[str, str]
    wish: str
    wish_by: str
    deadline_us: int | None
    parent_run: int | None
    parent_step: int | None
    parent_item: int | None
    places: dict[str, str]


class StepRow(Row, frozen=True, kw_only=True):
    """One item of one step, which is the `step`-th of the version, from 0. `state`: `core.workflow_states.StepState`.

    `run` is its latest attempt, `sub_run` that of a workflow. `outputs` are those of the attempt that ended.
    """

    JSON: ClassVar[frozenset[str]] = frozenset({"outputs"})

    workflow_run: int
    step: int
    item: int
    state: str
    reason: str
    run: int | None
    sub_run: int | None
    attempt: int
    outputs: dict[str, str]
    begun_at_us: int | None
    ended_at_us: int | None


class ItemName(NamedTuple):
    """Which item of which step of which workflow's run."""

    workflow_run: int
    step: int
    item: int


_REQUEST = re.compile(r"w(\d{1,18})-(\d{1,9})-(\d{1,9})\Z")


def request_id(name: ItemName) -> str:
    """The part of a run's key that stands for the item: see `run_keys.request_key`."""
    return f"w{name.workflow_run}-{name.step}-{name.item}"


def parse_request_id(text: str) -> ItemName | None:
    """Which item a run on request is of; None for another request."""
    match = _REQUEST.match(text)
    return None if match is None else ItemName(*map(int, match.groups()))


def wrong_variables(variables: Mapping[str, str]) -> str:
    """What is wrong with variables that a workflow is given from outside; "" when nothing is."""
    if len(variables) > VARIABLES_MAX:
        return f"At most {VARIABLES_MAX} variables may be set."
    for name, value in variables.items():
        if not _NAME.match(name) or name.startswith("UNDERSTUDY_"):
            return f"{name!r} cannot be the name of a variable."
        if "\0" in value or len(value.encode()) > VALUE_BYTES_MAX:
            return f"The value of {name} has a NUL or more than {VALUE_BYTES_MAX} bytes."
    return ""


def variables_of(
    base: Mapping[str, str], names: tuple[str, int, str, str, str], own: Mapping[str, str]
) -> dict[str, str]:
    """The environment that a step adds: `base`, what the step itself sets, and the names of the run.

    `names`: workflow, number of its run, step, item, and who asked for it.
    """
    workflow, number, step, item, asked_by = names
    told = {
        "UNDERSTUDY_WORKFLOW": workflow,
        "UNDERSTUDY_WORKFLOW_RUN": str(number),
        "UNDERSTUDY_STEP": step,
        "UNDERSTUDY_ITEM": item,
        "UNDERSTUDY_REQUESTED_BY": asked_by,
    }
    return {**base, **own, **told}
