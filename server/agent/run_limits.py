"""How long runs may go on that no keeper counts for any more. A keeper that holds a run counts by itself."""

from __future__ import annotations

from typing import Any

from server.agent.platform import age_s, boot_clock_us
from server.core.agent_memory import RunRecord


class RunLimits:
    """Of the open runs of one agent, by key."""

    def __init__(self) -> None:
        self._timeouts_s: dict[str, int] = {}
        self._given_up_after_s: dict[str, int] = {}

    def note(self, run: RunRecord) -> None:
        """A run that begins, or was found again."""
        if run.specification.timeout_s:
            self._timeouts_s[run.key] = run.specification.timeout_s
        if run.specification.give_up_after_s:
            self._given_up_after_s[run.key] = run.specification.give_up_after_s

    def drop(self, key: str) -> None:
        """It has ended."""
        self._timeouts_s.pop(key, None)
        self._given_up_after_s.pop(key, None)

    @property
    def has_given_up(self) -> bool:
        """Whether there is one that is given up when no master answers for long."""
        return bool(self._given_up_after_s)

    def is_given_up(self, key: str, answered_us: int) -> bool:
        """Whether no master has answered for too long; `answered_us`: when one did last, by the boot clock."""
        after_us = self._given_up_after_s.get(key, 0) * 1_000_000
        return after_us > 0 and boot_clock_us() - answered_us >= after_us

    def is_late(self, key: str, note: dict[str, Any]) -> bool:
        """Whether it takes longer than its timeout, by what its pid file says."""
        timeout_s, created = self._timeouts_s.get(key, 0), note.get("created")
        return timeout_s > 0 and created is not None and age_s(created) > timeout_s
