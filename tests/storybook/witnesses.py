"""Witnesses in their states, for the pages that show them."""

from __future__ import annotations

from msgspec.structs import replace

from server.web.witnesses import Standing, WitnessLine
from tests.storybook.fixture import HOUR_US, NOW_US, SECOND_US


def witnesses(*names: str, **more: object) -> Standing:
    """Witnesses that all answer and hold epoch 7."""
    lines = tuple(
        WitnessLine(f"{name}-id", name, "held", False, True, None, NOW_US - 4 * SECOND_US, 7, "north", "", 7, 3)
        for name in names
    )
    count = len(lines)
    return replace(Standing(lines, count, count, count // 2 + 1 if count else 0, None, ""), **more)


def _line(name: str, **more: object) -> WitnessLine:
    return replace(witnesses(name).witnesses[0], **more)


ALONE = replace(witnesses("dock-1"), witnesses=(_line("dock-1", alone="north"),))
CHANGING = Standing(
    (
        _line("dock-1", former=True, alone="north"),
        _line("dock-2", epoch=0, epoch_node="", alone="", alone_epoch=0, counter=0),
        _line("warehouse", connected=False, silent_since_us=NOW_US - HOUR_US, epoch=None, heard_at_us=None),
    ),
    3,
    2,
    2,
    4,
    "",
)
LOST = Standing(
    (_line("dock-1 (replaced 91c0a7d2)", seat="replaced", connected=False, epoch=None, heard_at_us=None),),
    1,
    0,
    1,
    None,
    "dock-1 (replaced 91c0a7d2) is no witness any more: 0 of 1 are left. "
    "While the standby is in sync, choose again: understudy witness set AGENT",
)
