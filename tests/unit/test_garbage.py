"""Garbage in cycles is looked for by how memory grows; what was looked at once is put aside."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from server.garbage import DOUBLED_BYTES, Collector, peak_resident_bytes

MB = 1 << 20


class Ring:
    """Refers to itself: only a look finds it."""

    def __init__(self) -> None:
        self.own: object = self


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The process of the tests collects as it did."""
    former = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*former)


def test_a_look_is_made_when_memory_grew_and_at_all_of_it_when_that_doubled() -> None:
    """Small growth: nothing; some: what is new; double: all, also what was put aside while it was in use."""
    now = [100 * MB]
    agents = [0]
    collector = Collector(lambda: agents[0], lambda: now[0])
    collector.begin()
    old = Ring()
    lost = weakref.ref(old)
    assert collector.look() == ""
    now[0] = 120 * MB
    assert collector.look() == "new"
    assert gc.get_freeze_count() > 0
    del old
    young = weakref.ref(Ring())
    now[0] = 140 * MB
    assert collector.look() == "new"
    assert young() is None
    assert lost() is not None, "it was put aside: that is what makes a look cheap"
    agents[0], now[0] = 1000, 200 * MB + DOUBLED_BYTES + 1
    assert collector.look() == "new", "a thousand agents came, and they are no garbage"
    agents[0], now[0] = 0, now[0] + 20 * MB
    assert collector.look() == "all"
    assert lost() is None
    assert collector.look() == ""


def test_memory_is_bounded_when_everything_that_comes_is_lost_in_cycles() -> None:
    """Connections that come and go for ever: lost ones take what is needed and the bound; each look adds a step."""
    lost: list[weakref.ref[Ring]] = []
    peak = [100 * MB]
    collector = Collector(lambda: 0, lambda: peak[0])
    collector.begin()
    needed, looks = gc.get_freeze_count(), []
    each = needed // 20
    for _ in range(150):
        kept = Ring()
        kept.own = [[kept] for _ in range(each)]
        lost.append(weakref.ref(kept))
        gc.freeze()  # as if a look had met it in use
        looks.append(collector.look())
        del kept
        lost = [one for one in lost if one() is not None]
        peak[0] = max(peak[0], (100 + 5 * len(lost)) * MB)
    assert 2 < looks.count("all") < 6
    assert peak[0] < 2 * 105 * MB + DOUBLED_BYTES + looks.count("all") * 15 * MB


def test_the_memory_of_this_process_is_told_in_bytes() -> None:
    """An interpreter has more than 5 MB and less than 50 GB."""
    assert 5 * MB < peak_resident_bytes() < 50_000 * MB
