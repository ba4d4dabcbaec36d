"""The processes of a run, wherever they went, and ending all of them.

A process belongs to a run when it carries the run's mark in its environment, is in the process group or session of the
run's first process, descends from one that does, or is in the run's control group, where there are such groups. So
`setsid`, a double fork and a cleared environment are found. Without control groups a process that has done all three,
and whose parents have ended, is not found, and one that becomes another process every millisecond may not be.

Agents of two clusters on one machine have runs of the same key: whose a mark is, the path beside it says.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from server.agent import control_group
from server.agent.platform import IS_LINUX, created_at, is_same_process, process_stat

RUN_VARIABLE = "UNDERSTUDY_RUN_ID"
"""In the environment of every process of a run."""
SOCKET_VARIABLE = "UNDERSTUDY_AGENT_SOCKET"
"""Beside it: a file in the agent's data directory."""
ROUNDS_MAX = 50
EMPTY_LOOKS = 5
"""So often nothing must be found where processes come and go while they are looked at."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One living process; `mark` is the key of its run, or ""; `socket` that of its agent, or ""."""

    pid: int
    parent: int
    group: int
    session: int
    mark: str
    socket: str


class Tree:
    """The processes of the run `key`. `leader` is its first process, given only by who knows that it is not reaped.

    `group` is the run's control group, or None. `data` is the agent's directory; without it marks of all agents count.
    """

    def __init__(
        self, key: str, leader: int | None = None, group: Path | None = None, data: Path | None = None
    ) -> None:
        self._key = key
        self._data = data
        self._leader = leader
        self._group = group
        self._left: dict[int, float] = {}

    def leads(self, leader: int) -> None:
        """Its first process has been made."""
        self._leader = leader

    def leader_ended(self) -> None:
        """Call before the first process is reaped: its number means nothing afterwards, so what is left is noted."""
        self._note(self.pids())
        self._leader = None

    def pids(self) -> list[int]:
        """All that live now."""
        return sorted(self._find()[0])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every process, once; a stopped one goes on to see it."""
        found, _ = self._find()
        _send(found, number)
        _send(found, signal.SIGCONT)

    def kill(self) -> bool:
        """SIGKILL until there is no process; those that fork meanwhile are stopped first.

        False when some are left: this user may not signal them, or they cannot die now (their disk does not answer).
        """
        if self._group is not None:
            control_group.kill(self._group)
        stopped: set[int] = set()
        for _ in range(ROUNDS_MAX):
            found, _ = self._find()
            if found.keys() <= stopped:
                break
            self._note(found)  # who is found by a parent only is not found once that has ended
            _send(found, signal.SIGSTOP)
            stopped |= found.keys()
        empty = 0
        for _ in range(ROUNDS_MAX):
            found, is_calm = self._find()
            _send(found, signal.SIGKILL)
            empty = 0 if found else empty + 1
            if empty and (is_calm or empty >= EMPTY_LOOKS):
                return True
        return False

    def close(self) -> None:
        """The run has ended: what it left behind lives on, and is no run's any more."""
        if self._group is not None:
            control_group.leave_behind(self._group)

    def _note(self, pids: Iterable[int]) -> None:
        """These are the run's whoever their parents are; one that has ended by now has no time of creation."""
        self._left |= {pid: created for pid in pids if (created := created_at(pid)) is not None}

    def _find(self) -> tuple[dict[int, int], bool]:
        inside = control_group.pids(self._group) if self._group is not None else []
        left = {pid for pid, created in self._left.items() if is_same_process(pid, created)}.union(inside)
        seen, is_calm = _processes()
        mine = [process for process in seen if process.mark == self._key and not self._is_of_another(process)]
        return _members(seen, {process.pid for process in mine}, self._leader, left), is_calm

    def _is_of_another(self, process: Seen) -> bool:
        """Whether an agent with another directory started it. Where that is gone, this one may have been moved."""
        if self._data is None or not process.socket:
            return False
        try:
            return not os.path.samefile(os.path.dirname(process.socket), self._data)
        except OSError:
            return False


def processes_of(key: str) -> list[int]:
    """Pids of all processes of a run, found by its key."""
    return Tree(key).pids()


def _members(seen: list[Seen], marked: set[int], leader: int | None, left: Collection[int]) -> dict[int, int]:
    """Pid and process group of all of a run: `marked`, its first process, those known to be `left`; and children."""
    found = {
        process.pid: process.group
        for process in seen
        if process.pid in marked
        or process.pid in left
        or (leader is not None and leader in (process.pid, process.group, process.session))
    }
    while more := {p.pid: p.group for p in seen if p.parent in found and p.pid not in found}:
        found.update(more)
    return found


def _send(found: dict[int, int], number: signal.Signals) -> None:
    """A group gets it at once: no fork in there escapes. A run has its groups for itself: it began a session."""
    mine = os.getpgrp()
    for group in {group for group in found.values() if group not in (0, mine)}:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
    for pid in [pid for pid, group in found.items() if group in (0, mine)]:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _processes() -> tuple[list[Seen], bool]:
    """Everything that lives but this process, the newest first; zombies have ended.

    False when some had ended before they were looked at: their children may be missing.
    """
    if not IS_LINUX:
        return list(_of_psutil()), True
    seen, is_calm = [], True
    for pid in sorted((int(name) for name in os.listdir("/proc") if name.isdigit()), reverse=True):
        found = process_stat(pid)
        if found is None:
            is_calm = False
        elif found[0] not in "ZX" and pid != os.getpid():
            seen.append(Seen(pid, found[1], found[2], found[3], *_marks(pid)))
    return seen, is_calm


def _marks(pid: int) -> tuple[str, str]:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
        environment = b"\0" + file.read()
        return _value(environment, RUN_VARIABLE), _value(environment, SOCKET_VARIABLE)
    return "", ""


def _value(environment: bytes, name: str) -> str:
    words = environment.split(b"\0" + name.encode() + b"=", 1)
    return os.fsdecode(words[1].split(b"\0", 1)[0]) if len(words) == 2 else ""


def _of_psutil() -> Iterator[Seen]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                continue
            told: dict[str, str] = {}
            with contextlib.suppress(psutil.Error, OSError):
                told = process.environ()
            marks = told.get(RUN_VARIABLE, ""), told.get(SOCKET_VARIABLE, "")
            pid = process.pid
            yield Seen(pid, process.ppid(), os.getpgid(pid), os.getsid(pid), *marks)
