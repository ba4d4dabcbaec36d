"""A path through the search, as people read it: a line for each move, with both states and the rows that were taken."""

from __future__ import annotations

from replication.core import effects
from replication.core.effects import Effect
from tests.search.bounds import BUDGETS
from tests.search.deeds import Broken
from tests.search.moves import FREE, Label, Move, Moves
from tests.search.world import Situation

NAMES = "AB"


def told(world: Moves, first: Situation, path: list[Move]) -> list[str]:
    """Do it again from the beginning and tell it."""
    lines, s = [], first
    for number, (label, cost) in enumerate(path, 1):
        what = _described(world, s, label)
        world.noted = []
        try:
            s = world.do(s, (label, cost)) or s
            end = ""
        except Broken:
            end = "  <- broken here"
        rows = f" rows {' '.join(map(str, world.noted))}" if world.noted else ""
        world.noted = None
        price = f" [{BUDGETS[cost]}]" if cost != FREE else ""
        states = " ".join(_state(world, s, me) for me in (0, 1))
        lines.append(f"{number:3}. {what}{price}:{rows} -> {states}{end}")
    return lines


def _state(world: Moves, s: Situation, me: int) -> str:
    held = world.nodes.things[s[me]]
    if not held.up:
        return f"{NAMES[me]}=down"
    office = f"@{held.term.epoch}" if held.term is not None else ""
    return f"{NAMES[me]}={held.ram.state.value}{office}"


def _described(world: Moves, s: Situation, label: Label) -> str:
    name, first, *rest = label
    if name in ("deliver", "deliver again", "lose"):
        at = rest[0] if rest else 0
        after = f", and dies after {rest[1]} effects" if len(rest) > 1 and rest[1] is not None else ""
        return f"{NAMES[first]} gets {_message(world, s[2 + first][at])} ({name}){after}"
    if name in ("ask", "hear", "conclude", "forget"):
        asker, effect, _ = s.questions[first]
        who = NAMES[asker] if asker < len(NAMES) else "nobody"
        return f"{name} {rest or ''} {who}'s {_effect(world.effects.things[effect])}"
    if name == "hello":
        return f"{NAMES[1 - first]} hears {NAMES[first]}"
    return f"{NAMES[first]} {name} {' '.join(map(str, rest))}".rstrip()


def _effect(effect: Effect) -> str:
    match effect:
        case effects.AskWitnesses():
            return f"claim of {effect.claim.epoch}"
        case effects.RecordAlone():
            return f"word that {effect.alone[:1].upper() or 'nobody'} writes alone in {effect.epoch}"
    return "fence"


def _message(world: Moves, number: int) -> str:
    thing = world.messages.things[number]
    if isinstance(thing, tuple):
        return f"an old word of {NAMES[thing[0]]}: {thing[1].state.value} {thing[1].epoch}"
    return f"{type(thing).__name__} {thing.epoch}" if hasattr(thing, "epoch") else type(thing).__name__
