"""A control group (Linux cgroup v2) for each run: what is in it cannot leave it, and all of it is killed at once.

Used where this user may make groups below the agent's own one: as root, or in a systemd unit with `Delegate=yes`.
Elsewhere there is none, and the processes of a run are found one by one (`process_tree`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from functools import cache
from pathlib import Path


def group_of(data: Path, key: str) -> Path | None:
    """Where the group of a run is or would be; None where there are no groups. The same for every process."""
    base = _base()
    if base is None:
        return None
    return base / f"understudy-{hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:12]}" / key


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
    # A job is in the group of its run, and an agent may be started by a job: then groups are made beside that one.
    base = Path(points[0]) / paths[0].split("/understudy-", 1)[0].lstrip("/")
    return base if os.access(base, os.W_OK) and os.access(base / "cgroup.procs", os.W_OK) else None


def enter(group: Path, pid: int) -> None:
    """Make the group and put a process into it; what that forks from now on is in there too. Never raises."""
    with contextlib.suppress(OSError):
        group.mkdir(parents=True, exist_ok=True)
        (group / "cgroup.procs").write_text(str(pid))


def kill(group: Path) -> None:
    """SIGKILL for everything in there, at once: no fork escapes. Nothing happens where there is no group."""
    with contextlib.suppress(OSError):
        (group / "cgroup.kill").write_text("1")


def pids(group: Path) -> list[int]:
    """Who is in there."""
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
