"""Special instances on a job's form: between what is typed and the list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from server.core.local_time import BadSchedule
from server.core.special_instances import SpecialInstance, read_text, write_text

EMPTY = {"special_instances": ""}


def values_of(instances: Sequence[SpecialInstance]) -> dict[str, str]:
    """The form's value for those that exist."""
    return {"special_instances": write_text(instances)}


def instances_from(values: Mapping[str, str], wrong: dict[str, str]) -> list[SpecialInstance]:
    """What the form says; a line that says nothing is named in `wrong`."""
    try:
        return read_text(values["special_instances"])
    except BadSchedule as error:
        wrong["special_instances"] = f"{error}."
        return []
