"""Folders of runs made ahead with the files that every run has: new files take a disk longest, other names hardly.

A folder of `spare/` holds two empty files. A run gets one of them by a rename; its pid file is then a second name of
the one file, its status the other file renamed. The folder of a forgotten run comes back empty (docs/decisions/0152).
A folder without such files works too: of an agent of a release before, and when none was ready.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections import deque
from pathlib import Path

SPARE = "spare"
SPARE_PID = "pid.spare"
SPARE_STATUS = "status.spare"
LEAST = 32
MOST = 1024
"""So many are ready at most: 4 KiB of disk each."""
STEP = 256
"""So many are made at once: 50 ms of a quiet machine."""
_ANEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW


class SpareFolders:
    """Of one agent's data directory. `take` is for its loop, all else for one thread."""

    def __init__(self, data: Path) -> None:
        self._place = f"{data}/{SPARE}"
        self._ready: deque[str] = deque()
        self._next = 0
        self._is_open = False

    def open(self) -> None:
        """Find those that are there; what is none of them goes, such as one that was being emptied."""
        with contextlib.suppress(OSError):
            os.makedirs(self._place, 0o700, exist_ok=True)
            for name in sorted(os.listdir(self._place)):
                if name.isdecimal() and _is_empty(f"{self._place}/{name}"):
                    self._ready.append(name)
                    self._next = max(self._next, int(name) + 1)
                else:
                    shutil.rmtree(f"{self._place}/{name}", ignore_errors=True)
            self._is_open = True

    def take(self, folder: str) -> bool:
        """Make one of them this folder. False: none is ready, or something is there."""
        with contextlib.suppress(IndexError):
            name = self._ready.popleft()
            place = f"{self._place}/{name}"
            try:
                os.rename(place, folder)
            except OSError:
                if os.path.lexists(place):
                    self._ready.append(name)
                return False
            return True
        return False

    def lacks(self, wanted: int) -> bool:
        """Whether more should be made for so many runs at once."""
        return len(self._ready) < min(max(wanted, LEAST), MOST)

    def make(self, wanted: int) -> None:
        """Make some of those that lack; a disk that takes none is tried again the next time."""
        with contextlib.suppress(OSError):
            for _ in range(STEP):
                if not self.lacks(wanted):
                    return
                name = self._name()
                os.mkdir(f"{self._place}/{name}", 0o700)
                self._empty(name)

    def give_back(self, folder: str) -> bool:
        """Take the folder of a run whose files nobody needs; it is gone from its place at once. False: it is there."""
        if not self._is_open or len(self._ready) >= MOST:
            return False
        name = self._name()
        try:
            os.rename(folder, f"{self._place}/{name}")
        except OSError:
            return False
        try:
            self._empty(name)
        except OSError:  # it has folders too, or the disk takes nothing
            shutil.rmtree(f"{self._place}/{name}", ignore_errors=True)
        return True

    def _name(self) -> str:
        self._next += 1
        return str(self._next)

    def _empty(self, name: str) -> None:
        """Leave the two files in it, empty."""
        place = f"{self._place}/{name}"
        for entry in os.listdir(place):
            if entry == "status":
                os.replace(f"{place}/status", f"{place}/{SPARE_STATUS}")
            elif entry not in (SPARE_PID, SPARE_STATUS):
                os.unlink(f"{place}/{entry}")
        for entry in (SPARE_PID, SPARE_STATUS):
            os.close(os.open(f"{place}/{entry}", _ANEW, 0o600))
        self._ready.append(name)


def _is_empty(place: str) -> bool:
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        found = {entry.name: entry.stat(follow_symlinks=False) for entry in entries}
        return found.keys() == {SPARE_PID, SPARE_STATUS} and all(
            one.st_size == 0 and one.st_nlink == 1 for one in found.values()
        )
    return False


def claim(folder: str) -> int:
    """Make the pid file exclusively; its descriptor. Raises FileExistsError: the run has begun; other OSErrors."""
    path, spare = f"{folder}/pid", f"{folder}/{SPARE_PID}"
    try:
        descriptor = os.open(spare, os.O_WRONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.link(spare, path)
    except FileExistsError:
        os.close(descriptor)
        raise
    except OSError:  # a file system without second names
        os.close(descriptor)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    return descriptor


def put_status(folder: str, text: bytes) -> None:
    """Write the status file; where a file for it is there, nobody sees it half written. Raises OSError."""
    try:
        descriptor = os.open(f"{folder}/{SPARE_STATUS}", os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW)
    except FileNotFoundError:
        _write_whole(os.open(f"{folder}/status", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), text)
        return
    _write_whole(descriptor, text)
    os.replace(f"{folder}/{SPARE_STATUS}", f"{folder}/status")


def _write_whole(descriptor: int, text: bytes) -> None:
    try:
        if os.write(descriptor, text) < len(text):
            raise OSError(errno.ENOSPC, "the disk is full")
    finally:
        os.close(descriptor)
