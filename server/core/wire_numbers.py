"""Numbers that no table takes: MessagePack has integers up to 2^64, SQLite up to 2^63. Pure."""

from __future__ import annotations

import re

import msgspec

MOST = 2**62
"""Far above every number, counter and time that there is: what is counted on from it still fits."""
_MAY_BE_HUGE = re.compile(rb"\xcf[\x40-\xff]")


def has_huge_number(frame: bytes, message: object) -> bool:
    """Whether a decoded message has an integer above `MOST`. What cannot have one by its bytes is not looked at."""
    return _MAY_BE_HUGE.search(frame) is not None and _is_huge(message)


def _is_huge(value: object) -> bool:
    if isinstance(value, int):
        return value > MOST
    if isinstance(value, msgspec.Struct):
        return any(_is_huge(getattr(value, name)) for name in value.__struct_fields__)
    if isinstance(value, dict):
        return any(map(_is_huge, value.values())) or any(map(_is_huge, value))
    return isinstance(value, (tuple, list)) and any(map(_is_huge, value))
