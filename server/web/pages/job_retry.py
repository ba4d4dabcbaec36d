"""Retries and exit rules on a job's form: between what is typed and the two rules."""

from __future__ import annotations

from collections.abc import Mapping

from server.core.exit_rules import ExitRules
from server.core.retry import RetryRule
from server.ports.numbers import is_number

EMPTY = {
    "attempts_max": "1", "retry_delay_s": "60", "retry_factor": "2", "retry_delay_s_max": "3600",
    "retry_exit_codes": "", "success_codes": "0", "success_pattern": "", "failure_pattern": "",
}  # fmt: skip
FIELDS = {
    "retry.attempts_max": "attempts_max",
    "retry.delay_s": "retry_delay_s",
    "retry.factor": "retry_factor",
    "retry.delay_s_max": "retry_delay_s_max",
    "retry.exit_codes": "retry_exit_codes",
    "exit_rules.success_codes": "success_codes",
    "exit_rules.success_pattern": "success_pattern",
    "exit_rules.failure_pattern": "failure_pattern",
}
"""The form's field for a field of the rules."""


def values_of(retry: RetryRule, rules: ExitRules) -> dict[str, str]:
    """The form's values for rules that exist."""
    return {
        "attempts_max": str(retry.attempts_max),
        "retry_delay_s": str(retry.delay_s),
        "retry_factor": f"{retry.factor:g}",
        "retry_delay_s_max": str(retry.delay_s_max),
        "retry_exit_codes": " ".join(map(str, retry.exit_codes)),
        "success_codes": " ".join(map(str, rules.success_codes)),
        "success_pattern": rules.success_pattern,
        "failure_pattern": rules.failure_pattern,
    }


def retry_from(values: Mapping[str, str], wrong: dict[str, str]) -> RetryRule:
    """What the form says; what is no number is named in `wrong`."""
    numbers = {}
    for field in ("attempts_max", "retry_delay_s", "retry_delay_s_max"):
        text = values[field].strip()
        numbers[field] = int(text) if is_number(text) else 0
        if not is_number(text):
            wrong[field] = f"{text or 'Nothing'} is not a whole number."
    try:
        factor = float(values["retry_factor"])
    except ValueError:
        factor = 1.0
        wrong["retry_factor"] = f"{values['retry_factor'] or 'Nothing'} is not a number."
    return RetryRule(
        attempts_max=numbers["attempts_max"],
        delay_s=numbers["retry_delay_s"],
        factor=factor,
        delay_s_max=numbers["retry_delay_s_max"],
        exit_codes=_codes("retry_exit_codes", values, wrong),
    )


def rules_from(values: Mapping[str, str], wrong: dict[str, str]) -> ExitRules:
    """What the form says; what is no exit code is named in `wrong`."""
    return ExitRules(
        success_codes=tuple(_codes("success_codes", values, wrong)),
        success_pattern=values["success_pattern"],
        failure_pattern=values["failure_pattern"],
    )


def _codes(field: str, values: Mapping[str, str], wrong: dict[str, str]) -> list[int]:
    found = []
    for text in values[field].replace(",", " ").split():
        if is_number(text):
            found.append(int(text))
        else:
            wrong[field] = f"{text} is not an exit code."
    return found
