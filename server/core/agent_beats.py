"""How often agents and their node tell each other that they live: the more agents a node has, the less often. Pure."""

from __future__ import annotations

AGENTS_PER_STEP = 1000
LONGEST_S = 8.0
"""Every limit that counts missing heartbeats must stand two of them, 16 s (`core.giving_up.SHORTEST_S`)."""
SILENT_BEATS = 5
"""A link without any message for so many heartbeats is dead: both ends close it."""


def beat_s(agents: int, is_witness: bool = False) -> float:
    """Seconds between heartbeats: 1 up to 1,000 agents, then doubled with their number, at most 8.

    So a node gets and sends at most some 1,250 a second with 10,000 agents. A witness always keeps 1 s: what it heard
    last bounds what a promotion may lose.
    """
    step = 1.0
    while not is_witness and step < LONGEST_S and agents > AGENTS_PER_STEP * step:
        step *= 2
    return step


def silent_s(beat: float) -> float:
    """After so many seconds without a message a link is dead."""
    return SILENT_BEATS * beat
