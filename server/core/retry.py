"""When an ended run is tried again: the rule that people write. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import msgspec

WATCHER = "retries"
"""Its name among those who watch a job's runs."""


class RetryRule(msgspec.Struct, frozen=True, kw_only=True):
    """`attempts_max` counts the first one: 1 never repeats; those that were interrupted are not counted. The n-th
    repetition waits delay_s * factor ** (n - 1) seconds, at most `delay_s_max`. `exit_codes`: those that are worth it;
    empty for any failure.
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
        wrong["retry.delay_s"] = "must be from 0 to the longest wait (delay_s_max), and that at most 2592000 (30 days)"
    if not 1 <= rule.factor <= 100:
        wrong["retry.factor"] = "must be from 1 (always the same wait) to 100"
    if any(not 0 <= code <= 255 for code in rule.exit_codes):
        wrong["retry.exit_codes"] = "exit codes are from 0 to 255"
    return wrong


def delay_s(rule: RetryRule, attempt: int) -> float:
    """Seconds to wait after the end of attempt number `attempt` (from 1)."""
    return min(rule.delay_s * rule.factor ** (min(attempt, 100) - 1), float(rule.delay_s_max))


@dataclass(frozen=True, slots=True)
class Retry:
    """The next attempt: its number, and how long after the end of this one it may begin."""

    attempt: int
    delay_us: int


class EndedRun(Protocol):
    """What of a run the decision looks at; `core.model.Run` has it."""

    @property
    def state(self) -> str:
        """Of `core.run_states.RunState`."""

    @property
    def attempt(self) -> int:
        """From 1."""

    @property
    def exit_code(self) -> int | None:
        """None when it ended by a signal."""

    @property
    def cancel_requested_at_us(self) -> int | None:
        """When somebody asked for its end."""

    @property
    def given_up_at_us(self) -> int | None:
        """When it was given to others, because its machine was silent."""


def decide(run: EndedRun, rule: RetryRule, interrupted: int = 0) -> Retry | None:
    """Whether an ended run is tried again by its job's rule; None when this end is final. `interrupted`: how many
    attempts before it came to no end of their own, so that the rule does not count them.

    A failure is, and what was killed at its timeout; not what somebody wanted ended, whatever became of it. Unknown and
    interrupted runs are not: they may have done their work, or do it still.
    """
    if run.state not in ("failed", "killed") or run.attempt - interrupted >= rule.attempts_max:
        return None
    if run.cancel_requested_at_us is not None or run.given_up_at_us is not None:
        return None
    if rule.exit_codes and run.exit_code not in rule.exit_codes:
        return None
    return Retry(run.attempt + 1, int(delay_s(rule, run.attempt - interrupted) * 1_000_000))
