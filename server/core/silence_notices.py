"""What people are told of an agent that does not answer, and when (SKY-15). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from server.core.model import SECOND_US

TELL_US = 60 * SECOND_US
"""A silence that is shorter is told to nobody; and nobody is told of any before a new office is this old."""
NAMED_MAX = 5
BY = "understudy"
"""Who closes the message when the agents are back."""


def told(names: Sequence[str], count: int, since_us: int) -> str:
    """The alarm. `names`: the first of `count` agents; `since_us`: since when the first of them is silent."""
    at = datetime.fromtimestamp(since_us // SECOND_US, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    goes_on = "Standing orders go on without the master; what runs there is unknown meanwhile."
    if count == 1:
        ways = f"Look at its machine and network. If it is dead for certain: understudy agent declare-dead {names[0]}"
        return f"{names[0]} does not answer since {at}. {goes_on} {ways}"
    who = ", ".join(names[:NAMED_MAX]) + (f" and {count - NAMED_MAX} more" if count > NAMED_MAX else "")
    return f"{count} agents do not answer, the first since {at}: {who}. {goes_on} Type: understudy status"


def closed(text: str) -> str:
    """What the receivers of the alarm are told when it is over."""
    return f"It is over, all of them answer again or were taken care of: {text}"
