"""Flags of `understudy job create` and `update` for retries, exit rules, job monitors and special instances."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from scripts.client import USAGE, CommandError

_RETRY = {
    "attempts": "attempts_max",
    "retry_delay": "delay_s",
    "retry_factor": "factor",
    "retry_delay_max": "delay_s_max",
}
_MONITORS = {
    "late_start": "late_start_s",
    "overrun": "overrun_s",
    "underrun": "underrun_s",
    "complete_by": "complete_by",
    "complete_by_zone": "zone",
}
_PATTERNS = ("success_pattern", "failure_pattern")


def rule_options(function: Any) -> Any:
    """Add them; one that is not given changes nothing."""
    for option in (
        click.option("--attempts", type=int, help="How often a failing run is tried in all; 1: never again."),
        click.option("--retry-delay", type=int, metavar="S", help="Seconds before the second attempt."),
        click.option("--retry-factor", type=float, help="By how much each further wait is longer."),
        click.option("--retry-delay-max", type=int, metavar="S", help="The longest wait, in seconds."),
        click.option("--retry-codes", metavar="CODES", help="Repeat only these exit codes: 1,75; empty: any failure."),
        click.option("--success-codes", metavar="CODES", help="Exit codes that are success: 0,3."),
        click.option("--success-pattern", metavar="REGEX", help="Success needs a line of output that holds it."),
        click.option("--failure-pattern", metavar="REGEX", help="A line of output that holds it is a failure."),
        click.option(
            "--late-start", type=int, metavar="S", help="Late when not begun so long after its due time; 0: off."
        ),
        click.option("--overrun", type=int, metavar="S", help="Too long when it takes more; 0: off."),
        click.option("--underrun", type=int, metavar="S", help="Too short when it ends sooner; 0: off."),
        click.option("--complete-by", metavar="HH:MM", help='Of scheduled runs: complete by then; "" switches it off.'),
        click.option("--complete-by-zone", metavar="ZONE", help="The zone of --complete-by."),
        click.option(
            "--monitor",
            multiple=True,
            metavar="TEXT",
            help="A further monitor: 'slow overrun 7200' or 'early complete-by 05:00 Europe/Berlin'; \"\" for none.",
        ),
        click.option("--notify", multiple=True, metavar="LIST", help='Lists told of all that; "" for none.'),
        click.option("--notify-failed", multiple=True, metavar="LIST", help='Lists told of failed runs; "" for none.'),
        click.option(
            "--special-instances",
            metavar="TEXT",
            help="'[month-end]' and lines: on DAYS, on calendar NAME, run COMMAND, set NAME=VALUE; \"\" for none.",
        ),
    ):
        function = option(function)
    return function


def take_rules(properties: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """Take those flags out of `properties`: the fields that they set, over those that are `known`."""
    retry = {field: properties.pop(flag) for flag, field in _RETRY.items()}
    rules = {field: properties.pop(field) for field in _PATTERNS}
    retry["exit_codes"] = _codes("--retry-codes", properties.pop("retry_codes"))
    rules["success_codes"] = _codes("--success-codes", properties.pop("success_codes"))
    monitors = {field: properties.pop(flag) for flag, field in _MONITORS.items()}
    for flag in ("notify", "notify_failed"):
        names = properties.pop(flag)
        monitors[flag] = [name for name in names if name] if names else None
    texts = properties.pop("monitor")
    monitors["more"] = [_monitor(text) for text in texts if text] if texts else None
    found = {}
    for field, given in (("retry", retry), ("exit_rules", rules), ("job_monitors", monitors)):
        values = {name: value for name, value in given.items() if value is not None}
        if values:
            found[field] = known.get(field, {}) | values
    special = properties.pop("special_instances")
    return found if special is None else found | {"special_instances": _instances(special)}


def _monitor(text: str) -> Any:
    from server.core.job_monitors import read_named

    try:
        return msgspec.to_builtins(read_named(text))
    except ValueError as error:
        raise CommandError(USAGE, f"--monitor: {error}") from error


def _instances(text: str) -> list[Any]:
    from server.core.local_time import BadSchedule
    from server.core.special_instances import read_text

    try:
        found: list[Any] = msgspec.to_builtins(read_text(text))
    except BadSchedule as error:
        raise CommandError(USAGE, f"--special-instances: {error}") from error
    return found


def _codes(flag: str, text: str | None) -> list[int] | None:
    if text is None:
        return None
    parts = text.replace(",", " ").split()
    if not all(part.isdigit() for part in parts):
        raise CommandError(USAGE, f"{flag} {text}: write exit codes like 0,3")
    return [int(part) for part in parts]
