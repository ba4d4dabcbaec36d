"""What waits while starts do, and for how long at most: what is due begins first. Pure."""

from __future__ import annotations

import math

ENDS_WAIT_S = 0.25
"""An end waits for starts at most so long in the keeper, and once more in the agent."""
BEGINS_WAIT_S = 0.5
"""What else the agent has to tell waits for starts at most so long."""


class Burst:
    """Starts and what they put off, at one place. Times are seconds of one clock that never goes back.

    Work is put off with its bound; `waits` is asked in every turn, and at the latest when `due_s` has come.
    """

    def __init__(self) -> None:
        self.due_s = math.inf

    def put_off(self, now_s: float, bound_s: float) -> None:
        """Work is there that may wait so long."""
        self.due_s = min(self.due_s, now_s + bound_s)

    def waits(self, starts_wait: bool, now_s: float) -> bool:
        """Whether it goes on waiting. When not, do all of it before the next start."""
        if starts_wait and now_s < self.due_s:
            return True
        self.due_s = math.inf
        return False
