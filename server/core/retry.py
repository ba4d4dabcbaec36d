"""When an ended run is tried again: the rule that people write. Pure."""

from __future__ import annotations

import msgspec


class RetryRule(msgspec.Struct, frozen=True, kw_only=True):
    """`attempts_max` counts the first one: 1 never repeats. The n-th repetition waits delay_s * factor ** (n - 1)
    seconds, at most `delay_s_max`. `exit_codes`: those that are worth it; empty for any failure.
    """

    attempts_max: int = 1
    delay_s: int = 60
    factor: float = 2.0
    delay_s_max: int = 3600
    exit_codes: list[int] = []


def wrong_retry(rule: RetryRule) -> dict[str, str]:
    """What is not right, by field; empty when all is."""
    wrong: dict[str, str] = {}
    if not 1 <= rule.attempts_max <= 100:
        wrong["retry.attempts_max"] = "must be from 1 (never again) to 100"
    if not 0 <= rule.delay_s <= rule.delay_s_max <= 30 * 86400:
        wrong["retry.delay_s"] = "must be from 0 to delay_s_max, and that at most 30 days (2592000)"
    if not 1 <= rule.factor <= 100:
        wrong["retry.factor"] = "must be from 1 (always the same wait) to 100"
    if any(not 0 <= code <= 255 for code in rule.exit_codes):
        wrong["retry.exit_codes"] = "exit codes are from 0 to 255"
    return wrong


def delay_s(rule: RetryRule, attempt: int) -> float:
    """Seconds to wait after the end of attempt number `attempt` (from 1)."""
    return min(rule.delay_s * rule.factor ** (min(attempt, 100) - 1), float(rule.delay_s_max))
