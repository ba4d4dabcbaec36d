"""How far a search goes: what may go wrong how often, what an operator may ask, how fine the steps are."""

from __future__ import annotations

from dataclasses import dataclass, field

from replication.core.types import Mode

BUDGETS = ("writes", "crashes", "operations", "again", "cuts", "losses", "repeats", "reorders", "delays", "silences")
WRITES, CRASHES, OPERATIONS, AGAIN, CUTS, LOSSES, REPEATS, REORDERS, DELAYS, SILENCES = range(len(BUDGETS))
"""Indexes of a budget: client writes, crashes, operator's words, retries after a time, silences of a link or standby,
messages lost, doubled, overtaken, HELLOs that arrive late, questions that not every witness answers."""

ALL_WORDS = frozenset({"promote", "force", "stopped", "alone", "insist", "swap", "abort", "stop"})
"""Typed: promote with and without the flag, or with --yes; go-alone without and with it; swap, abort, a clean stop."""


@dataclass(frozen=True)
class Bounds:
    """One search. `left` gives each budget by name; those not named are 0.

    `words` is what an operator types, with @0 or @1 only at A or B; `crashing` nodes crash.
    `eager`: slow operations follow their step at once. `solid`: what is journaled is durable at once. `prompt`:
    witnesses hear a question and the asker hears them in one move. `dying`: a crash may come between any two effects
    of a step. `late`: a witness may hear a question after the asker gave up. `founding`: from two empty nodes, not from
    a pair in sync. `fence`: a hook has to end well before a promotion. `story` are moves that happened before.
    `states_max` ends a search that is not done.
    """

    name: str
    witnesses: int = 1
    left: dict[str, int] = field(default_factory=dict)
    words: frozenset[str] = ALL_WORDS
    crashing: tuple[int, ...] = (0, 1)
    eager: bool = True
    solid: bool = True
    prompt: bool = True
    dying: bool = False
    late: bool = False
    founding: bool = False
    agent: bool = True
    mode: Mode = Mode.STRICT
    fence: bool = False
    story: tuple[tuple[object, ...], ...] = ()
    states_max: int = 10_000_000

    def may_say(self, me: int, word: str) -> bool:
        """An operator may type this there."""
        return word in self.words or f"{word}@{me}" in self.words

    def budget(self) -> tuple[int, ...]:
        """What is left at the beginning."""
        unknown = set(self.left) - set(BUDGETS)
        assert not unknown, unknown
        return tuple(self.left.get(name, 0) for name in BUDGETS)

    def __str__(self) -> str:
        fine = [name for name in ("eager", "solid", "prompt", "dying", "late") if getattr(self, name)]
        limits = " ".join(f"{name}={count}" for name, count in self.left.items())
        return f"{self.mode.value}, {self.witnesses} witness(es), {limits}; {', '.join(fine) or 'every step alone'}"
