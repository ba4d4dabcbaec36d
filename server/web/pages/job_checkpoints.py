"""The checkpoints of a job's runs on its form: between what is typed and the rule."""

from __future__ import annotations

from collections.abc import Mapping

from server.core.checkpoints import CheckpointRule
from server.ports.numbers import is_number

EMPTY = {"checkpoints_kept": "5", "restartable": ""}
FIELDS = {"checkpoints.keep": "checkpoints_kept"}
"""The form's field for a field of the rule."""


def values_of(rule: CheckpointRule) -> dict[str, str]:
    """The form's values for a rule that exists."""
    return {"checkpoints_kept": str(rule.keep), "restartable": "1" if rule.restartable else ""}


def rule_from(values: Mapping[str, str], wrong: dict[str, str]) -> CheckpointRule:
    """What the form says; what is no number is named in `wrong`."""
    text = values["checkpoints_kept"].strip()
    if not is_number(text):
        wrong["checkpoints_kept"] = f"{text or 'Nothing'} is not a whole number."
    return CheckpointRule(keep=int(text) if is_number(text) else 5, restartable=values["restartable"] == "1")
