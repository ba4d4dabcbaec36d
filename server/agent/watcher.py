"""Looks at files, directories and processes for the monitors of this agent: polling, in threads, bounded (SKY-16).

What a look means is decided by `server.core.sightings`. A monitor is looked at no sooner than its interval, and not
before ten times as long as its last look took have passed: looking costs at most a tenth of a thread for each.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path

import psutil

from server.agent.platform import boot_id
from server.core.monitors import DIRECTORY, FILE, Settings, StandingMonitor
from server.core.sightings import Found, Look

FILES_MAX = 10_000
"""More matches than this are not watched at all, and the monitor says so."""
ENTRIES_MAX = 200_000
"""Entries of directories that one look reads at most."""
THREADS = 4
TURN_S = 0.25
COST = 10.0


class TooMany(Exception):
    """A look went beyond its bounds."""


def look(monitor: StandingMonitor) -> Look:
    """Look once. Blocks on the disk; never raises for what is wrong out there: the look says it."""
    try:
        if monitor.kind == FILE:
            return _look_at_files(monitor.settings)
        return _look_at_directory(monitor.settings) if monitor.kind == DIRECTORY else _look_at_processes(monitor)
    except TooMany as error:
        return Look(whole=False, problem=str(error))
    except (OSError, psutil.Error) as error:
        return Look(whole=False, problem=f"It cannot look: {error}.")


def _text(path: str) -> str:
    """A name that is no UTF-8 is shown with `\\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class _Walk:
    """Expands one glob, level by level: `*`, `?` and `[]` within a name; a leading point is matched by a point only."""

    def __init__(self) -> None:
        self.unread: list[str] = []
        self.problem = ""
        self._entries = 0

    def expand(self, pattern: str) -> Iterator[str]:
        """Paths that match; they need not exist where the end of the pattern is a plain name."""
        places = ["/"]
        for part in (name for name in pattern.split("/") if name):
            if any(mark in part for mark in "*?["):
                places = [path for place in places for path in self._matching(place, part)]
            else:
                places = [os.path.join(place, part) for place in places]
        yield from places

    def _matching(self, place: str, part: str) -> list[str]:
        try:
            with os.scandir(place) as entries:
                found = []
                for entry in entries:
                    self._entries += 1
                    if self._entries > ENTRIES_MAX:
                        raise TooMany(f"More than {ENTRIES_MAX} entries would be read: use a narrower pattern.")
                    if fnmatchcase(entry.name, part) and (part[0] == "." or entry.name[0] != "."):
                        found.append(os.path.join(place, entry.name))
                return found
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self.cannot_read(place, error)
            return []

    def cannot_read(self, place: str, error: OSError) -> None:
        """What is below `place` is not judged."""
        self.unread.append(_text(place))
        self.problem = self.problem or f"{_text(place)} cannot be read: {error.strerror or error}."


def _look_at_files(settings: Settings) -> Look:
    walk, found = _Walk(), list[tuple[int, Found]]()
    for path in walk.expand(settings.path):
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            walk.cannot_read(os.path.dirname(path), error)
            continue
        if stat.S_ISREG(status.st_mode):
            stamp = f"{status.st_ino}:{status.st_mtime_ns}"
            found.append((status.st_mtime_ns, Found(_text(path), status.st_size, stamp)))
        if len(found) > FILES_MAX:
            raise TooMany(f"More than {FILES_MAX} files match: nothing is watched. Use a narrower pattern.")
    found.sort(key=lambda pair: (pair[0], pair[1].path))
    return Look(tuple(one for _, one in found), True, walk.problem, tuple(dict.fromkeys(walk.unread)))


def _look_at_directory(settings: Settings) -> Look:
    path = settings.path.rstrip("/") or "/"
    try:
        with os.scandir(path) as entries:
            names = []
            for entry in entries:
                names.append(os.fsencode(entry.name))
                if len(names) > ENTRIES_MAX:
                    raise TooMany(f"{_text(path)} has more than {ENTRIES_MAX} entries: it is not watched.")
    except (FileNotFoundError, NotADirectoryError):
        return Look((Found(_text(path), 0, "absent"),))
    digest = hashlib.sha256(b"\0".join(sorted(names))).hexdigest()[:32]
    return Look((Found(_text(path), len(names), digest),))


def _look_at_processes(monitor: StandingMonitor) -> Look:
    settings = monitor.settings
    if settings.pid_file:
        try:
            pids = [int(Path(settings.pid_file).read_text(encoding="ascii").split()[0])]
        except FileNotFoundError:
            pids = []
        except (ValueError, IndexError):
            return Look((), True, f"{settings.pid_file} holds no process id.")
    else:
        pids = [process.pid for process in psutil.process_iter() if _matches(process, settings.pattern)]
    marked = ((pid, _mark(pid)) for pid in pids)
    found = tuple(Found(f"{pid}:{mark}", 0) for pid, mark in marked if mark)
    if len(found) > FILES_MAX:
        raise TooMany(f"More than {FILES_MAX} processes match: none is watched. Use a narrower pattern.")
    return Look(found)


def _matches(process: psutil.Process, pattern: str) -> bool:
    try:
        line = " ".join(process.cmdline())
        return fnmatchcase(process.name(), pattern) or fnmatchcase(line, pattern)
    except (psutil.Error, OSError):
        return False


def _mark(pid: int) -> str:
    """Tells two processes with one pid apart, whatever is done to the clock; "" when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return "" if fields[0] in (b"Z", b"X") else f"{fields[19].decode()}-{boot_id()[:8]}"
    except FileNotFoundError:
        pass
    except (OSError, IndexError):
        return ""
    if Path("/proc/self/stat").exists():
        return ""
    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return ""


class Watcher:
    """`monitors()` are those to look at now; `looked(monitor, look)` is called in the event loop."""

    def __init__(
        self, monitors: Callable[[], list[StandingMonitor]], looked: Callable[[StandingMonitor, Look], None]
    ) -> None:
        self._monitors = monitors
        self._looked = looked
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="look")
        self._due: dict[int, float] = {}
        self._looking: dict[int, asyncio.Task[None]] = {}

    async def watch_forever(self) -> None:
        """Until cancelled. A look that does not come back keeps its monitor and its thread, nothing else."""
        try:
            while True:
                now = time.monotonic()
                wanted = {monitor.id: monitor for monitor in self._monitors()}
                self._due = {number: at for number, at in self._due.items() if number in wanted}
                for number, monitor in wanted.items():
                    task = self._looking.get(number)
                    if task is not None and task.done():
                        task.result()
                        del self._looking[number]
                    elif task is None and self._due.get(number, 0.0) <= now:
                        self._looking[number] = asyncio.create_task(self._look(monitor))
                await asyncio.sleep(TURN_S)
        finally:
            for task in self._looking.values():
                task.cancel()
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _look(self, monitor: StandingMonitor) -> None:
        began = time.monotonic()
        seen = await asyncio.get_running_loop().run_in_executor(self._threads, look, monitor)
        took_s = time.monotonic() - began
        self._due[monitor.id] = time.monotonic() + max(monitor.settings.interval_s - took_s, took_s * COST)
        self._looked(monitor, seen)
