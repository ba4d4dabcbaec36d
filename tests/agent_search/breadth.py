"""Breadth first through all situations within the bounds, so that the first broken promise has the shortest trace."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass, field

from tests.agent_search.bounds import BUDGETS, FREE, Bounds
from tests.agent_search.machine import Broken
from tests.agent_search.moves import Move, Moves
from tests.agent_search.promises import quiet
from tests.agent_search.world import Budget, Situation


@dataclass(slots=True)
class Found:
    """What a search found. `states` are different without what is left of the budgets; `visits` are with it.

    `whole`: everything within the bounds was seen. `agents` and `masters`: different steps of the shipped session, and
    different shipped actions on rows. From `quieted` of them all came to rest with everything accounted for.
    """

    bounds: Bounds
    states: int = 0
    visits: int = 0
    moves: int = 0
    depth: int = 0
    agents: int = 0
    masters: int = 0
    seconds: float = 0.0
    whole: bool = False
    broken: str = ""
    quieted: int = 0
    trace: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        end = "all of it" if self.whole else "up to the bound of states"
        return (
            f"{self.bounds.name}: {self.states:,} states, {self.visits:,} with budgets, {self.moves:,} moves, "
            f"{self.agents:,} steps of sessions, {self.masters:,} actions on rows, depth {self.depth}, {end}, "
            f"{self.quieted:,} brought to rest, {self.seconds:.1f} s of CPU\n  {self.bounds}"
        )


class Breadth:
    """One search. `every`: each so manieth situation is brought to rest when it is met; 0 for none."""

    def __init__(self, bounds: Bounds, every: int = 1) -> None:
        self.bounds, self.every = bounds, every
        self.world = Moves(bounds)
        self.reached: list[Situation] = []
        self._budgets: dict[tuple[object, ...], list[Budget]] = {}
        self._came: list[tuple[int, Move | None, int]] = []

    def run(self) -> Found:
        """Search until nothing is new, a promise is broken, or `states_max` is reached."""
        began = time.process_time()
        gc.disable()  # nothing here refers to itself, and there is much of it
        found = Found(self.bounds)
        try:
            self._add(self.world.beginning(), -1, None, FREE)
            found.whole = self._search(found)
        except Broken as broken:
            found.broken = str(broken)
        found.states, found.visits = len(self._budgets), len(self.reached)
        found.agents, found.masters = self.world.machines.steps, self.world.offices.steps
        found.seconds = time.process_time() - began
        gc.enable()
        return found

    def _search(self, found: Found) -> bool:
        at, level_end = 0, len(self.reached)
        while at < len(self.reached):
            if at == level_end:
                found.depth, level_end = found.depth + 1, len(self.reached)
            if len(self._budgets) >= self.bounds.states_max:
                return False
            situation = self.reached[at]
            try:
                for move, cost, after in self.world.all(situation):
                    found.moves += 1
                    self._add(after, at, move, cost)
                if self.every and at % self.every == 0:
                    quiet(self.world, situation)
                    found.quieted += 1
            except Broken as broken:
                found.trace = [*self.path(at), f"then: {broken}"]
                raise
            at += 1
        return True

    def _add(self, situation: Situation, origin: int, move: Move | None, cost: int) -> None:
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
        self._came.append((origin, move, cost))

    def path(self, at: int) -> list[str]:
        """The moves that lead to a situation, as lines."""
        lines: list[str] = []
        while at > 0:
            at, move, cost = self._came[at]
            price = f" [{BUDGETS[cost]}]" if cost != FREE else ""
            lines.append(" ".join(map(str, move or ())) + price)
        return lines[::-1]
