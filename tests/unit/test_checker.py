"""The judge is judged: a good history passes, and each way to break a promise is found by its name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.process.checker import (
    History,
    NodeView,
    RanLine,
    RunRow,
    Schedule,
    check,
    instant_us,
)

KEYS = tuple(f"j1.s7.20260131T2359{second:02}Z.a1" for second in range(50, 60))
MISSED = {(7, instant_us("20260201T000000Z")): ""}
UNTIL_US = instant_us("20260201T000001Z")


def view(node: str) -> NodeView:
    rows = tuple(RunRow(key, "failed" if n else "succeeded", n, f"output of {key}") for n, key in enumerate(KEYS))
    return NodeView(node, ("w1-1", "w1-2", "w1-3"), rows, MISSED)


def good() -> History:
    ran = [line for n, key in enumerate(KEYS) for line in (RanLine(key), RanLine(key, n))]
    return History(
        acknowledged=("w1-1", "w1-2"),
        refused=(),
        views=(view("north"), view("south")),
        ran=tuple(ran),
        schedules=(Schedule(7, 1, UNTIL_US),),
    )


def with_south(history: History, **changes: object) -> History:
    north, south = history.views
    return replace(history, views=(north, replace(south, **changes)))  # type: ignore[arg-type] # names of fields


def with_both(history: History, **changes: object) -> History:
    views = tuple(replace(one, **changes) for one in history.views)  # type: ignore[arg-type] # names of fields
    return replace(history, views=views)


def rows_with(position: int, row: RunRow) -> tuple[RunRow, ...]:
    rows = view("any").runs
    return (*rows[:position], row, *rows[position + 1 :])


BROKEN = {
    "one write removed": (
        lambda h: with_south(h, written=("w1-1", "w1-3")),
        "acknowledged and lost on south: w1-2",
    ),
    "one write doubled": (
        lambda h: with_both(h, written=("w1-1", "w1-2", "w1-2")),
        "written 2 times on north: w1-2",
    ),
    "one write refused": (lambda h: replace(h, refused=("409 w1-9",)), "409 w1-9"),
    "one run doubled": (lambda h: replace(h, ran=(*h.ran, RanLine(KEYS[3]))), f"ran 2 times: {KEYS[3]}"),
    "one occurrence run as two attempts": (
        lambda h: replace(h, ran=(*h.ran, RanLine(KEYS[3][:-1] + "2"))),
        "ran 2 attempts",
    ),
    "one run missing": (
        lambda h: replace(h, ran=tuple(line for line in h.ran if line.key != KEYS[4])),
        "20260131T235954Z neither ran nor is recorded",
    ),
    "nothing ran until the end": (
        lambda h: replace(h, schedules=(Schedule(7, 1, UNTIL_US + 5_000_000),)),
        "20260201T000001Z neither ran nor is recorded",
    ),
    "a schedule never ran": (
        lambda h: replace(h, schedules=(Schedule(8, 1, UNTIL_US),)),
        "schedule 8 never ran",
    ),
    "ran although recorded as missed": (
        lambda h: with_both(h, missed={**MISSED, (7, instant_us("20260131T235952Z")): ""}),
        "20260131T235952Z ran and is recorded as missed",
    ),
    "the ledgers differ": (lambda h: with_south(h, missed={}), "ledger of missed runs differs"),
    "the rows differ": (lambda h: with_south(h, runs=view("south").runs[1:]), f"run {KEYS[0]} differs"),
    "a wrong exit code": (
        lambda h: with_both(h, runs=rows_with(2, RunRow(KEYS[2], "failed", 9, KEYS[2]))),
        f"shows exit code 9 for {KEYS[2]}, which exited with 2",
    ),
    "a success that never ran": (
        lambda h: with_both(h, runs=(*view("any").runs, RunRow("j1.rabc.a1", "succeeded", 0))),
        "shows j1.rabc.a1 as succeeded, and it never ran",
    ),
    "a missed run that ran": (
        lambda h: with_both(h, runs=rows_with(5, RunRow(KEYS[5], "missed", None))),
        f"shows {KEYS[5]} as missed, and it ran",
    ),
    "an unknown run that exited": (
        lambda h: with_both(h, runs=rows_with(5, RunRow(KEYS[5], "unknown", None))),
        f"shows {KEYS[5]} as unknown, and it exited with 5",
    ),
    "a run that no node knows": (
        lambda h: replace(h, ran=(*h.ran, RanLine("j9.rxyz.a1"))),
        "knows nothing of j9.rxyz.a1",
    ),
    "lost output": (
        lambda h: with_both(h, runs=rows_with(1, RunRow(KEYS[1], "failed", 1, ""))),
        f"lost the output of {KEYS[1]}",
    ),
    "no node was read": (lambda h: replace(h, views=()), "no node was read"),
}


def test_a_good_history_passes() -> None:
    """A history that kept every promise has no fault, and its counts are of what it holds."""
    verdict = check(good())
    assert verdict.faults == ()
    assert verdict.counts == {
        "acknowledged": 2,
        "runs": 10,
        "instants": 10,
        "missed": 1,
        "nodes": 2,
        "faults": 0,
    }


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_history_fails(name: str) -> None:
    """Each broken promise is found, and the sentence names what broke."""
    change, sentence = BROKEN[name]
    verdict = check(change(good()))
    assert any(sentence in fault for fault in verdict.faults), verdict


def test_an_interrupted_run_needs_leave() -> None:
    """A run that began and never exited is a fault, unless the scenario cuts power or kills machines."""
    key = KEYS[6]
    cut = with_both(good(), runs=rows_with(6, RunRow(key, "interrupted", None)))
    cut = replace(cut, ran=tuple(line for line in cut.ran if (line.key, line.exit_code) != (key, 6)))
    assert [fault for fault in check(cut).faults if key in fault]
    assert check(replace(cut, interrupted_is_allowed=True)).faults == ()


def test_what_is_later_than_the_question_is_not_judged() -> None:
    """A run after `until_us` is no sign that an instant before it, whose row was not asked for, is missing."""
    late = "j1.s7.20260201T000009Z.a1"
    views = with_both(good(), runs=(*view("any").runs, RunRow(late, "succeeded", 0, late)))
    assert check(replace(views, ran=(*views.ran, RanLine(late), RanLine(late, 0)))).faults == ()


def test_an_interrupted_row_accounts_for_its_instant_only_with_leave() -> None:
    """A run that was noted and never began, because all was killed, is found as its row, where that is allowed."""
    key = KEYS[4]
    cut = with_both(good(), runs=rows_with(4, RunRow(key, "interrupted", None)))
    cut = replace(cut, ran=tuple(line for line in cut.ran if line.key != key))
    assert [fault for fault in check(cut).faults if "20260131T235954Z neither ran" in fault]
    assert check(replace(cut, interrupted_is_allowed=True)).faults == ()
