"""How far a search goes: what may go wrong how often, and which parts of the world move."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from server.core.model import SECOND_US

CRON = "0 8,9 15 1 *"
FIRST_US = int(datetime(2027, 1, 15, 8, tzinfo=UTC).timestamp()) * SECOND_US
INSTANTS = (FIRST_US, FIRST_US + 3600 * SECOND_US)
TIMES = tuple(FIRST_US + s * SECOND_US for s in (-120, 2, 90, 3602, 3690))
"""Before the first instant, 2 s after it (due), 90 s after it (past), the same of the second one."""

BUDGETS = ("crashes", "cuts", "pauses", "words", "boots", "jumps", "copies", "failovers", "lags", "disks")
CRASHES, CUTS, PAUSES, WORDS, BOOTS, JUMPS, COPIES, FAILOVERS, LAGS, DISKS = range(len(BUDGETS))
"""Kills of an agent's process at any point, link losses, links or keepers that stop for a while, operators' words,
reboots, clocks set wrong, clones and restored snapshots, changes of office without loss, masters that write alone,
disks that fill up."""
FREE = -1


@dataclass(frozen=True)
class Bounds:
    """One search. `left` gives each budget by name; those not named are 0.

    `words`: what operators say (lock, move, dead; suspend, resume, give: of the run on request, whose job they give to
    the other agent); with `save` that run saves checkpoints and may begin again, as another attempt; with `chain` a
    workflow's run of two steps stands for it, the second behind the first; with `master` the master itself submits what
    is due. `agents`: which
    machines there are at the beginning. `ready`: the first agent has its order and nothing was dispatched yet. `last`:
    the index of the last time.
    """

    name: str
    left: dict[str, int] = field(default_factory=dict)
    words: frozenset[str] = frozenset({"lock", "move"})
    agents: int = 2
    ready: bool = True
    last: int = len(TIMES) - 1
    states_max: int = 10_000_000

    def budget(self) -> tuple[int, ...]:
        """What is left at the beginning."""
        unknown = set(self.left) - set(BUDGETS)
        assert not unknown, unknown
        return tuple(self.left.get(name, 0) for name in BUDGETS)

    def __str__(self) -> str:
        return " ".join(f"{name}={count}" for name, count in self.left.items()) or "nothing goes wrong"
