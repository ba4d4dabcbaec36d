"""A control group (Linux cgroup v2) for each run: what is in it cannot leave it, and all of it is killed at once.

Used where this user may make groups below the agent's own one: as root, or in a systemd unit with `Delegate=yes`.
Elsewhere there is none, and the processes of a run are found one by one (`process_tree`).

A process is born in the group of its parent. So the keeper goes into the group of a run, starts the run there and goes
home (`Visits`; docs/decisions/0142).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from functools import cache
from pathlib import Path

_ADDED = re.compile(r"/understudy-[0-9a-f]{12}(?=/|\Z)")


def group_of(data: Path, key: str) -> Path | None:
    """Where the group of a run is or would be; None where there are no groups. The same for every process."""
    base = _groups_of(data)
    return None if base is None else base / key


@cache
def _groups_of(data: Path) -> Path | None:
    """Where the groups below this data directory are."""
    base = _base()
    if base is None:
        return None
    return base / f"understudy-{hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:12]}"


@cache
def _base() -> Path | None:
    """The directory of this process's own group, if groups can be made and killed there."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
            points = [line.split()[4] for line in mounts if " - cgroup2 " in line]
        with open("/proc/self/cgroup", encoding="utf-8") as own:
            paths = [line.strip()[3:] for line in own if line.startswith("0::")]
    except OSError:
        return None
    if not points or not paths:
        return None
    base = Path(points[0]) / without_run(paths[0]).lstrip("/")
    return base if os.access(base, os.W_OK) and os.access(base / "cgroup.procs", os.W_OK) else None


def without_run(path: str) -> str:
    """A group's path without what this module adds to it, and nothing else: units are called *understudy-* too.

    A job is in the group of its run, and an agent may be started by a job: then groups are made beside that one.
    """
    return _ADDED.split(path, 1)[0]


class Visits:
    """The visits of this process, with all its threads, to groups of runs. Call from one thread."""

    def __init__(self) -> None:
        self._home = _base()
        self._is_out = False
        self._ready: dict[Path, tuple[int, float]] = {}

    def prepare(self, group: Path, now_s: float) -> None:
        """Make a group that may be entered soon. Never raises: `enter` makes what is missing."""
        if group not in self._ready:
            with contextlib.suppress(OSError):
                _make(group)
                self._ready[group] = os.open(f"{group}/cgroup.procs", os.O_WRONLY), now_s

    @property
    def prepared(self) -> int:
        """How many groups are ready: each has a descriptor."""
        return len(self._ready)

    def forget(self, before_s: float) -> None:
        """Remove the groups made before this time that nobody has entered."""
        while self._ready:
            group, (descriptor, at_s) = next(iter(self._ready.items()))
            if at_s >= before_s:
                return
            del self._ready[group]
            os.close(descriptor)
            leave_behind(group)

    def enter(self, group: Path) -> bool:
        """Make the group and go into it: what is started from now on is born in there. False when that cannot be.

        Call `go_home` before anything else is done than starting that run. Raises OSError while it cannot leave the
        group of another run: what began now would end with that one.
        """
        try:
            if not self._enter_prepared(group):
                _make(group)
                _move_to(group)
        except OSError:
            self.go_home()
            if self._is_out:
                raise
            return False
        self._is_out = True
        return True

    def _enter_prepared(self, group: Path) -> bool:
        descriptor, _ = self._ready.pop(group, (-1, 0.0))
        if descriptor < 0:
            return False
        try:
            os.write(descriptor, b"0")
        except OSError:  # somebody has removed it
            return False
        finally:
            os.close(descriptor)
        return True

    def go_home(self) -> None:
        """Be in no run's group. Never raises: who stays in one is spared by `kill`."""
        if self._is_out and self._home is not None:
            with contextlib.suppress(OSError):
                _move_to(self._home)
                self._is_out = False


def _make(group: Path) -> None:
    """Have the group there. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        try:
            os.mkdir(group)
        except FileNotFoundError:
            os.makedirs(group)


def _move_to(group: Path) -> None:
    """This process becomes a member of the group. Raises OSError."""
    descriptor = os.open(f"{group}/cgroup.procs", os.O_WRONLY)
    try:
        os.write(descriptor, b"0")
    finally:
        os.close(descriptor)


def kill(group: Path) -> None:
    """SIGKILL for everything in there, at once: no fork escapes. Nothing happens where there is no group.

    Nor where this process is in there, since it could not go home: who asked looks for processes one by one as well.
    """
    with contextlib.suppress(OSError):
        if os.getpid() not in pids(group):
            (group / "cgroup.kill").write_text("1")


def pids(group: Path) -> list[int]:
    """Who is in there, this process too."""
    with contextlib.suppress(OSError):
        return [int(line) for line in (group / "cgroup.procs").read_text().split()]
    return []


def leave_behind(group: Path) -> None:
    """Remove the group of a run that has ended, unless a process that it left behind is still in there."""
    with contextlib.suppress(OSError):
        group.rmdir()


def sweep(data: Path) -> None:
    """Remove the groups below this data directory whose processes have all ended."""
    example = group_of(data, "x")
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(example.parent)) if example is not None else []:
            if entry.is_dir():
                leave_behind(Path(entry.path))
    if example is not None:
        leave_behind(example.parent)
