"""What differs between two versions of a workflow: by step and field, and as text. Pure."""

from __future__ import annotations

from difflib import unified_diff
from typing import Any

import msgspec

from server.core.workflow_writing import plain
from server.core.workflows import WorkflowSpec, WorkflowVersion


class FieldChange(msgspec.Struct, frozen=True):
    """A field with what it said before and says now; "" where it said nothing."""

    field: str
    before: str
    after: str


class StepChange(msgspec.Struct, frozen=True):
    """A step. change: added | removed | changed; an added or removed one has all of its fields."""

    step: str
    change: str
    fields: list[FieldChange]


class WorkflowDiff(msgspec.Struct, frozen=True):
    """From one version to another. `fields` are those of the workflow itself; `text` are lines of a unified diff."""

    before: int
    after: int
    fields: list[FieldChange]
    steps: list[StepChange]
    text: list[str]


def diff(before: WorkflowVersion, after: WorkflowVersion) -> WorkflowDiff:
    """What changed from one version to the other."""
    old, new = (_head(one.spec) for one in (before, after))
    lines = unified_diff(
        before.text.splitlines(),
        after.text.splitlines(),
        f"version {before.version}",
        f"version {after.version}",
        lineterm="",
    )
    return WorkflowDiff(before.version, after.version, _fields(old, new), _steps(before.spec, after.spec), list(lines))


def _head(spec: WorkflowSpec) -> dict[str, Any]:
    said: dict[str, Any] = plain(spec)
    del said["steps"]
    return said


def _steps(before: WorkflowSpec, after: WorkflowSpec) -> list[StepChange]:
    """In the order of the new version; removed steps last. A step is known by its name."""
    old = {step.name: plain(step) for step in before.steps}
    new = {step.name: plain(step) for step in after.steps}
    found = []
    for name, said in new.items():
        changes = _fields(old.get(name, {}), said)
        if changes:
            found.append(StepChange(name, "changed" if name in old else "added", changes))
    return found + [StepChange(name, "removed", _fields(said, {})) for name, said in old.items() if name not in new]


def _fields(old: dict[str, Any], new: dict[str, Any]) -> list[FieldChange]:
    names = list(dict.fromkeys([*old, *new]))
    pairs = [(name, _said(old.get(name)), _said(new.get(name))) for name in names]
    return [FieldChange(name, before, after) for name, before, after in pairs if before != after]


def _said(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
