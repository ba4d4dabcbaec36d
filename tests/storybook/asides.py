"""What the scheduler put aside, in examples."""

from __future__ import annotations

from server.actions.asides import AsideLine
from server.core.model import HOUR_US, MINUTE_US
from tests.storybook.fixture import NOW_US

ASIDES = (
    AsideLine(
        id=3,
        work="plan",
        subject="12",
        job="billing",
        text="billing is not planned: its agent goes on with what it was told before, if it was told anything",
        error="ValueError: hour must be in 0..23",
        aside_at_us=NOW_US - 3 * HOUR_US,
        dismissed="",
    ),
    AsideLine(
        id=4,
        work="begin",
        subject="1207",
        job="sync",
        text="Run 1207 of sync waits",
        error="KeyError: 'north'",
        aside_at_us=NOW_US - 4 * MINUTE_US,
        dismissed="the run is cancelled",
    ),
)
