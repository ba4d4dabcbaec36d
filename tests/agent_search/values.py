"""Shipped objects as values: copied as far as they change, compared by what they hold, numbered."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable
from enum import Enum
from types import FunctionType, MethodType
from typing import Any

import msgspec

ATOMS = (int, str, bytes, float, type(None), msgspec.Struct, Enum, FunctionType, type)
FIXED = (*ATOMS, tuple, frozenset)


def copied(value: Any, known: dict[int, Any] | None = None) -> Any:
    """A copy that shares nothing that can change; what is shared inside stays shared."""
    if isinstance(value, FIXED):
        return value
    known = {} if known is None else known
    found = known.get(id(value))
    if found is not None:
        return found
    if isinstance(value, MethodType):
        return MethodType(value.__func__, copied(value.__self__, known))
    if isinstance(value, Counter):
        made: Any = Counter(value)
    elif isinstance(value, dict):
        made = known[id(value)] = type(value)()
        for name, thing in value.items():
            made[name] = copied(thing, known)
    elif isinstance(value, set | deque | list):
        made = type(value)(copied(thing, known) for thing in value)
    else:
        made = known[id(value)] = object.__new__(type(value))
        for name in fields(value):
            object.__setattr__(made, name, copied(getattr(value, name), known))
    known[id(value)] = made
    return made


def fields(value: Any) -> list[str]:
    """The attributes of an object, with or without slots."""
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    return [*slots, *getattr(value, "__dict__", {})]


class Frozen:
    """What a value holds, as something that can be a key. Structs are looked at once."""

    def __init__(self) -> None:
        self._structs: dict[int, tuple[Any, bytes]] = {}

    def of(self, value: Any) -> Hashable:
        """Equal for equal values, whatever the order of sets and mappings."""
        if isinstance(value, msgspec.Struct):
            known = self._structs.get(id(value))
            if known is None:
                packed = type(value).__name__.encode() + msgspec.msgpack.encode(value)
                known = self._structs[id(value)] = (value, packed)
            return known[1]
        if isinstance(value, ATOMS):
            return value
        if isinstance(value, MethodType):
            return value.__qualname__
        if isinstance(value, dict):
            zeros = isinstance(value, Counter)
            return tuple(sorted((name, self.of(thing)) for name, thing in value.items() if thing or not zeros))
        if isinstance(value, set | frozenset):
            return frozenset(self.of(thing) for thing in value)
        if isinstance(value, tuple | list | deque):
            return tuple(self.of(thing) for thing in value)
        return (type(value).__name__, *(self.of(getattr(value, name)) for name in fields(value)))


class Pool:
    """Things by number: equal things have one. What is in it must not be changed any more."""

    def __init__(self, frozen: Frozen) -> None:
        self.things: list[Any] = []
        self._numbers: dict[Hashable, int] = {}
        self._frozen = frozen

    def of(self, thing: Any) -> int:
        """The number of a thing."""
        key = self._frozen.of(thing)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.things)
            self.things.append(thing)
        return number
