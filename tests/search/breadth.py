"""Breadth first through all situations within the bounds, so that the first broken promise has the shortest trace."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass, field

from tests.search.bounds import Bounds
from tests.search.deeds import Broken
from tests.search.healing import beginning, heal
from tests.search.moves import Move, Moves
from tests.search.trace import told
from tests.search.world import Budget, Situation

Core = tuple[object, ...]


@dataclass(slots=True)
class Found:
    """What a search found. `states` are different without what is left of the budgets; `visits` are with it.

    `whole`: everything within the bounds was seen. From `healed` of them the pair was seen to heal. `broken` is the
    promise, `trace` how it came to that.
    """

    bounds: Bounds
    states: int = 0
    visits: int = 0
    moves: int = 0
    depth: int = 0
    steps: int = 0
    seconds: float = 0.0
    whole: bool = False
    broken: str = ""
    trace: list[str] = field(default_factory=list)
    rows: dict[int, int] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    healed: int = 0

    def __str__(self) -> str:
        end = "all of it" if self.whole else "up to the bound of states"
        return (
            f"{self.bounds.name}: {self.states:,} states, {self.visits:,} with budgets, {self.moves:,} moves, "
            f"{self.steps:,} steps of the machine, depth {self.depth}, {end}, {self.healed} healed, "
            f"{self.seconds:.1f} s of CPU\n  {self.bounds}"
        )


class Breadth:
    """One search. `strict` also checks what only mirrors a rule; without it only what a client or operator would see.

    `lively` heals every situation as soon as it is met.
    """

    def __init__(self, bounds: Bounds, strict: bool = True, lively: bool = False) -> None:
        self.bounds = bounds
        self.world = Moves(bounds)
        self.world.strict, self.lively = strict, lively
        self._budgets: dict[Core, list[Budget]] = {}
        self.reached: list[Situation] = []
        self._came: list[tuple[int, Move | None]] = []

    def run(self) -> Found:
        """Search until nothing is new, a promise is broken, or `states_max` is reached."""
        began = time.process_time()
        gc.disable()  # nothing here refers to itself, and there is much of it
        found = Found(self.bounds)
        try:
            self._add(beginning(self.world), -1, None)
            found.whole = self._search(found)
        except Broken as broken:
            found.broken = str(broken)
        found.states, found.visits = len(self._budgets), len(self.reached)
        found.rows, found.answers = dict(self.world.rows), dict(self.world.answers)
        found.steps = sum(found.rows.values())
        found.seconds = time.process_time() - began
        gc.enable()
        return found

    def _search(self, found: Found) -> bool:
        at, level_end = 0, len(self.reached)
        do, everything = self.world.do, self.world.all
        while at < len(self.reached):
            if at == level_end:
                found.depth, level_end = found.depth + 1, len(self.reached)
            if len(self._budgets) >= self.bounds.states_max:
                return False
            situation = self.reached[at]
            if self.lively:
                self.heal(at, found)
            for move in everything(situation):
                found.moves += 1
                try:
                    after = do(situation, move)
                except Broken:
                    found.trace = told(self.world, self.reached[0], [*self.path(at), move])
                    raise
                if after is not None:
                    self._add(after, at, move)
            at += 1
        return True

    def _add(self, situation: Situation, origin: int, move: Move | None) -> None:
        """New unless it was met with at least as much left of every budget."""
        core, left = situation[:-1], situation.left
        known = self._budgets.get(core)
        if known is None:
            self._budgets[core] = [left]
        else:
            for other in known:
                if other == left or all(a >= b for a, b in zip(other, left, strict=True)):
                    return
            self._budgets[core] = [*(o for o in known if not all(a <= b for a, b in zip(o, left, strict=True))), left]
        self.reached.append(situation)
        self._came.append((origin, move))

    def path(self, at: int) -> list[Move]:
        """The moves that lead to a situation."""
        moves = []
        while at > 0:
            at, move = self._came[at]
            if move is not None:
                moves.append(move)
        return moves[::-1]

    def heal(self, at: int, found: Found) -> None:
        """From a situation that was reached, the pair becomes whole in quiet, or says what to type."""
        try:
            why = heal(self.world, self.reached[at])
        except Broken as broken:
            why = str(broken)
        if why:
            found.trace = [*told(self.world, self.reached[0], self.path(at)), "then nothing goes wrong any more"]
            raise Broken(f"does not heal: {why}")

    def heal_sample(self, found: Found, count: int) -> None:
        """The same from about so many situations, evenly chosen; the first that does not heal is what is broken."""
        for at in range(0, len(self.reached), max(len(self.reached) // count, 1)):
            try:
                self.heal(at, found)
            except Broken as broken:
                found.broken = str(broken)
                return
            found.healed += 1
