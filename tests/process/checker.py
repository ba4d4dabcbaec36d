"""Says whether a history of a pair kept its promises. Pure: acknowledged, shown by each node, ran.

Lists of clients and the file of what ran are outside the product; `NodeView` is what the product itself says.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

SECOND_US = 1_000_000
ENDED = {"succeeded", "failed"}
"""States that claim an exit code."""

NEVER_STARTED = {"missed", "skipped", "waiting", "cancelled"}
"""States of a run that must not be found in the file of what ran."""

OCCURRENCE = re.compile(r"^j(?P<job>\d+)\.s(?P<schedule>\d+)\.(?P<instant>\d{8}T\d{6}Z)\.a(?P<attempt>\d+)$")


@dataclass(frozen=True)
class RunRow:
    """A run as one node shows it. `key` is its name for ever; `output` is None when it was not asked for."""

    key: str
    state: str
    exit_code: int | None
    output: str | None = None


@dataclass(frozen=True)
class NodeView:
    """What one node's API shows at the end: names of written rows (each as often as it is there), and runs.

    `missed` maps (schedule id, instant in microseconds) to its resolution: "" while open, "run", "policy".
    """

    node: str
    written: tuple[str, ...]
    runs: tuple[RunRow, ...]
    missed: dict[tuple[int, int], str] = field(default_factory=dict)


@dataclass(frozen=True)
class RanLine:
    """One line that a job appended: that it began (`exit_code` None), or that it is about to exit."""

    key: str
    exit_code: int | None = None


@dataclass(frozen=True)
class Schedule:
    """Instants every `step_s` seconds, expected without a gap from the first seen until before `until_us`.

    What is later is not judged: a run may be seen whose predecessors' rows were still on their way.
    """

    schedule: int
    step_s: int
    until_us: int


@dataclass(frozen=True)
class History:
    """Everything that is known about one observed interval. `refused` are answers that no write may get."""

    acknowledged: tuple[str, ...]
    refused: tuple[str, ...]
    views: tuple[NodeView, ...]
    ran: tuple[RanLine, ...]
    schedules: tuple[Schedule, ...]
    interrupted_is_allowed: bool = False


@dataclass(frozen=True)
class Verdict:
    """Counts, in the order in which they are printed, and one sentence for each broken promise."""

    counts: dict[str, int]
    faults: tuple[str, ...]

    def __str__(self) -> str:
        figures = ", ".join(f"{name} {count}" for name, count in self.counts.items())
        return "\n".join([figures, *(f"FAULT: {fault}" for fault in self.faults)])


def instant_us(text: str) -> int:
    """Microseconds since 1970 of an instant as run keys write it: 20260131T235959Z."""
    return int(datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()) * SECOND_US


def check(history: History) -> Verdict:
    """Hold a history against the promises: nothing acknowledged is lost, no run twice, none missing."""
    faults = [
        *_check_writes(history),
        *_check_nodes_agree(history.views),
        *_check_no_run_twice(history.ran),
        *_check_no_instant_missing(history),
        *_check_rows_tell_what_ran(history),
    ]
    began = {line.key for line in history.ran if line.exit_code is None}
    counts = {
        "acknowledged": len(history.acknowledged),
        "runs": len(began),
        "instants": sum(OCCURRENCE.match(key) is not None for key in began),
        "missed": len(history.views[0].missed) if history.views else 0,
        "nodes": len(history.views),
        "faults": len(faults),
    }
    return Verdict(counts, tuple(faults))


def _check_writes(history: History) -> Iterator[str]:
    for refusal in history.refused:
        yield f"a write got an answer that it must not get: {refusal}"
    for view in history.views:
        present = Counter(view.written)
        for name in history.acknowledged:
            if name not in present:
                yield f"acknowledged and lost on {view.node}: {name}"
        for name, count in present.items():
            if count > 1:
                yield f"written {count} times on {view.node}: {name}"


def _check_nodes_agree(views: tuple[NodeView, ...]) -> Iterator[str]:
    if not views:
        yield "no node was read"
        return
    first = views[0]
    states = {row.key: row for row in first.runs}
    for other in views[1:]:
        others = {row.key: row for row in other.runs}
        for key in sorted(states.keys() | others.keys()):
            mine, theirs = states.get(key), others.get(key)
            if mine != theirs:
                yield f"run {key} differs: {first.node} shows {mine}, {other.node} shows {theirs}"
        if first.missed != other.missed:
            yield f"the ledger of missed runs differs between {first.node} and {other.node}"
        if set(first.written) != set(other.written):
            yield f"the written rows differ between {first.node} and {other.node}"


def _check_no_run_twice(ran: Iterable[RanLine]) -> Iterator[str]:
    ran = tuple(ran)
    starts = Counter(line.key for line in ran if line.exit_code is None)
    for key, count in starts.items():
        if count > 1:
            yield f"ran {count} times: {key}"
    occurrences = Counter(key.rpartition(".a")[0] for key in starts if OCCURRENCE.match(key))
    for occurrence, count in occurrences.items():
        if count > 1:
            yield f"ran {count} attempts of one occurrence: {occurrence}"


def _check_no_instant_missing(history: History) -> Iterator[str]:
    ran: dict[int, set[int]] = {}
    for line in history.ran:
        if match := OCCURRENCE.match(line.key):
            ran.setdefault(int(match["schedule"]), set()).add(instant_us(match["instant"]))
    missed = history.views[0].missed if history.views else {}
    for schedule in history.schedules:
        began = ran.get(schedule.schedule, set())
        recorded = {instant for number, instant in missed if number == schedule.schedule}
        recorded |= _interrupted(history, schedule.schedule)
        yield from _check_one_schedule(schedule, began, recorded)
        for instant in sorted(began & recorded):
            if missed.get((schedule.schedule, instant), "run") != "run":
                yield f"schedule {schedule.schedule}: {_text(instant)} ran and is recorded as missed"


def _interrupted(history: History, schedule: int) -> set[int]:
    """Where a machine or keeper may be killed: instants whose rows say that nobody knows whether a process began."""
    rows = history.views[0].runs if history.interrupted_is_allowed and history.views else ()
    found = [OCCURRENCE.match(row.key) for row in rows if row.state == "interrupted"]
    return {instant_us(match["instant"]) for match in found if match and int(match["schedule"]) == schedule}


def _check_one_schedule(schedule: Schedule, began: set[int], recorded: set[int]) -> Iterator[str]:
    accounted = began | recorded
    if not began:
        yield f"schedule {schedule.schedule} never ran"
        return
    for instant in range(min(began), schedule.until_us, schedule.step_s * SECOND_US):
        if instant not in accounted:
            yield f"schedule {schedule.schedule}: {_text(instant)} neither ran nor is recorded as missed"


def _check_rows_tell_what_ran(history: History) -> Iterator[str]:
    starts = {line.key for line in history.ran if line.exit_code is None}
    exits = {line.key: line.exit_code for line in history.ran if line.exit_code is not None}
    for view in history.views:
        rows = {row.key: row for row in view.runs}
        for key in sorted(starts - rows.keys()):
            yield f"{view.node} knows nothing of {key}, which ran"
        for row in view.runs:
            yield from _check_row(row, row.key in starts, exits.get(row.key), history, view.node)


def _check_row(row: RunRow, began: bool, exit_code: int | None, history: History, node: str) -> Iterator[str]:
    if row.state in ENDED and not began:
        yield f"{node} shows {row.key} as {row.state}, and it never ran"
    elif row.state in NEVER_STARTED and began:
        yield f"{node} shows {row.key} as {row.state}, and it ran"
    elif row.state in ENDED and row.exit_code != exit_code:
        yield f"{node} shows exit code {row.exit_code} for {row.key}, which exited with {exit_code}"
    elif row.state not in ENDED and exit_code is not None:
        yield f"{node} shows {row.key} as {row.state}, and it exited with {exit_code}"
    elif row.state not in ENDED and began and not history.interrupted_is_allowed:
        yield f"{node} shows {row.key} as {row.state}, and it began"
    if row.state in ENDED and row.output is not None and row.key not in row.output:
        yield f"{node} lost the output of {row.key}: {row.output[:60]!r}"


def _text(instant: int) -> str:
    return datetime.fromtimestamp(instant / SECOND_US, UTC).strftime("%Y%m%dT%H%M%SZ")
