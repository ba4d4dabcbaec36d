"""Job monitors on a job's form: between what is typed and the settings."""

from __future__ import annotations

from collections.abc import Mapping

from server.core.job_monitors import JobMonitors, NamedMonitor, read_named, write_named
from server.ports.numbers import is_number

_NUMBERS = ("late_start_s", "overrun_s", "underrun_s")
EMPTY = {
    **dict.fromkeys(_NUMBERS, "0"), "complete_by": "", "complete_by_zone": "UTC", "notify": "", "notify_failed": "",
    "more_monitors": "",
}  # fmt: skip
FIELDS = {
    **{f"job_monitors.{field}": field for field in (*_NUMBERS, "complete_by", "notify", "notify_failed")},
    "job_monitors.zone": "complete_by_zone",
    "job_monitors.more": "more_monitors",
}
"""The form's field for a field of the settings."""


def values_of(monitors: JobMonitors) -> dict[str, str]:
    """The form's values for settings that exist."""
    return {
        **{field: str(getattr(monitors, field)) for field in _NUMBERS},
        "complete_by": monitors.complete_by,
        "complete_by_zone": monitors.zone,
        "notify": " ".join(monitors.notify),
        "notify_failed": " ".join(monitors.notify_failed),
        "more_monitors": "\n".join(write_named(one) for one in monitors.more),
    }


def monitors_from(values: Mapping[str, str], wrong: dict[str, str]) -> JobMonitors:
    """What the form says; what is no number is named in `wrong`."""
    numbers = {}
    for field in _NUMBERS:
        text = values[field].strip()
        numbers[field] = int(text) if is_number(text) else 0
        if not is_number(text):
            wrong[field] = f"{text or 'Nothing'} is not a whole number."
    more: list[NamedMonitor] = []
    for line in filter(None, map(str.strip, values["more_monitors"].splitlines())):
        try:
            more.append(read_named(line))
        except ValueError as error:
            wrong["more_monitors"] = str(error)
    return JobMonitors(
        **numbers,
        complete_by=values["complete_by"].strip(),
        zone=values["complete_by_zone"].strip() or "UTC",
        notify=values["notify"].replace(",", " ").split(),
        notify_failed=values["notify_failed"].replace(",", " ").split(),
        more=more,
    )
