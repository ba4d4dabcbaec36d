"""The agent's reports and what an event leaves to do: one place that changes the memory. Pure."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

import msgspec

from server.core import agent_wire as wire
from server.core.agent_memory import (
    NO_SPECIFICATION,
    CheckpointNote,
    DropReports,
    Mark,
    MarkReports,
    Memory,
    RunRecord,
    Save,
    SaveDurable,
    SaveReport,
    SaveRun,
)
from server.core.agent_reports import LATER_BODIES, Checkpointed
from server.core.agent_trust import Moment
from server.core.model import DAY_US

REPORTS_IN_FLIGHT = 500
BYTES_IN_FLIGHT = 2 << 20
"""Of checkpoints: so that heartbeats find their way between them on a slow line."""
MARKED_KEPT_US = 7 * DAY_US


@dataclass(frozen=True, slots=True)
class FireAnswer:
    """Event `number` is durable, or the refusal: `code` is that of a problem document, "" without one."""

    number: int = 0
    code: str = ""
    detail: str = ""
    runs: tuple[str, ...] = ()
    elsewhere: int = 0
    suppressed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class CheckpointAnswer:
    """Checkpoint `number` is durable, or the refusal: `code` is that of a problem document, "" without one."""

    number: int = 0
    code: str = ""
    detail: str = ""


@dataclass(slots=True)
class Outcome:
    """What follows, in this order: saves (one transaction), then answers, sends, starts, stops, abandons, forgets.

    `abandons`: keys whose intent shall not begin; make sure of it (the pid file), then call `ended` or `began`.
    `forgets`: keys whose files may go. `answers`: (question, what a job that fired or saved something is told).
    """

    saves: list[Save] = field(default_factory=list)
    sends: list[tuple[str, wire.FromAgent]] = field(default_factory=list)
    starts: list[RunRecord] = field(default_factory=list)
    stops: list[wire.StopRun] = field(default_factory=list)
    abandons: list[str] = field(default_factory=list)
    forgets: list[str] = field(default_factory=list)
    answers: list[tuple[int, FireAnswer | CheckpointAnswer]] = field(default_factory=list)


class Ledger:
    """Memory, the outcome in the making, and the reports on their way to the master at `channel` ("" for nowhere)."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.out = Outcome()
        self.channel = ""
        self._protocol = 0
        self._unsent: deque[tuple[int, str]] = deque()
        self._in_flight: set[int] = set()
        self._heavy: dict[int, int] = {}
        """Bytes of those in flight that carry some."""
        self._unannounced: dict[str, int] = {}
        """The last unsent report, by run key, of those that make a master know the run."""
        self._of_key = Counter(report.key for report in memory.reports.values())
        self._output_done: set[str] = set()
        self._protocol = 0

    def take(self) -> Outcome:
        """The outcome so far; the next one begins empty."""
        out, self.out = self.out, Outcome()
        return out

    def save(self, save: Save) -> None:
        """Change the memory now; it is durable once the caller has stored the outcome's saves."""
        self.memory.apply(save)
        self.out.saves.append(save)

    def change(self, **values: Any) -> None:
        """Change single values of `Durable` by name."""
        self.save(SaveDurable(msgspec.structs.replace(self.memory.durable, **values)))

    def send(self, node: str, message: wire.FromAgent) -> None:
        """Send once the saves are durable."""
        self.out.sends.append((node, message))

    def report(self, key: str, body: wire.Body, now: Moment) -> int:
        """Spool a report, and send it when the master listens; its number."""
        number = self.memory.durable.next_report
        self.change(next_report=number + 1)
        self.save(SaveReport(wire.Report(number, key, now.wall_us, body)))
        self._of_key[key] += 1
        if self.channel:
            self._queue(number)
            self._pump()
        return number

    def open(self, node: str, protocol: int) -> None:
        """The master at `node` listens: send again all that it may not have and, by its `protocol`, understands."""
        self.close()
        self.channel, self._protocol = node, protocol
        epoch, marks = self.memory.durable.epoch, self.memory.marks
        for number in self.memory.reports:
            if number not in marks or marks[number].epoch != epoch:
                self._queue(number)
        self._pump()

    def close(self) -> None:
        """Nobody listens: reports stay where they are."""
        self.channel = ""
        self._protocol = 0
        self._unsent.clear()
        self._in_flight.clear()
        self._heavy.clear()
        self._unannounced.clear()

    def is_announced(self, key: str) -> bool:
        """Whether the master at `channel` was sent, or had before, what it must know of a run ahead of its output."""
        return key not in self._unannounced

    def kept(self, message: wire.Kept, now: Moment) -> None:
        """Forget what is replicated, mark what a master has alone."""
        self._in_flight.difference_update(message.reports)
        for number in message.reports:
            self._heavy.pop(number, None)
        if message.in_sync:
            self._drop(message.reports)
        else:
            mark = Mark(self.memory.durable.epoch, message.sequence, now.wall_us)
            self.save(MarkReports(message.reports, mark))
        self._pump()

    def replicated(self, sequence: int) -> None:
        """The standby holds everything up to `sequence` of this epoch."""
        epoch = self.memory.durable.epoch
        self._drop(tuple(n for n, m in self.memory.marks.items() if m.epoch == epoch and m.sequence <= sequence))

    def expire(self, now: Moment) -> None:
        """Marks do not outlive seven days, and neither do the files of their runs."""
        old = tuple(n for n, m in self.memory.marks.items() if now.wall_us - m.at_us > MARKED_KEPT_US)
        ended = [r.key for n in old if isinstance((r := self.memory.reports[n]).body, wire.Ended)]
        self._drop(old)
        for key in ended:
            self.output_done(key)

    def output_done(self, key: str) -> None:
        """The run's output is replicated, or nobody wants it."""
        self._output_done.add(key)
        self._forget(key)

    def _queue(self, number: int) -> None:
        report = self.memory.reports[number]
        if self._protocol < 2 and _is_later(report):
            if isinstance(report.body, wire.Held | wire.Begun):
                self._unannounced[report.key] = number
            return
        self._unsent.append((number, report.key))
        if isinstance(report.body, wire.Held | wire.Begun):
            self._unannounced[report.key] = number

    def _pump(self) -> None:
        while self._unsent and len(self._in_flight) < REPORTS_IN_FLIGHT:
            if sum(self._heavy.values()) >= BYTES_IN_FLIGHT:
                return
            number, key = self._unsent.popleft()
            if self._unannounced.get(key) == number:
                del self._unannounced[key]
            report = self.memory.reports.get(number)
            if report is not None:
                self._in_flight.add(number)
                if isinstance(report.body, Checkpointed):
                    self._heavy[number] = len(report.body.data)
                self.send(self.channel, report)

    def _drop(self, numbers: tuple[int, ...]) -> None:
        known = tuple(n for n in numbers if n in self.memory.reports)
        if not known:
            return
        keys = {self.memory.reports[n].key: None for n in known}
        self._of_key.subtract(self.memory.reports[n].key for n in known)
        self.save(DropReports(known))
        for key in keys:
            self._forget(key)

    def withdraw(self, numbers: tuple[int, ...]) -> None:
        """Drop reports that nobody awaits: later ones stand for them."""
        self._drop(numbers)

    def retract(self, keys: tuple[str, ...]) -> None:
        """Drop what is not acknowledged of runs that are forgotten unstarted: a master told of them would wait."""
        self._drop(tuple(report.id for report in self.memory.reports.values() if report.key in keys))

    def _forget(self, key: str) -> None:
        run = self.memory.runs.get(key)
        if run is None or run.state != "ended" or key not in self._output_done or self._of_key[key] > 0:
            return
        self._output_done.discard(key)
        del self._of_key[key]
        bare = {"state": "forgotten", "specification": NO_SPECIFICATION, "checkpoint": CheckpointNote()}
        self.save(SaveRun(msgspec.structs.replace(run, **bare)))
        self.out.forgets.append(key)


def _is_later(report: wire.Report) -> bool:
    """Whether only a master of protocol 2 understands it: runs of events too, whose keys an earlier one cannot read."""
    return isinstance(report.body, LATER_BODIES) or ".e" in report.key
