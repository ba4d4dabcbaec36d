"""What tests of the session machine share: an agent without a machine, whose disk and processes are values."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

from replication.core.types import Epoch
from server.core import agent_wire as wire
from server.core.agent_ledger import Outcome
from server.core.agent_memory import Memory
from server.core.agent_session import Session
from server.core.agent_trust import Moment
from server.core.model import SECOND_US, Specification

A, B = "a" * 32, "b" * 32
START_US = 1_800_000_000 * SECOND_US
BOOT = "boot-1"


def specification(**values: object) -> Specification:
    return Specification(job_id=1, job_name="job", command="true", **values)  # type: ignore[arg-type]  # test values


@dataclass
class World:
    """One agent. `disk` holds what is durable; `processes` counts the starts of each key that a pid file allowed."""

    disk: Memory = field(default_factory=Memory)
    wall_us: int = START_US
    boot_us: int = 1000 * SECOND_US
    boot: str = BOOT
    place: str = "disk-1"
    pid_files: set[str] = field(default_factory=set)
    processes: dict[str, int] = field(default_factory=dict)
    sent: list[tuple[str, wire.FromAgent]] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.start()

    @property
    def now(self) -> Moment:
        return Moment(self.wall_us, self.boot_us)

    def start(self) -> None:
        """A new process of the agent: memory from disk; runs that have a pid file are found again."""
        self.session = Session(copy.deepcopy(self.disk), self.boot, self.now, self.place)
        for run in list(self.disk.runs.values()):
            if run.state != "intent":
                continue
            if run.boot_id != self.boot:
                self.do(self.session.ended(run.key, self.end(cause="interrupted"), self.now))
            elif run.key in self.pid_files:
                self.do(self.session.began(run.key))

    def reboot(self) -> None:
        """The machine was off and is on again: processes are gone, the boot id is another."""
        self.boot, self.boot_us = self.boot + "+", 10 * SECOND_US
        self.start()

    def do(self, outcome: Outcome, *, crash_after_saves: bool = False, crash_before_saves: bool = False) -> None:
        """Carry out an outcome as the client does; a crash leaves the rest undone and starts the agent again."""
        if crash_before_saves:
            self.start()
            return
        for save in outcome.saves:
            self.disk.apply(copy.deepcopy(save))
        if crash_after_saves:
            self.start()
            return
        self.sent += outcome.sends
        for run in outcome.starts:
            assert self.disk.runs[run.key].state == "intent", "an intent is durable before its process"
            if run.key not in self.pid_files:
                self.pid_files.add(run.key)
                self.processes[run.key] = self.processes.get(run.key, 0) + 1
            self.do(self.session.began(run.key))
        self.stops += [stop.key for stop in outcome.stops]
        for key in outcome.abandons:
            if key in self.pid_files:
                self.do(self.session.began(key))
            else:
                self.pid_files.add(key)
                self.do(self.session.ended(key, self.end(cause="never started"), self.now))
        self.forgotten += outcome.forgets
        self.pid_files.difference_update(outcome.forgets)

    def pass_s(self, seconds: float) -> None:
        """Time passes on both clocks, and the agent looks at it."""
        self.wall_us += round(seconds * SECOND_US)
        self.boot_us += round(seconds * SECOND_US)
        self.do(self.session.tick(self.now))

    def hear(self, message: wire.FromNode, node: str = A) -> None:
        self.do(self.session.received(node, message, self.now))

    def connect(self, number: int = 1, node: str = A, ticket: int = 1, **admitted: object) -> None:
        """Open a link to a master and be admitted by it."""
        self.do(self.session.link_closed(node))
        self.do(self.session.link_opened(node))
        self.hear(wire.Office(node, "master", Epoch(number, node), self.wall_us), node)
        self.hear(wire.Admitted(ticket, **admitted), node)  # type: ignore[arg-type]  # test values

    def end(self, code: int | None = None, cause: str = "") -> wire.Ended:
        return wire.Ended(code, None, self.wall_us, self.wall_us, 0, False, cause)

    def told(self, kind: type) -> list[wire.FromAgent]:
        return [message for _, message in self.sent if isinstance(message, kind)]

    def bodies(self, kind: type) -> list[tuple[str, wire.Body]]:
        """Bodies of all reports that were ever sent, each id once."""
        reports = {m.id: m for m in self.told(wire.Report) if isinstance(m, wire.Report)}
        return [(r.key, r.body) for r in reports.values() if isinstance(r.body, kind)]


def order(
    first_s: int, step_s: int, count: int, version: int = 1, valid_s: int = 86400, **values: object
) -> wire.GiveOrder:
    """An order of schedule 5 whose instants are seconds after START_US."""
    return wire.GiveOrder(
        wire.StandingOrder(
            1,
            5,
            version,
            START_US,
            START_US + valid_s * SECOND_US,
            ((START_US + first_s * SECOND_US, step_s * SECOND_US, count),),
            specification(**values),
        )
    )
