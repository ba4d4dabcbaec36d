"""The two clocks of a process.

Injected wherever time is needed, so that a test or a simulation can give another.
"""

from __future__ import annotations

import os
import time
from typing import Protocol

OFFSET_VARIABLE = "UNDERSTUDY_TEST_CLOCK_OFFSET_S"
"""Seconds added to the wall clock of this process: the checks give a node or an agent a wrong clock with it."""


class Clock(Protocol):
    """Wall time for people and schedules, monotonic time for deadlines and safety."""

    def utc_us(self) -> int:
        """Microseconds since 1970 UTC; may jump either way."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment; never goes back."""


class SystemClock:
    """The machine's clocks. A malformed offset ends the process at start, naming the variable."""

    def __init__(self) -> None:
        text = os.environ.get(OFFSET_VARIABLE, "0")
        try:
            self._offset_us = round(float(text) * 1_000_000)
        except ValueError as error:
            raise SystemExit(f"{OFFSET_VARIABLE} must be a number of seconds, not {text!r}.") from error

    def utc_us(self) -> int:
        """Microseconds since 1970 UTC, offset added."""
        return time.time_ns() // 1000 + self._offset_us

    def monotonic(self) -> float:
        """Seconds of the monotonic clock; the offset does not touch it."""
        return time.monotonic()
