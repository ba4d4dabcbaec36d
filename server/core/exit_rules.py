"""What counts as success of a run: exit codes, and patterns of what it printed. Pure.

Judged by the agent, which has the whole output and the rules that the run began with (docs/decisions/0113).
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from server.core.line_patterns import BadPattern, LinePattern

CODES_MAX = 256


class ExitRules(msgspec.Struct, frozen=True, kw_only=True):
    """A run succeeds when it ends by itself with one of `success_codes`, a line of its output holds `success_pattern`
    and none holds `failure_pattern`; "" asks for nothing. What ends by a signal fails.
    """

    success_codes: tuple[int, ...] = (0,)
    success_pattern: str = ""
    failure_pattern: str = ""

    @property
    def patterns(self) -> dict[str, str]:
        """The patterns to look for, by name."""
        both = {"success": self.success_pattern, "failure": self.failure_pattern}
        return {name: text for name, text in both.items() if text}


def wrong_exit_rules(rules: ExitRules) -> dict[str, str]:
    """What is not right, by field; empty when all is."""
    wrong: dict[str, str] = {}
    if not rules.success_codes or len(rules.success_codes) > CODES_MAX:
        wrong["exit_rules.success_codes"] = "name at least one exit code that is success"
    elif any(not 0 <= code <= 255 for code in rules.success_codes):
        wrong["exit_rules.success_codes"] = "exit codes are from 0 to 255"
    for name, text in rules.patterns.items():
        try:
            LinePattern(text)
        except BadPattern as error:
            wrong[f"exit_rules.{name}_pattern"] = f"is no pattern: {error}"
    return wrong


def judge(rules: ExitRules, exit_code: int | None, signal: int | None, found: Collection[str]) -> tuple[str, str]:
    """(`succeeded` or `failed`, why in words where the exit code alone does not say it) of a run that ended by itself.

    `found`: names of the patterns that its output holds. ("", "") when nobody knows how it ended.
    """
    if exit_code is None and signal is None:
        return "", ""
    if signal is not None or exit_code not in rules.success_codes:
        return "failed", ""
    if "failure" in found:
        return "failed", f"its output holds {rules.failure_pattern}"
    if rules.success_pattern and "success" not in found:
        return "failed", f"its output does not hold {rules.success_pattern}"
    return "succeeded", f"exit code {exit_code} is success" if exit_code else ""
