"""An agent's machine in the search: the shipped `Session`, its disk, its keeper's files, its clocks.

Every function gives the machine after an event; crashes come at four points of an outcome. What happened to the same
disk and session before is looked up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from server.core import agent_wire as wire
from server.core.agent_ledger import Outcome
from server.core.agent_memory import Memory, RunRecord
from server.core.agent_session import Session
from server.core.agent_trust import Moment
from server.core.model import SECOND_US
from tests.agent_search.values import Frozen, Pool, copied

DOWN = -1
NONE, SAVED, SENT = "before its saves", "after its saves", "after its sends"
CRASHES = (NONE, SAVED, SENT)
JUMP_US = 7200 * SECOND_US
STATUS = 0


class Broken(Exception):
    """A promise is broken; the sentence says which."""


class Machine(NamedTuple):
    """`disk` and `ram` are numbers of a Memory and a Session (DOWN without a process).

    `files`: key -> asked | runs | exited | gone | never. `booted`: the index of the time of the last boot.
    `highest`: the highest epoch that was ever durable here.
    """

    disk: int
    ram: int = DOWN
    files: tuple[tuple[str, str], ...] = ()
    boot: int = 0
    booted: int = 0
    place: str = "p"
    skew: int = 0
    on: bool = True
    highest: int = 0


class Effects(NamedTuple):
    """What an event left to the world: messages to nodes, keys whose process exists since."""

    sends: tuple[tuple[str, int], ...] = ()
    began: tuple[str, ...] = ()


class Machines:
    """Does events to machines. `times` are wall times of the world, by index."""

    def __init__(self, times: tuple[int, ...]) -> None:
        frozen = Frozen()
        self.memories, self.sessions, self.messages = Pool(frozen), Pool(frozen), Pool(frozen)
        self._times = times
        self._known: dict[Any, tuple[int, int, Outcome]] = {}
        self.steps = 0

    def moment(self, machine: Machine, time: int) -> Moment:
        wall = self._times[time]
        up_us = wall - self._times[machine.booted] + (1000 * SECOND_US if not machine.boot else 10 * SECOND_US)
        return Moment(wall + machine.skew * JUMP_US, up_us)

    def memory(self, machine: Machine) -> Memory:
        found: Memory = self.memories.things[machine.disk]
        return found

    def session(self, machine: Machine) -> Session:
        found: Session = self.sessions.things[machine.ram]
        return found

    def _step(
        self, machine: Machine, name: Any, event: Callable[[Session, Moment], Outcome], time: int
    ) -> tuple[int, int, Outcome]:
        """One entry of the session: (disk after the saves, session after it, the outcome)."""
        now = self.moment(machine, time)
        key = (machine.disk, machine.ram, name, now)
        found = self._known.get(key)
        if found is None:
            self.steps += 1
            session = copied(self.session(machine))
            outcome = event(session, now)
            disk = copied(self.memory(machine))
            for save in outcome.saves:
                disk.apply(save)
            number = self.memories.of(disk)
            if number != self.memories.of(session._memory):
                raise Broken("the session believes what its disk does not hold")
            # one disk for one number, so that sessions share what they do not change
            found = self._known[key] = (number, self.sessions.of(session), outcome)
        return found

    def do(
        self,
        machine: Machine,
        name: Any,
        event: Callable[[Session, Moment], Outcome],
        time: int,
        crash: str = "",
        lazy: bool = False,
    ) -> tuple[Machine, Effects]:
        """An event and all that follows from it. `lazy`: the keeper has not begun yet what it was asked to."""
        disk, ram, outcome = self._step(machine, name, event, time)
        if crash == NONE:
            return machine._replace(ram=DOWN), Effects()
        check_quarantine(self.memory(machine), outcome)
        highest = max(machine.highest, self.memories.things[disk].durable.epoch.number)
        machine = machine._replace(disk=disk, ram=DOWN if crash else ram, highest=highest)
        if crash == SAVED:
            return machine, Effects()
        sends = tuple((node, self.messages.of(message)) for node, message in outcome.sends)
        if crash == SENT:
            return machine, Effects(sends)
        began: tuple[str, ...] = ()
        files = dict(machine.files)
        later: list[tuple[Any, Callable[[Session, Moment], Outcome]]] = []
        for run in outcome.starts:
            if self.memories.things[disk].runs[run.key].state != "intent":
                raise Broken(f"{run.key} begins without a durable intent")
            if run.key not in files:
                files[run.key] = "asked"
            elif files[run.key] != "asked":
                later += self._look(run.key, files[run.key])
        for key in outcome.abandons:
            if key in files and files[key] != "asked":
                later += self._look(key, files[key])
            else:
                files[key] = "never"
                later.append(self._ended(key, "never started", None))
        for key in outcome.forgets:
            files.pop(key, None)
        machine = machine._replace(files=tuple(sorted(files.items())))
        for stop in outcome.stops:
            if dict(machine.files).get(stop.key) == "runs":
                machine = self._file(machine, stop.key, "exited")
                later.append(self._ended(stop.key, "killed", None))
        for more, entry in later:
            machine, next_ones = self.do(machine, more, entry, time)
            sends, began = (*sends, *next_ones.sends), (*began, *next_ones.began)
        if not lazy:
            for run in outcome.starts:
                if dict(machine.files).get(run.key) == "asked":
                    machine, next_ones = self.begin(machine, run.key, time)
                    sends, began = (*sends, *next_ones.sends), (*began, *next_ones.began)
        return machine, Effects(sends, began)

    def begin(self, machine: Machine, key: str, time: int) -> tuple[Machine, Effects]:
        """The keeper creates the pid file and the process; the agent hears of it when it is up."""
        machine = self._file(machine, key, "runs")
        if machine.ram == DOWN:
            return machine, Effects((), (key,))
        machine, effects = self.do(machine, ("began", key), lambda s, now: s.began(key), time)
        return machine, Effects(effects.sends, (key, *effects.began))

    def exit(self, machine: Machine, key: str, time: int) -> tuple[Machine, Effects]:
        """The process ends with status 0."""
        machine = self._file(machine, key, "exited")
        if machine.ram == DOWN:
            return machine, Effects()
        name, entry = self._ended(key, "", STATUS)
        return self.do(machine, name, entry, time)

    def start(self, machine: Machine, time: int) -> tuple[Machine, Effects]:
        """A new process of the agent: what the files say of its intents comes first, as in the shipped runner."""
        memory, now, boot = self.memory(machine), self.moment(machine, time), f"b{machine.boot}"
        session = Session(copied(memory), boot, now, machine.place)
        machine = machine._replace(ram=self.sessions.of(session))
        files = dict(machine.files)
        later: list[tuple[Any, Callable[[Session, Moment], Outcome]]] = []
        for run in memory.runs.values():
            if run.state == "ended":
                later.append((("output", run.key), lambda s, now, k=run.key: s.output_done(k)))
            if run.state == "intent":
                later += self._found(run, files.get(run.key, ""), boot)
        sends: tuple[tuple[str, int], ...] = ()
        for name, entry in later:
            machine, effects = self.do(machine, name, entry, time)
            sends = (*sends, *effects.sends)
        return machine, Effects(sends)

    def fill(self, machine: Machine, full: bool) -> Machine:
        """The disk is at its reserve, or has room again: the shipped loop says so to the session before each tick."""
        session = copied(self.session(machine))
        session.work.disk_full = full
        return machine._replace(ram=self.sessions.of(session))

    def reboot(self, machine: Machine, time: int) -> Machine:
        """The machine was off: processes are gone, what only the keeper knew is gone."""
        files = {key: "gone" if at == "runs" else at for key, at in machine.files if at != "asked"}
        boot = machine.boot + 1
        return machine._replace(ram=DOWN, files=tuple(sorted(files.items())), boot=boot, booted=time, on=True)

    def _found(self, run: RunRecord, at: str, boot: str) -> list[tuple[Any, Callable[[Session, Moment], Outcome]]]:
        if at == "exited":
            return [self._ended(run.key, "", STATUS)]
        if run.boot_id != boot:
            return [self._ended(run.key, "interrupted", None)]
        if at == "never":
            return [self._ended(run.key, "interrupted", None)]
        return self._look(run.key, at) if at == "runs" else []

    def _look(self, key: str, at: str) -> list[tuple[Any, Callable[[Session, Moment], Outcome]]]:
        if at == "exited":
            return [self._ended(key, "", STATUS)]
        if at in ("gone", "never"):
            return [self._ended(key, "interrupted", None)]
        return [(("began", key), lambda s, now: s.began(key))]

    def _ended(self, key: str, cause: str, code: int | None) -> tuple[Any, Callable[[Session, Moment], Outcome]]:
        def entry(session: Session, now: Moment) -> Outcome:
            started = now.wall_us if code is not None or cause == "killed" else None
            return session.ended(key, wire.Ended(code, None, started, now.wall_us, 0, False, cause), now)

        return ("ended", key, cause, code), entry

    @staticmethod
    def _file(machine: Machine, key: str, at: str) -> Machine:
        files = {**dict(machine.files), key: at}
        return machine._replace(files=tuple(sorted(files.items())))


def check_quarantine(before: Memory, outcome: Outcome) -> None:
    """Nothing is begun for the first time by an agent that knows of its quarantine."""
    if before.durable.quarantined and any(before.runs.get(run.key) is None for run in outcome.starts):
        raise Broken("something begins in quarantine")
